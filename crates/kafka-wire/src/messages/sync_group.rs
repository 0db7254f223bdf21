//! `SyncGroup`: the leader of a classic group hands in the assignments, each member takes its own.

use bytes::Bytes;

use crate::{ErrorCode, Str};

message! {
    /// Asks for the member's assignment.
    message SyncGroupRequest [0-5, flexible 4+] {
        group_id: Str [0+],
        generation_id: i32 [0+],
        member_id: Str [0+],
        group_instance_id: Option<Str> [3+] = None,
        protocol_type: Option<Str> [5+] = None,
        protocol_name: Option<Str> [5+] = None,
        /// From the leader all assignments, from the others none.
        assignments: Vec<SyncGroupRequestAssignment> [0+],
    }

    /// One member's assignment.
    struct SyncGroupRequestAssignment {
        member_id: Str [0+],
        assignment: Bytes [0+],
    }

    /// The member's assignment.
    message SyncGroupResponse [0-5, flexible 4+] {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
        protocol_type: Option<Str> [5+] = None,
        protocol_name: Option<Str> [5+] = None,
        assignment: Bytes [0+],
    }
}
