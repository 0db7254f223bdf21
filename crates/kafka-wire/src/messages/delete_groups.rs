//! `DeleteGroups`: forgets groups without members, and their offsets (KIP-229).

use crate::{ErrorCode, Str};

message! {
    /// Groups to delete.
    message DeleteGroupsRequest [0-2, flexible 2+] {
        groups_names: Vec<Str> [0+],
    }

    /// What became of each group.
    message DeleteGroupsResponse [0-2, flexible 2+] {
        throttle_time_ms: i32 [0+],
        results: Vec<DeletableGroupResult> [0+],
    }

    /// What became of one group.
    struct DeletableGroupResult {
        group_id: Str [0+],
        error_code: ErrorCode [0+],
    }
}
