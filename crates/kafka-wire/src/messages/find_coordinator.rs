//! `FindCoordinator`: who keeps a group or a transactional id: of one key up to version 3, of several from 4 on
//! (KIP-699).

use crate::{CoordinatorType, ErrorCode, Str};

message! {
    /// Asks for the coordinators of keys of one type.
    message FindCoordinatorRequest [0-6, flexible 3+] {
        key: Str [0-3],
        key_type: CoordinatorType [1+],
        coordinator_keys: Vec<Str> [4+],
    }

    /// The coordinators.
    message FindCoordinatorResponse [0-6, flexible 3+] {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0-3],
        error_message: Option<Str> [1-3],
        node_id: i32 [0-3],
        host: Str [0-3],
        port: i32 [0-3],
        coordinators: Vec<Coordinator> [4+],
    }

    /// The coordinator of one key.
    struct Coordinator {
        key: Str [4+],
        node_id: i32 [4+],
        host: Str [4+],
        port: i32 [4+],
        error_code: ErrorCode [4+],
        error_message: Option<Str> [4+],
    }
}
