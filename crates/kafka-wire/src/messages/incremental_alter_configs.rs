//! `IncrementalAlterConfigs`: changes single configurations of a resource (KIP-339).

use crate::{ConfigOperation, ErrorCode, ResourceType, Str};

message! {
    /// Changes to configurations.
    message IncrementalAlterConfigsRequest [0-1, flexible 1+] {
        resources: Vec<AlterConfigsResource> [0+],
        validate_only: bool [0+],
    }

    /// Changes to one resource: all are made, or none.
    struct AlterConfigsResource {
        resource_type: ResourceType [0+],
        resource_name: Str [0+],
        configs: Vec<AlterableConfig> [0+],
    }

    /// One change.
    struct AlterableConfig {
        name: Str [0+],
        config_operation: ConfigOperation [0+],
        value: Option<Str> [0+],
    }

    /// Whether the changes are made.
    message IncrementalAlterConfigsResponse [0-1, flexible 1+] {
        throttle_time_ms: i32 [0+],
        responses: Vec<AlterConfigsResourceResponse> [0+],
    }

    /// Whether the changes to one resource are made.
    struct AlterConfigsResourceResponse {
        error_code: ErrorCode [0+],
        error_message: Option<Str> [0+],
        resource_type: ResourceType [0+],
        resource_name: Str [0+],
    }
}
