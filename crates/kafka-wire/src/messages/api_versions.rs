//! `ApiVersions`: what a client asks first: which APIs the broker knows, in which versions.
//!
//! A version that the broker does not know is answered at version 0 with `UNSUPPORTED_VERSION`, and with the range of this
//! API, so that the client can ask again (KIP-511).

use crate::{ErrorCode, Str};

message! {
    /// Asks what the broker knows.
    message ApiVersionsRequest [0-4, flexible 3+] {
        client_software_name: Str [3+],
        client_software_version: Str [3+],
    }

    /// What the broker knows.
    message ApiVersionsResponse [0-4, flexible 3+] {
        error_code: ErrorCode [0+],
        api_keys: Vec<ApiVersion> [0+],
        throttle_time_ms: i32 [1+],
        supported_features: Vec<SupportedFeatureKey> [3+, tag 0],
        finalized_features_epoch: i64 [3+, tag 1] = -1,
        finalized_features: Vec<FinalizedFeatureKey> [3+, tag 2],
        zk_migration_ready: bool [3+, tag 3],
    }

    /// The versions of one API.
    struct ApiVersion {
        api_key: i16 [0+],
        min_version: i16 [0+],
        max_version: i16 [0+],
    }

    /// The levels of a feature that the broker can have (KIP-584).
    struct SupportedFeatureKey {
        name: Str [3+],
        /// Version 3 cannot carry 0 (KAFKA-17011).
        min_version: i16 [3+],
        max_version: i16 [3+],
    }

    /// The levels of a feature that the cluster has agreed on (KIP-584).
    struct FinalizedFeatureKey {
        name: Str [3+],
        max_version_level: i16 [3+],
        min_version_level: i16 [3+],
    }
}
