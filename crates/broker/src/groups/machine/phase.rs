//! Where a group is between two generations.

use std::fmt;

use super::Moment;

/// A group's state as others see it; [`fmt::Display`] gives Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// It has no members. It may have offsets.
    Empty,
    /// Members are joining the next generation.
    PreparingRebalance,
    /// The generation stands, and its leader is dividing the work.
    CompletingRebalance,
    /// Everyone can have its assignment.
    Stable,
    /// It is deleted, or never was.
    Dead,
}

impl GroupState {
    /// Kafka's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A group's state with what belongs to it alone.
#[derive(Debug)]
pub(super) enum Phase {
    Empty,
    Preparing(Preparation),
    Completing,
    Stable,
    Dead,
}

/// The join phase of a rebalance.
#[derive(Debug)]
pub(super) struct Preparation {
    /// When to go on without those who have not joined.
    pub(super) deadline: Moment,
    /// In the first rebalance of an empty group: it waits for more members even when all it knows have joined.
    pub(super) initial: Option<InitialDelay>,
}

/// How long the first rebalance of an empty group still waits (KIP-134).
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    /// The wait that ends at the deadline.
    pub(super) delay_ms: u64,
    /// What is left for further waits after it: together they are at most the rebalance timeout.
    pub(super) remaining_ms: u64,
    /// Somebody has joined during this wait: there will be another.
    pub(super) joined_since: bool,
}

impl Phase {
    pub(super) const fn state(&self) -> GroupState {
        match self {
            Self::Empty => GroupState::Empty,
            Self::Preparing(_) => GroupState::PreparingRebalance,
            Self::Completing => GroupState::CompletingRebalance,
            Self::Stable => GroupState::Stable,
            Self::Dead => GroupState::Dead,
        }
    }
}
