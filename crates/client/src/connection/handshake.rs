//! Agreeing on versions before anything else (KIP-35, KIP-511).

use std::collections::HashMap;

use bytes::Bytes;
use millstream_kafka_wire::api::{decode_response, encode_request};
use millstream_kafka_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use millstream_kafka_wire::{ApiKey, ErrorCode, Str, VersionRange};
use millstream_limits::KAFKA_FRAME_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{ClientError, check};

/// What the server offers.
#[derive(Debug, Default)]
pub(crate) struct Versions(HashMap<i16, VersionRange>);

impl Versions {
    /// The newest version that the server offers and this client uses.
    pub(crate) fn highest(&self, api: ApiKey) -> Option<i16> {
        let offered = self.0.get(&api.number())?;
        let ours = api.versions();
        let highest = offered.max.min(newest_used(api));
        (highest >= offered.min.max(ours.min)).then_some(highest)
    }
}

/// The versions after these name topics by id alone. This client goes by names, so that it works against a topic that was
/// deleted and created again without asking for metadata first. But for fetches: an offset is a place in one topic, and means
/// nothing in another of its name.
fn newest_used(api: ApiKey) -> i16 {
    match api {
        ApiKey::Produce => 12,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        _ => api.versions().max,
    }
}

/// Asks for the server's versions, in the newest form first. A server that does not know that form answers in the oldest,
/// and tells in it which it knows.
pub(super) async fn negotiate(
    stream: &mut TcpStream,
    address: &str,
    client_id: &Str,
) -> Result<Versions, ClientError> {
    let newest = ApiKey::ApiVersions.versions().max;
    let frame = ask(stream, address, client_id, newest).await?;
    if error_code(&frame) != Some(ErrorCode::UNSUPPORTED_VERSION) {
        return versions_in(&frame, newest);
    }
    let refusal: ApiVersionsResponse = decode_response(&frame, 0)?.1;
    let known = refusal
        .api_keys
        .iter()
        .find(|api| api.api_key == ApiKey::ApiVersions.number())
        .map_or(0, |api| api.max_version.clamp(0, newest));
    let frame = ask(stream, address, client_id, known).await?;
    versions_in(&frame, known)
}

fn versions_in(frame: &Bytes, version: i16) -> Result<Versions, ClientError> {
    let response: ApiVersionsResponse = decode_response(frame, version)?.1;
    check(response.error_code, "ask for the server's versions")?;
    let range = |min, max| VersionRange { min, max };
    Ok(Versions(
        response
            .api_keys
            .iter()
            .map(|api| (api.api_key, range(api.min_version, api.max_version)))
            .collect(),
    ))
}

/// The code right after the correlation id, where every version of the answer has it.
fn error_code(frame: &Bytes) -> Option<ErrorCode> {
    let code = frame.get(4..6)?;
    Some(ErrorCode(i16::from_be_bytes([code[0], code[1]])))
}

async fn ask(
    stream: &mut TcpStream,
    address: &str,
    client_id: &Str,
    version: i16,
) -> Result<Bytes, ClientError> {
    let request = ApiVersionsRequest {
        client_software_name: "millstream".into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
    };
    let frame = encode_request(&request, 0, Some(client_id.clone()), version)?;
    let ended = |reason: String| ClientError::Disconnected {
        address: address.to_owned(),
        reason,
    };
    exchange(stream, &frame.to_bytes()).await.map_err(|error| {
        ended(format!(
            "{error}; it may not be a Kafka port, or may want TLS"
        ))
    })
}

async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> std::io::Result<Bytes> {
    stream.write_all(frame).await?;
    let length = stream.read_u32().await? as usize;
    if length > KAFKA_FRAME_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "an answer of {length} bytes is not believable"
        )));
    }
    let mut answer = Vec::new();
    stream.take(length as u64).read_to_end(&mut answer).await?;
    if answer.len() < length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer.into())
}
