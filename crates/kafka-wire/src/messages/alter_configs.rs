//! `AlterConfigs`: replaces all configurations of a resource (KIP-133). Clients have moved on to
//! `IncrementalAlterConfigs`.

use crate::{ErrorCode, ResourceType, Str};

message! {
    /// Configurations to set; what is not named goes back to its default.
    message AlterConfigsRequest [0-2, flexible 2+] {
        resources: Vec<AlterConfigsResource> [0+],
        validate_only: bool [0+],
    }

    /// All configurations of one resource.
    struct AlterConfigsResource {
        resource_type: ResourceType [0+],
        resource_name: Str [0+],
        configs: Vec<AlterableConfig> [0+],
    }

    /// One configuration.
    struct AlterableConfig {
        name: Str [0+],
        value: Option<Str> [0+],
    }

    /// Whether the resources are configured so.
    message AlterConfigsResponse [0-2, flexible 2+] {
        throttle_time_ms: i32 [0+],
        responses: Vec<AlterConfigsResourceResponse> [0+],
    }

    /// Whether one resource is configured so.
    struct AlterConfigsResourceResponse {
        error_code: ErrorCode [0+],
        error_message: Option<Str> [0+],
        resource_type: ResourceType [0+],
        resource_name: Str [0+],
    }
}
