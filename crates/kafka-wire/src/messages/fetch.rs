//! Fetch: reads record batches from partitions, waiting for more if there are few. Sessions are KIP-227's.

use uuid::Uuid;

use crate::{ErrorCode, IsolationLevel, Records, Str};

message! {
    /// Asks for batches of any number of partitions. In a session that has begun, only for the partitions that are
    /// new or have changed.
    message FetchRequest [4-18, flexible 12+] {
        cluster_id: Option<Str> [12+, tag 0] = None,
        /// -1 for a consumer.
        replica_id: i32 [0-14] = -1,
        replica_state: ReplicaState [15+, tag 1],
        max_wait_ms: i32 [0+],
        min_bytes: i32 [0+],
        /// A first batch larger than this is sent all the same (KIP-74).
        max_bytes: i32 [3+] = i32::MAX,
        isolation_level: IsolationLevel [4+],
        session_id: i32 [7+],
        /// 0 begins a session, -1 ends it or does without one.
        session_epoch: i32 [7+] = -1,
        topics: Vec<FetchTopic> [0+],
        /// What to leave out of the session from now on.
        forgotten_topics_data: Vec<ForgottenTopic> [7+],
        rack_id: Str [11+],
    }

    /// The follower that asks, if it is one.
    struct ReplicaState {
        replica_id: i32 [15+] = -1,
        replica_epoch: i64 [15+] = -1,
    }

    /// What to read from one topic.
    struct FetchTopic {
        topic: Str [0-12],
        topic_id: Uuid [13+],
        partitions: Vec<FetchPartition> [0+],
    }

    /// What to read from one partition.
    struct FetchPartition {
        partition: i32 [0+],
        /// The epoch the consumer knows, to be told if it is not the current one (KIP-320); -1 for unknown.
        current_leader_epoch: i32 [9+] = -1,
        fetch_offset: i64 [0+],
        last_fetched_epoch: i32 [12+] = -1,
        /// A follower's; -1 from a consumer.
        log_start_offset: i64 [5+] = -1,
        partition_max_bytes: i32 [0+],
        replica_directory_id: Uuid [17+, tag 0],
        high_watermark: i64 [18+, tag 1] = i64::MAX,
    }

    /// Partitions of one topic to leave out of the session.
    struct ForgottenTopic {
        topic: Str [7-12],
        topic_id: Uuid [13+],
        partitions: Vec<i32> [7+],
    }

    /// The batches. In a session, of the partitions that have any or that have changed.
    message FetchResponse [4-18, flexible 12+] {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [7+],
        /// 0 for no session.
        session_id: i32 [7+],
        responses: Vec<FetchableTopicResponse> [0+],
        /// Where the leaders named in `current_leader` are (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [16+, tag 0],
    }

    /// The batches of one topic.
    struct FetchableTopicResponse {
        topic: Str [0-12],
        topic_id: Uuid [13+],
        partitions: Vec<PartitionData> [0+],
    }

    /// The batches of one partition. They begin with the one that holds the offset asked for, and may begin before it.
    struct PartitionData {
        partition_index: i32 [0+],
        error_code: ErrorCode [0+],
        high_watermark: i64 [0+],
        last_stable_offset: i64 [4+] = -1,
        log_start_offset: i64 [5+] = -1,
        diverging_epoch: EpochEndOffset [12+, tag 0],
        current_leader: LeaderIdAndEpoch [12+, tag 1],
        snapshot_id: SnapshotId [12+, tag 2],
        /// Null unless asked for at [`IsolationLevel::READ_COMMITTED`].
        aborted_transactions: Option<Vec<AbortedTransaction>> [4+],
        preferred_read_replica: i32 [11+] = -1,
        /// Some clients do not expect a null: send it empty instead.
        records: Option<Records> [0+],
    }

    /// Where a consumer's log and the partition's part; -1 where they do not.
    struct EpochEndOffset {
        epoch: i32 [12+] = -1,
        end_offset: i64 [12+] = -1,
    }

    /// A partition's leader, for a consumer that asked another broker.
    struct LeaderIdAndEpoch {
        leader_id: i32 [12+] = -1,
        leader_epoch: i32 [12+] = -1,
    }

    /// The snapshot a follower has to fetch first.
    struct SnapshotId {
        end_offset: i64 [0+] = -1,
        epoch: i32 [0+] = -1,
    }

    /// A transaction whose records are to be skipped.
    struct AbortedTransaction {
        producer_id: i64 [4+],
        first_offset: i64 [4+],
    }

    /// Where a broker is.
    struct NodeEndpoint {
        node_id: i32 [16+],
        host: Str [16+],
        port: i32 [16+],
        rack: Option<Str> [16+] = None,
    }
}
