//! What of a group is written down, and a group made from it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::member::MemberProfile;
use super::phase::Phase;
use super::{ClassicGroup, Rules};
use crate::groups::ids::{Generation, MemberId, Moment};

/// A generation: all of a group that outlives the process. What members were in the middle of is not part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupImage {
    pub(crate) generation: Generation,
    pub(crate) phase: ImagePhase,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) leader: Option<MemberId>,
    /// In the order in which they came.
    pub(crate) members: Vec<MemberProfile>,
}

/// How far the generation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImagePhase {
    /// It has no members.
    Empty,
    /// Its members are known, their assignments are not.
    Completing,
    /// The assignments are known too.
    Stable,
}

impl ClassicGroup {
    /// The group as it is to be written down. It is asked for with [`super::Effect::Save`], never during a join phase:
    /// that one does not count until it ends.
    pub(crate) fn image(&self) -> GroupImage {
        GroupImage {
            generation: self.generation,
            phase: match self.phase {
                Phase::Empty | Phase::Dead => ImagePhase::Empty,
                Phase::Completing => ImagePhase::Completing,
                Phase::Preparing(_) | Phase::Stable => ImagePhase::Stable,
            },
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.profiles().into_iter().cloned().collect(),
        }
    }

    /// The group as it was written down. Its members have lost nothing but their connections: each gets a fresh
    /// session, and time to ask for its assignment.
    pub(crate) fn restore(image: GroupImage, rules: Rules, now: Moment) -> Self {
        let mut group = Self::new(rules);
        group.generation = image.generation;
        group.protocol_type = image.protocol_type;
        group.protocol = image.protocol;
        for profile in image.members {
            group.members.insert(profile).touch(now);
        }
        group.leader = image
            .leader
            .filter(|leader| group.members.contains(leader))
            .or_else(|| group.members.first(|_| true).cloned());
        group.subscribed = group.compute_subscribed();
        group.phase = match image.phase {
            _ if group.members.is_empty() => Phase::Empty,
            ImagePhase::Empty | ImagePhase::Stable => Phase::Stable,
            ImagePhase::Completing => Phase::Completing,
        };
        if matches!(group.phase, Phase::Completing) {
            group.pending_sync = group
                .members
                .iter()
                .map(|member| member.profile.id.clone())
                .collect::<BTreeSet<_>>();
            group.sync_deadline = Some(now.after(group.members.rebalance_timeout_ms()));
        }
        if group.members.len() > rules.members_max {
            group.prepare_rebalance(now, &mut Vec::new());
        }
        group
    }
}
