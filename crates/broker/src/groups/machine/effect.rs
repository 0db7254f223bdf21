//! What a group wants done.

use crate::groups::error::GroupError;
use crate::groups::request::{JoinRefused, Joined, Synced};

/// Stands for a join or sync that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestToken(pub(crate) u64);

/// Something to be done outside the machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Write the group's [image](super::GroupImage) down. No answer to an event that says so may leave before that is
    /// durable.
    Save,
    /// The answer to a join. Every token handed in gets exactly one.
    Join(RequestToken, Result<Joined, JoinRefused>),
    /// The answer to a sync. Every token handed in gets exactly one.
    Sync(RequestToken, Result<Synced, GroupError>),
}
