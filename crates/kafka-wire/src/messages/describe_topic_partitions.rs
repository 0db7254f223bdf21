//! `DescribeTopicPartitions`: topics page by page (KIP-966).

use uuid::Uuid;

use crate::{ErrorCode, Str};

message! {
    /// Asks for a page of partitions.
    message DescribeTopicPartitionsRequest [0-0, flexible 0+] {
        /// In alphabetical order; none for all.
        topics: Vec<TopicRequest> [0+],
        response_partition_limit: i32 [0+] = 2000,
        /// Where the page begins; null for the beginning.
        cursor: Option<Cursor> [0+] = None,
    }

    /// A topic by its name.
    struct TopicRequest {
        name: Str [0+],
    }

    /// A page of partitions.
    message DescribeTopicPartitionsResponse [0-0, flexible 0+] {
        throttle_time_ms: i32 [0+],
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0+],
        /// Where the next page begins; null on the last.
        next_cursor: Option<Cursor> [0+] = None,
    }

    /// One topic.
    struct DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode [0+],
        name: Option<Str> [0+],
        topic_id: Uuid [0+],
        is_internal: bool [0+],
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0+],
        topic_authorized_operations: i32 [0+] = i32::MIN,
    }

    /// One partition.
    struct DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode [0+],
        partition_index: i32 [0+],
        leader_id: i32 [0+],
        leader_epoch: i32 [0+] = -1,
        replica_nodes: Vec<i32> [0+],
        isr_nodes: Vec<i32> [0+],
        eligible_leader_replicas: Option<Vec<i32>> [0+] = None,
        last_known_elr: Option<Vec<i32>> [0+] = None,
        offline_replicas: Vec<i32> [0+],
    }

    /// A partition, as a place among all.
    struct Cursor {
        topic_name: Str [0+],
        partition_index: i32 [0+],
    }
}

nullable_struct!(Cursor);
