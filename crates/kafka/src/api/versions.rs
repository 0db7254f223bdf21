//! ApiVersions: what is served here.

use std::sync::Arc;

use millstream_kafka_wire::messages::api_versions::ApiVersion;
use millstream_kafka_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use millstream_kafka_wire::{ApiKey, ErrorCode};
use millstream_limits::CLIENT_SOFTWARE_BYTES_LOGGED;

use crate::dispatch::{APIS, Api, Call};

/// Lists the served APIs and notes what software the client is.
pub(crate) async fn api_versions(
    call: Arc<Call>,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if call.version >= SOFTWARE_NAMES_FROM {
        let (name, version) = (
            &request.client_software_name,
            &request.client_software_version,
        );
        if !is_software_name(name) || !is_software_name(version) {
            return ApiVersionsResponse {
                error_code: ErrorCode::INVALID_REQUEST,
                ..listing()
            };
        }
        tracing::debug!(
            peer = %call.peer,
            software = shortened(name),
            version = shortened(version),
            "client introduced itself"
        );
    }
    listing()
}

/// The answer, at version 0, to a version that is not served. It lists what is (KIP-511).
pub(crate) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        ..listing()
    }
}

/// From this version on a client says what software it is.
const SOFTWARE_NAMES_FROM: i16 = 3;

/// What is advertised as Produce's oldest version though it is not served: without it librdkafka takes the broker for
/// one that knows no compression but gzip and snappy (KAFKA-18659). Kafka 4 does the same.
const PRODUCE_ADVERTISED_MIN: i16 = 0;

fn listing() -> ApiVersionsResponse {
    ApiVersionsResponse {
        api_keys: APIS.iter().map(advertised).collect(),
        ..Default::default()
    }
}

fn advertised(api: &Api) -> ApiVersion {
    let min_version = match api.key {
        ApiKey::Produce => PRODUCE_ADVERTISED_MIN,
        _ => api.versions.min,
    };
    ApiVersion {
        api_key: api.key.number(),
        min_version,
        max_version: api.versions.max,
    }
}

/// Whether KIP-511 allows the text: letters, digits, dots and hyphens, the latter two not at its ends.
fn is_software_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if word(first) && word(last))
        && bytes
            .iter()
            .all(|&byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn shortened(name: &str) -> &str {
    &name[..name.len().min(CLIENT_SOFTWARE_BYTES_LOGGED)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_as_kip_511_has_them() {
        for name in ["librdkafka", "2.12.1", "apache-kafka-java", "a"] {
            assert!(is_software_name(name), "{name}");
        }
        for name in ["", "-a", "a.", "a b", "ä", "a\n"] {
            assert!(!is_software_name(name), "{name}");
        }
    }

    #[test]
    fn produce_is_advertised_from_0() {
        let listing = listing();
        assert_eq!(
            (listing.api_keys[0].api_key, listing.api_keys[0].min_version),
            (0, 0)
        );
        assert_eq!(listing.api_keys.len(), APIS.len());
    }
}
