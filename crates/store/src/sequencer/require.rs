//! What has to be so for a commit to be taken.

use std::sync::Arc;

use bytes::Bytes;

use crate::commit::Require;
use crate::error::CommitError;
use crate::ids::JournalPosition;
use crate::partition::Partition;
use crate::state::{Changed, State, StateError};

/// An offset that a state entry has to hold. Looked up before the order of commits is entered, because that may read the
/// disk, and compared within it.
pub(crate) struct Requirement {
    partition: Arc<Partition>,
    require: Require,
    /// What the entry held, and the checkpoint that was in force.
    seen: (JournalPosition, Option<Bytes>),
}

impl Requirement {
    pub(crate) fn look(
        partition: Arc<Partition>,
        require: Require,
        state: &State,
    ) -> Result<Self, CommitError> {
        // In this order: a checkpoint in between makes the value newer than it is taken for, never older.
        let covered = state.covered_position();
        let value = state
            .get(&require.key)
            .map_err(|error| unreadable(&error))?;
        Ok(Self {
            partition,
            require,
            seen: (covered, value),
        })
    }

    /// Refuses if it is not so. No commit comes in between.
    pub(super) fn check(&self, state: &State) -> Result<(), CommitError> {
        let (covered, seen) = &self.seen;
        // What has changed since a checkpoint is in memory. If there was no checkpoint in between, what is not has not
        // changed since it was looked up; else it is looked up again.
        let value = match state.get_changed(&self.require.key) {
            Some(Changed::Put(value)) => Some(value),
            Some(Changed::Deleted) => None,
            None if state.covered_position() == *covered => seen.clone(),
            None => state
                .get(&self.require.key)
                .map_err(|error| unreadable(&error))?,
        };
        let log_start = self.partition.log_start(&self.partition.sequence.lock());
        let actual = value
            .as_deref()
            .and_then(Require::offset_in)
            .filter(|offset| *offset >= log_start);
        if actual == self.require.expected {
            return Ok(());
        }
        Err(CommitError::PositionMismatch {
            expected: self.require.expected,
            actual,
            number: self.require.number,
        })
    }
}

fn unreadable(error: &StateError) -> CommitError {
    CommitError::State(error.to_string().into())
}
