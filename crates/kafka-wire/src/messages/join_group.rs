//! `JoinGroup`: a member enters a classic group's next generation.

use bytes::Bytes;

use crate::{ErrorCode, Str};

message! {
    /// Asks to be a member, or to stay one.
    message JoinGroupRequest [0-9, flexible 6+] {
        group_id: Str [0+],
        session_timeout_ms: i32 [0+],
        /// How long the others may take to join; the session's timeout before version 1.
        rebalance_timeout_ms: i32 [1+] = -1,
        /// Empty from a new member.
        member_id: Str [0+],
        /// A static member's own name (KIP-345).
        group_instance_id: Option<Str> [5+] = None,
        protocol_type: Str [0+],
        /// The assignors that the member can follow, the best first.
        protocols: Vec<JoinGroupRequestProtocol> [0+],
        reason: Option<Str> [8+] = None,
    }

    /// An assignor, and what the member tells the one who runs it.
    struct JoinGroupRequestProtocol {
        name: Str [0+],
        metadata: Bytes [0+],
    }

    /// The generation. Its leader gets the members, and assigns the partitions.
    message JoinGroupResponse [0-9, flexible 6+] {
        throttle_time_ms: i32 [2+],
        error_code: ErrorCode [0+],
        generation_id: i32 [0+] = -1,
        protocol_type: Option<Str> [7+] = None,
        protocol_name: Option<Str> [0+, nullable 7+],
        /// The leader's member id.
        leader: Str [0+],
        /// Whether the leader has nothing to assign (KIP-814).
        skip_assignment: bool [9+],
        member_id: Str [0+],
        members: Vec<JoinGroupResponseMember> [0+],
    }

    /// One member, as it described itself.
    struct JoinGroupResponseMember {
        member_id: Str [0+],
        group_instance_id: Option<Str> [5+] = None,
        metadata: Bytes [0+],
    }
}
