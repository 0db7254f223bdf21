//! `DeleteTopics`: by name up to version 5, by name or id from 6 on (KIP-516).

use uuid::Uuid;

use crate::{ErrorCode, Str};

message! {
    /// Topics to delete.
    message DeleteTopicsRequest [0-6, flexible 4+] {
        topics: Vec<DeleteTopicState> [6+],
        topic_names: Vec<Str> [0-5],
        timeout_ms: i32 [0+],
    }

    /// A topic by its name, or by its id with a null name.
    struct DeleteTopicState {
        name: Option<Str> [6+] = None,
        topic_id: Uuid [6+],
    }

    /// What became of each topic.
    message DeleteTopicsResponse [0-6, flexible 4+] {
        throttle_time_ms: i32 [1+],
        responses: Vec<DeletableTopicResult> [0+],
    }

    /// What became of one topic.
    struct DeletableTopicResult {
        name: Option<Str> [0+, nullable 6+],
        topic_id: Uuid [6+],
        error_code: ErrorCode [0+],
        error_message: Option<Str> [5+] = None,
    }
}
