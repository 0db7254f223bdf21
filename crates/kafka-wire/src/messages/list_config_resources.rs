//! `ListConfigResources`: what has configurations (KIP-1142). Version 0 lists client metrics subscriptions only, and was
//! named `ListClientMetricsResources`.

use crate::{ErrorCode, ResourceType, Str};

message! {
    /// Asks for resources; no types ask for all.
    message ListConfigResourcesRequest [0-1, flexible 0+] {
        resource_types: Vec<ResourceType> [1+],
    }

    /// The resources.
    message ListConfigResourcesResponse [0-1, flexible 0+] {
        throttle_time_ms: i32 [0+],
        error_code: ErrorCode [0+],
        config_resources: Vec<ConfigResource> [0+],
    }

    /// One resource.
    struct ConfigResource {
        resource_name: Str [0+],
        resource_type: ResourceType [1+] = ResourceType::CLIENT_METRICS,
    }
}
