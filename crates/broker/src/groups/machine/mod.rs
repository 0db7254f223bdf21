//! One group's membership as a pure state machine: Kafka's classic group protocol.
//!
//! Members join, the one that leads divides the work, everyone asks for its share (sync), and then says now and then
//! that it lives (heartbeat). Whoever comes, goes, falls silent or changes its mind starts the next generation.
//!
//! ```text
//!            a member joins                 all have joined, or time is up
//!   Empty ──────────────────► Preparing ────────────────────────────────► Completing
//!     ▲                        │  ▲  ▲                                        │
//!     └────── nobody is left ──┘  │  └── a member comes, goes or changes ─────┤
//!                                 │                                           │ the leader's assignment
//!                                 └────── the same, or the leader rejoins ─ Stable
//! ```
//!
//! Every event is a method: what happened and when in, [`Effect`]s out. There is no clock, no lock, no randomness and
//! no I/O here, and no knowledge of the wire: requests that wait are known by a [`RequestToken`], new member ids are
//! handed in, and time passes through [`ClassicGroup::expire`]. The rules and their corner cases are those of Apache
//! Kafka's group coordinator (KIP-62, 134, 229, 345, 389, 394, 559, 814), with three differences. Each generation is
//! saved before its members hear of it, so that no generation number is ever used twice. A parked request whose member
//! goes away, or asks again, is always answered. And a static member may come back to a group that is full.
//!
//! Start with [`join`] and [`rebalance`].

mod effect;
mod expiry;
mod image;
mod join;
mod liveness;
mod member;
mod members;
mod phase;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::members::Members;
use self::phase::Phase;

use super::error::GroupError;
use super::ids::{Generation, InstanceId, MemberId, Moment};

pub(crate) use self::effect::{Effect, RequestToken};
pub(crate) use self::image::{GroupImage, ImagePhase};
pub(crate) use self::member::MemberProfile;
pub use self::phase::GroupState;

/// The protocol type of Kafka's consumers: the one whose metadata says which topics a member reads.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// How long a member whose first join waits is kept without a sign of life: it cannot send heartbeats yet, as it does
/// not know its id (Kafka's `group.new.member.join.timeout.ms`).
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 300_000;

/// What the machine can be told about how to behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long an empty group waits for more members after the first.
    pub(crate) initial_rebalance_delay_ms: u64,
    /// The most members.
    pub(crate) members_max: usize,
}

/// When an offset that the group has committed counts as abandoned, and the time its retention runs from (KIP-211).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetentionFrom {
    /// The group has lost its members: from when it did.
    Emptied,
    /// Nobody in the group reads the topic any more, or the group never had members: from the commit.
    Commit,
    /// Not now.
    Never,
}

/// One group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    rules: Rules,
    phase: Phase,
    generation: Generation,
    /// Set by the first member that ever joined a group without members.
    protocol_type: Option<Arc<str>>,
    /// Chosen at the beginning of the generation.
    protocol: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: Members,
    /// Ids that were given out and whose owners have not joined with them yet, each until when.
    pending_join: BTreeMap<MemberId, Moment>,
    /// Members of this generation that have not asked for their assignment yet.
    pending_sync: BTreeSet<MemberId>,
    /// Until when they may.
    sync_deadline: Option<Moment>,
    /// What the members of this generation read, where all of them said so in a way that could be read.
    subscribed: Option<BTreeSet<Arc<str>>>,
}

impl ClassicGroup {
    /// A group nobody has joined.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            phase: Phase::Empty,
            generation: Generation(0),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Members::default(),
            pending_join: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            sync_deadline: None,
            subscribed: None,
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        self.phase.state()
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    pub(crate) fn protocol(&self) -> Option<&Arc<str>> {
        self.protocol.as_ref()
    }

    /// What is known of each member, in the order in which they came.
    pub(crate) fn profiles(&self) -> Vec<&MemberProfile> {
        self.members
            .in_order()
            .into_iter()
            .map(|member| &member.profile)
            .collect()
    }

    /// The group has been deleted: whoever still holds it is told to look again.
    pub(crate) fn kill(&mut self) {
        debug_assert!(
            self.members.is_empty(),
            "only a group without members is deleted"
        );
        self.phase = Phase::Dead;
        self.pending_join.clear();
    }

    /// Whether nobody is in the group or on the way into it.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Empty) && self.pending_join.is_empty()
    }

    /// Whether the group may be deleted.
    pub(crate) fn check_deletable(&self) -> Result<(), GroupError> {
        match self.phase {
            Phase::Empty => Ok(()),
            Phase::Dead => Err(GroupError::GroupNotFound),
            _ => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Whether offsets of topics that nobody in the group reads may be deleted.
    pub(crate) fn check_offsets_deletable(&self) -> Result<(), GroupError> {
        match self.phase {
            Phase::Empty => Ok(()),
            Phase::Dead => Err(GroupError::GroupNotFound),
            _ if self.is_consumer_group() => Ok(()),
            _ => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Whether members of the group read `topic`. A consumer group whose subscriptions cannot be read counts as
    /// reading every topic, any other group as reading none.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer_group(),
        }
    }

    /// From when on the retention of the group's offsets runs, for topics it does not read.
    pub(crate) fn retention_from(&self) -> RetentionFrom {
        match (&self.protocol_type, &self.phase) {
            (None, _) => RetentionFrom::Commit,
            (Some(_), Phase::Empty) => RetentionFrom::Emptied,
            (Some(_), Phase::Stable) if self.is_consumer_group() && self.subscribed.is_some() => {
                RetentionFrom::Commit
            }
            _ => RetentionFrom::Never,
        }
    }

    fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// What the members read, as of the chosen protocol.
    fn compute_subscribed(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_consumer_group() {
            return None;
        }
        let mut subscribed = BTreeSet::new();
        for member in self.members.iter() {
            let protocol = member.profile.protocol(self.protocol.as_deref()?)?;
            subscribed.extend(protocol.topics.as_ref()?.iter().cloned());
        }
        Some(subscribed)
    }

    /// The member that `member_id` and `instance_id` name, which must agree (KIP-345).
    fn check_member(
        &self,
        member_id: &MemberId,
        instance_id: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.members.instance(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(current) if current != member_id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains(member_id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMember)
        }
    }
}
