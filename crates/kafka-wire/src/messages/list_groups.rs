//! `ListGroups`: the groups a broker coordinates.

use crate::{ErrorCode, Str};

message! {
    /// Asks for groups; an empty filter lets all pass.
    message ListGroupsRequest [0-5, flexible 3+] {
        states_filter: Vec<Str> [4+],
        types_filter: Vec<Str> [5+],
    }

    /// The groups.
    message ListGroupsResponse [0-5, flexible 3+] {
        throttle_time_ms: i32 [1+],
        error_code: ErrorCode [0+],
        groups: Vec<ListedGroup> [0+],
    }

    /// One group.
    struct ListedGroup {
        group_id: Str [0+],
        protocol_type: Str [0+],
        group_state: Str [4+],
        /// `classic`, `consumer`, `share` or `streams`.
        group_type: Str [5+],
    }
}
