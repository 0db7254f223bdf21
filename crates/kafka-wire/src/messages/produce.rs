//! Produce: appends record batches to partitions.
//!
//! Kafka 4 reads versions 3 and later, but lists 0 as the oldest in its `ApiVersions` response, because older releases of
//! librdkafka take a broker without it for one that knows no compression (KAFKA-18659). Versions 0 to 2 are here so that
//! a request of theirs can be refused by name.

use uuid::Uuid;

use crate::{ErrorCode, Records, Str};

message! {
    /// Batches for any number of partitions.
    message ProduceRequest [0-13, flexible 9+] {
        transactional_id: Option<Str> [3+] = None,
        /// When to answer: 0 never, 1 when the leader has the batches, -1 when all in-sync replicas have them.
        acks: i16 [0+],
        timeout_ms: i32 [0+],
        topic_data: Vec<TopicProduceData> [0+],
    }

    /// The batches for one topic.
    struct TopicProduceData {
        name: Str [0-12],
        topic_id: Uuid [13+],
        partition_data: Vec<PartitionProduceData> [0+],
    }

    /// The batches for one partition.
    struct PartitionProduceData {
        index: i32 [0+],
        records: Option<Records> [0+],
    }

    /// What became of each partition's batches. With `acks` 0 there is no response.
    message ProduceResponse [0-13, flexible 9+] {
        responses: Vec<TopicProduceResponse> [0+],
        throttle_time_ms: i32 [1+],
        /// Where the leaders named in `current_leader` are (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [10+, tag 0],
    }

    /// What became of one topic's batches.
    struct TopicProduceResponse {
        name: Str [0-12],
        topic_id: Uuid [13+],
        partition_responses: Vec<PartitionProduceResponse> [0+],
    }

    /// What became of one partition's batches.
    struct PartitionProduceResponse {
        index: i32 [0+],
        error_code: ErrorCode [0+],
        /// The offset of the first record.
        base_offset: i64 [0+],
        /// When the broker appended the batches, if the topic's timestamps are the broker's, else -1.
        log_append_time_ms: i64 [2+] = -1,
        log_start_offset: i64 [5+] = -1,
        /// The records that were the reason to refuse a batch (KIP-467).
        record_errors: Vec<BatchIndexAndErrorMessage> [8+],
        error_message: Option<Str> [8+] = None,
        current_leader: LeaderIdAndEpoch [10+, tag 0],
    }

    /// Why one record was refused.
    struct BatchIndexAndErrorMessage {
        batch_index: i32 [8+],
        batch_index_error_message: Option<Str> [8+] = None,
    }

    /// A partition's leader, for a producer that asked another broker.
    struct LeaderIdAndEpoch {
        leader_id: i32 [10+] = -1,
        leader_epoch: i32 [10+] = -1,
    }

    /// Where a broker is.
    struct NodeEndpoint {
        node_id: i32 [10+],
        host: Str [10+],
        port: i32 [10+],
        rack: Option<Str> [10+] = None,
    }
}
