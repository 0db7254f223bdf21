//! Metadata: brokers, topics, partitions and who leads them. It may create a topic that does not exist.

use uuid::Uuid;

use crate::{ErrorCode, Str};

message! {
    /// Asks for topics: null for all, empty for none (for all in version 0, which has no null).
    message MetadataRequest [0-13, flexible 9+] {
        topics: Option<Vec<MetadataRequestTopic>> [0+, nullable 1+],
        allow_auto_topic_creation: bool [4+] = true,
        include_cluster_authorized_operations: bool [8-10],
        include_topic_authorized_operations: bool [8+],
    }

    /// A topic by its name, or by its id with a null name.
    struct MetadataRequestTopic {
        topic_id: Uuid [10+],
        name: Option<Str> [0+, nullable 10+],
    }

    /// The cluster as it is.
    message MetadataResponse [0-13, flexible 9+] {
        throttle_time_ms: i32 [3+],
        brokers: Vec<MetadataResponseBroker> [0+],
        cluster_id: Option<Str> [2+] = None,
        controller_id: i32 [1+] = -1,
        topics: Vec<MetadataResponseTopic> [0+],
        cluster_authorized_operations: i32 [8-10] = i32::MIN,
        error_code: ErrorCode [13+],
    }

    /// Where a broker is.
    struct MetadataResponseBroker {
        node_id: i32 [0+],
        host: Str [0+],
        port: i32 [0+],
        rack: Option<Str> [1+] = None,
    }

    /// One topic.
    struct MetadataResponseTopic {
        error_code: ErrorCode [0+],
        /// Null for a topic that was asked for by an unknown id.
        name: Option<Str> [0+, nullable 12+],
        topic_id: Uuid [10+],
        is_internal: bool [1+],
        partitions: Vec<MetadataResponsePartition> [0+],
        /// A bit for each operation that is allowed; the minimum if that was not asked for.
        topic_authorized_operations: i32 [8+] = i32::MIN,
    }

    /// One partition.
    struct MetadataResponsePartition {
        error_code: ErrorCode [0+],
        partition_index: i32 [0+],
        leader_id: i32 [0+],
        leader_epoch: i32 [7+] = -1,
        replica_nodes: Vec<i32> [0+],
        isr_nodes: Vec<i32> [0+],
        offline_replicas: Vec<i32> [5+],
    }
}
