//! `DescribeGroups`: the state and the members of classic groups.

use bytes::Bytes;

use crate::{ErrorCode, Str};

message! {
    /// Asks for groups by name.
    message DescribeGroupsRequest [0-6, flexible 5+] {
        groups: Vec<Str> [0+],
        include_authorized_operations: bool [3+],
    }

    /// The groups.
    message DescribeGroupsResponse [0-6, flexible 5+] {
        throttle_time_ms: i32 [1+],
        groups: Vec<DescribedGroup> [0+],
    }

    /// One group.
    struct DescribedGroup {
        error_code: ErrorCode [0+],
        error_message: Option<Str> [6+] = None,
        group_id: Str [0+],
        /// `Dead`, `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
        group_state: Str [0+],
        protocol_type: Str [0+],
        /// The assignor's name.
        protocol_data: Str [0+],
        members: Vec<DescribedGroupMember> [0+],
        authorized_operations: i32 [3+] = i32::MIN,
    }

    /// One member of a group.
    struct DescribedGroupMember {
        member_id: Str [0+],
        group_instance_id: Option<Str> [4+] = None,
        client_id: Str [0+],
        client_host: Str [0+],
        /// See [`consumer_protocol`](crate::consumer_protocol).
        member_metadata: Bytes [0+],
        /// See [`consumer_protocol`](crate::consumer_protocol).
        member_assignment: Bytes [0+],
    }
}
