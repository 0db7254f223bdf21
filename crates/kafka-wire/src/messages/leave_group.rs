//! `LeaveGroup`: members leave a classic group: one up to version 2, several from 3 on (KIP-345).

use crate::{ErrorCode, Str};

message! {
    /// Who leaves.
    message LeaveGroupRequest [0-5, flexible 4+] {
        group_id: Str [0+],
        member_id: Str [0-2],
        members: Vec<MemberIdentity> [3+],
    }

    /// A member by its id, or a static one by its name.
    struct MemberIdentity {
        member_id: Str [3+],
        group_instance_id: Option<Str> [3+] = None,
        reason: Option<Str> [5+] = None,
    }

    /// Who has left.
    message LeaveGroupResponse [0-5, flexible 4+] {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
        members: Vec<MemberResponse> [3+],
    }

    /// Whether one member has left.
    struct MemberResponse {
        member_id: Str [3+],
        group_instance_id: Option<Str> [3+],
        error_code: ErrorCode [3+],
    }
}
