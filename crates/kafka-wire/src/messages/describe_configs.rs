//! `DescribeConfigs`: how topics, brokers and groups are configured (KIP-133, KIP-226).
//!
//! Kafka 4 has dropped version 0; it is what 3.9 reads.

use crate::{ConfigSource, ConfigType, ErrorCode, ResourceType, Str};

message! {
    /// Asks for configurations.
    message DescribeConfigsRequest [0-4, flexible 4+] {
        resources: Vec<DescribeConfigsResource> [0+],
        include_synonyms: bool [1+],
        include_documentation: bool [3+],
    }

    /// What to describe.
    struct DescribeConfigsResource {
        resource_type: ResourceType [0+],
        resource_name: Str [0+],
        /// Null for all.
        configuration_keys: Option<Vec<Str>> [0+],
    }

    /// The configurations.
    message DescribeConfigsResponse [0-4, flexible 4+] {
        throttle_time_ms: i32 [0+],
        results: Vec<DescribeConfigsResult> [0+],
    }

    /// The configurations of one resource.
    struct DescribeConfigsResult {
        error_code: ErrorCode [0+],
        error_message: Option<Str> [0+],
        resource_type: ResourceType [0+],
        resource_name: Str [0+],
        configs: Vec<DescribeConfigsResourceResult> [0+],
    }

    /// One configuration.
    struct DescribeConfigsResourceResult {
        name: Str [0+],
        value: Option<Str> [0+],
        read_only: bool [0+],
        is_default: bool [0-0],
        config_source: ConfigSource [1+] = ConfigSource(-1),
        is_sensitive: bool [0+],
        /// Where else the value could have come from, the strongest first.
        synonyms: Vec<DescribeConfigsSynonym> [1+],
        config_type: ConfigType [3+],
        documentation: Option<Str> [3+],
    }

    /// One source of a configuration's value.
    struct DescribeConfigsSynonym {
        name: Str [1+],
        value: Option<Str> [1+],
        source: ConfigSource [1+],
    }
}
