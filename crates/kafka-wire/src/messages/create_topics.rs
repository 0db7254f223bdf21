//! `CreateTopics`.
//!
//! Kafka 4 has dropped versions 0 and 1, but older clients send them without asking; they are what 3.9 reads.

use uuid::Uuid;

use crate::{ConfigSource, ErrorCode, Str};

message! {
    /// Topics to create.
    message CreateTopicsRequest [0-7, flexible 5+] {
        topics: Vec<CreatableTopic> [0+],
        timeout_ms: i32 [0+] = 60_000,
        /// Whether only to check.
        validate_only: bool [1+],
    }

    /// One topic to create.
    struct CreatableTopic {
        name: Str [0+],
        /// -1 for the broker's default, or with `assignments`.
        num_partitions: i32 [0+],
        /// -1 for the broker's default, or with `assignments`.
        replication_factor: i16 [0+],
        assignments: Vec<CreatableReplicaAssignment> [0+],
        configs: Vec<CreatableTopicConfig> [0+],
    }

    /// The brokers of one partition, the preferred leader first.
    struct CreatableReplicaAssignment {
        partition_index: i32 [0+],
        broker_ids: Vec<i32> [0+],
    }

    /// One configuration of a new topic.
    struct CreatableTopicConfig {
        name: Str [0+],
        value: Option<Str> [0+],
    }

    /// What became of each topic.
    message CreateTopicsResponse [0-7, flexible 5+] {
        throttle_time_ms: i32 [2+],
        topics: Vec<CreatableTopicResult> [0+],
    }

    /// What became of one topic.
    struct CreatableTopicResult {
        name: Str [0+],
        topic_id: Uuid [7+],
        error_code: ErrorCode [0+],
        error_message: Option<Str> [1+],
        /// Why `configs` are null, if they are.
        topic_config_error_code: ErrorCode [5+, tag 0],
        num_partitions: i32 [5+] = -1,
        replication_factor: i16 [5+] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5+],
    }

    /// One configuration of the topic as created.
    struct CreatableTopicConfigs {
        name: Str [5+],
        value: Option<Str> [5+],
        read_only: bool [5+],
        config_source: ConfigSource [5+] = ConfigSource(-1),
        is_sensitive: bool [5+],
    }
}
