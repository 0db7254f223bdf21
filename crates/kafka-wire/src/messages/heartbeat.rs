//! Heartbeat: a member of a classic group is still there, and learns whether to join again.

use crate::{ErrorCode, Str};

message! {
    /// The member's sign of life.
    message HeartbeatRequest [0-4, flexible 4+] {
        group_id: Str [0+],
        generation_id: i32 [0+],
        member_id: Str [0+],
        group_instance_id: Option<Str> [3+] = None,
    }

    /// Whether the member's generation still stands.
    message HeartbeatResponse [0-4, flexible 4+] {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
    }
}
