//! All members of a group, with the counts that decide when a rebalance goes on and what it may choose.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::effect::RequestToken;
use super::member::{Member, MemberProfile};
use super::{InstanceId, MemberId};
use crate::groups::request::MemberProtocol;

/// The members, by id. Its counts hold because every change goes through its methods.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<MemberId, Member>,
    /// The static members' ids.
    instances: BTreeMap<InstanceId, MemberId>,
    support: Support,
    /// How many have a parked join.
    awaiting_join: usize,
    next_rank: u64,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn contains(&self, id: &MemberId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn get(&self, id: &MemberId) -> Option<&Member> {
        self.by_id.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &MemberId) -> Option<&mut Member> {
        self.by_id.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.by_id.values_mut()
    }

    /// In the order in which they came.
    pub(super) fn in_order(&self) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.by_id.values().collect();
        members.sort_unstable_by_key(|member| member.rank);
        members
    }

    /// The member that came first among those that `wanted` accepts.
    pub(super) fn first(&self, wanted: impl Fn(&Member) -> bool) -> Option<&MemberId> {
        self.by_id
            .values()
            .filter(|member| wanted(member))
            .min_by_key(|member| member.rank)
            .map(|member| &member.profile.id)
    }

    /// The member id behind an instance id.
    pub(super) fn instance(&self, instance_id: &InstanceId) -> Option<&MemberId> {
        self.instances.get(instance_id)
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    /// How long the slowest member may take to rejoin; not zero, so that a deadline set now has not passed.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let slowest = self
            .iter()
            .map(|member| member.profile.rebalance_timeout_ms)
            .max();
        slowest.unwrap_or(0).max(1).into()
    }

    /// Adds a member that no id or instance id in the group names yet.
    pub(super) fn insert(&mut self, profile: MemberProfile) -> &mut Member {
        let rank = self.next_rank;
        self.next_rank += 1;
        self.insert_at(rank, profile)
    }

    fn insert_at(&mut self, rank: u64, profile: MemberProfile) -> &mut Member {
        if let Some(instance_id) = &profile.instance_id {
            self.instances
                .insert(instance_id.clone(), profile.id.clone());
        }
        self.support.add(&profile.protocols);
        let member = Member {
            rank,
            session_deadline: None,
            is_new: false,
            awaiting_sync: None,
            awaiting_join: None,
            profile,
        };
        let id = member.profile.id.clone();
        match self.by_id.entry(id) {
            Entry::Vacant(place) => place.insert(member),
            Entry::Occupied(place) => {
                debug_assert!(false, "ids are given out once");
                let place = place.into_mut();
                *place = member;
                place
            }
        }
    }

    /// Takes a member out, its parked requests with it.
    pub(super) fn remove(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.by_id.remove(id)?;
        self.support.subtract(&member.profile.protocols);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        if let Some(instance_id) = &member.profile.instance_id {
            self.instances.remove(instance_id);
        }
        Some(member)
    }

    /// Gives a member another id and keeps everything else but its parked requests, which are handed back.
    pub(super) fn rename(&mut self, old: &MemberId, new: MemberId) -> Option<Member> {
        let old = self.remove(old)?;
        let profile = MemberProfile {
            id: new,
            ..old.profile.clone()
        };
        self.insert_at(old.rank, profile);
        Some(old)
    }

    /// Replaces what a member supports and how patient it is.
    pub(super) fn update(
        &mut self,
        id: &MemberId,
        protocols: Vec<MemberProtocol>,
        session_ms: u32,
        rebalance_ms: u32,
    ) {
        let Some(member) = self.by_id.get_mut(id) else {
            return;
        };
        self.support.subtract(&member.profile.protocols);
        self.support.add(&protocols);
        member.profile.protocols = protocols;
        member.profile.session_timeout_ms = session_ms;
        member.profile.rebalance_timeout_ms = rebalance_ms;
    }

    /// Parks a join and hands back one that was parked before.
    pub(super) fn park_join(&mut self, id: &MemberId, token: RequestToken) -> Option<RequestToken> {
        let earlier = self.by_id.get_mut(id)?.awaiting_join.replace(token);
        self.awaiting_join += usize::from(earlier.is_none());
        earlier
    }

    /// Takes a parked join, to answer it.
    pub(super) fn take_join(&mut self, id: &MemberId) -> Option<RequestToken> {
        let token = self.by_id.get_mut(id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(token)
    }

    /// Whether at least one of `protocols` is supported by every member.
    pub(super) fn support_any(&self, protocols: &[MemberProtocol]) -> bool {
        protocols
            .iter()
            .any(|protocol| self.all_support(&protocol.name))
    }

    fn all_support(&self, protocol: &str) -> bool {
        let members = self.support.members.get(protocol);
        members.copied().unwrap_or_default() == self.len()
    }

    /// The protocol of the next generation: each member votes for the first of its own that all support, and the most
    /// votes win; among equals, the earlier member's vote.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: Vec<(&Arc<str>, usize)> = Vec::new();
        for member in self.in_order() {
            let vote = &member
                .profile
                .protocols
                .iter()
                .find(|protocol| self.all_support(&protocol.name))?
                .name;
            match votes.iter_mut().find(|(name, _)| *name == vote) {
                Some((_, count)) => *count += 1,
                None => votes.push((vote, 1)),
            }
        }
        let most = votes.iter().map(|&(_, count)| count).max()?;
        votes
            .into_iter()
            .find(|&(_, count)| count == most)
            .map(|(name, _)| name.clone())
    }

    /// Bytes that the group's record would have, within a few per member, if the member of that id, or else one more,
    /// said `protocols` of itself.
    pub(super) fn bytes_with(&self, id: Option<&MemberId>, protocols: &[MemberProtocol]) -> usize {
        let former = id.and_then(|id| self.by_id.get(id));
        let former = former.map_or(0, |member| bytes(&member.profile.protocols));
        self.support.bytes - former + bytes(protocols)
    }

    /// Bytes that the group's record has, within a few per member.
    pub(super) fn bytes(&self) -> usize {
        let assignments: usize = self
            .iter()
            .map(|member| member.profile.assignment.len())
            .sum();
        self.support.bytes + assignments
    }
}

/// What all members say of themselves, added up.
#[derive(Debug, Default)]
struct Support {
    /// How many members support each protocol.
    members: BTreeMap<Arc<str>, usize>,
    bytes: usize,
}

impl Support {
    fn add(&mut self, protocols: &[MemberProtocol]) {
        self.bytes += bytes(protocols);
        for protocol in protocols {
            *self.members.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    fn subtract(&mut self, protocols: &[MemberProtocol]) {
        self.bytes -= bytes(protocols);
        for protocol in protocols {
            if let Some(count) = self.members.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.members.remove(&protocol.name);
                }
            }
        }
    }
}

fn bytes(protocols: &[MemberProtocol]) -> usize {
    protocols.iter().map(MemberProtocol::bytes).sum()
}
