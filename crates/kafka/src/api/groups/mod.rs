//! Groups: who is in them, how far they have read, and who looks after them.
//!
//! The rules of the group protocol are the broker's, see [`millstream_broker::groups`]. Here are the versions: what a
//! field means in which, where an error is told (at the top, for a topic, a partition or a member), and what older
//! clients hear in place of an error they do not know.
//!
//! What the broker keeps is copied out of the request, which would otherwise keep its whole frame alive.

mod admin;
mod coordinator;
mod membership;
mod offset_commit;
mod offset_delete;
mod offset_fetch;

pub(crate) use self::admin::{delete_groups, describe_groups, list_groups};
pub(crate) use self::coordinator::find_coordinator;
pub(crate) use self::membership::{heartbeat, join_group, leave_group, sync_group};
pub(crate) use self::offset_commit::offset_commit;
pub(crate) use self::offset_delete::offset_delete;
pub(crate) use self::offset_fetch::offset_fetch;

use millstream_broker::groups::{GroupError, InstanceId};
use millstream_kafka_wire::{ErrorCode, Str};

use crate::errors::group_code;

/// The code of a result.
fn code(result: Result<(), GroupError>) -> ErrorCode {
    result.map_or_else(group_code, |()| ErrorCode::NONE)
}

/// A static member's own name, if it has one.
fn instance_id(name: Option<&Str>) -> Option<InstanceId> {
    name.map(|name| InstanceId::new(name))
}
