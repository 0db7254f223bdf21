//! The way from one generation to the next.

use bytes::Bytes;

use super::ClassicGroup;
use super::effect::Effect;
use super::phase::{InitialDelay, Phase, Preparation};
use crate::groups::error::GroupError;
use crate::groups::ids::{MemberId, Moment};

/// How often at most a group that waits for absent static members looks whether one is back.
const ABSENCE_REVIEW_MS: u64 = 1_000;

impl ClassicGroup {
    /// Something changed: starts a rebalance, or helps the one that is under way along.
    pub(super) fn rebalance_or_complete_join(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Empty | Phase::Completing | Phase::Stable => {
                self.prepare_rebalance(now, effects);
            }
            Phase::Preparing(_) | Phase::Dead => self.complete_join_if_all_are_in(now, effects),
        }
    }

    /// Opens the join phase. Members learn of it from their heartbeats and join again.
    pub(super) fn prepare_rebalance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Completing) {
            self.give_up_assignment(now, effects);
        }
        self.pending_sync.clear();
        self.sync_deadline = None;
        let timeout_ms = self.members.rebalance_timeout_ms();
        if matches!(self.phase, Phase::Empty) {
            let delay_ms = self.rules.initial_rebalance_delay_ms;
            let remaining_ms = timeout_ms.saturating_sub(delay_ms);
            let initial = InitialDelay {
                delay_ms,
                remaining_ms,
                joined_since: false,
            };
            self.phase = Phase::Preparing(Preparation {
                deadline: now.after(delay_ms),
                initial: Some(initial),
            });
            if delay_ms == 0 {
                self.complete_join(now, effects);
            }
        } else {
            self.phase = Phase::Preparing(Preparation {
                deadline: now.after(timeout_ms),
                initial: None,
            });
            if self.all_are_in() {
                self.complete_join(now, effects);
            }
        }
    }

    /// Whoever waits for this generation's assignment will not get it.
    fn give_up_assignment(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for member in self.members.iter_mut() {
            if let Some(token) = member.awaiting_sync.take() {
                member.touch(now);
                effects.push(Effect::Sync(token, Err(GroupError::RebalanceInProgress)));
            }
        }
    }

    /// Closes the join phase if nobody is left to wait for. The first rebalance of an empty group waits its time out,
    /// in case somebody comes whom it does not know of.
    pub(super) fn complete_join_if_all_are_in(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Phase::Preparing(preparation) = &self.phase
            && preparation.initial.is_none()
            && self.all_are_in()
        {
            self.complete_join(now, effects);
        }
    }

    pub(super) fn all_are_in(&self) -> bool {
        self.members.awaiting_join() == self.members.len() && self.pending_join.is_empty()
    }

    /// The join phase's time is up.
    pub(super) fn join_deadline_passed(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Phase::Preparing(Preparation {
            deadline,
            initial: Some(initial),
        }) = &mut self.phase
            && initial.joined_since
            && initial.remaining_ms > 0
        {
            let delay_ms = self
                .rules
                .initial_rebalance_delay_ms
                .min(initial.remaining_ms);
            let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
            *deadline = now.after(delay_ms);
            *initial = InitialDelay {
                delay_ms,
                remaining_ms,
                joined_since: false,
            };
            return;
        }
        self.complete_join(now, effects);
    }

    /// Closes the join phase: whoever has not joined is out, except static members, which may be restarting. The next
    /// generation begins, with those who are left.
    pub(super) fn complete_join(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let absent = |member: &&super::member::Member| member.awaiting_join.is_none();
        let lost: Vec<MemberId> = self
            .members
            .iter()
            .filter(absent)
            .filter(|member| member.profile.instance_id.is_none())
            .map(|member| member.profile.id.clone())
            .collect();
        for id in lost {
            self.remove_member(&id, GroupError::UnknownMember, effects);
        }
        if !self.elect_leader_among_joined() && !self.members.is_empty() {
            // Only static members are left and none has come back yet: wait until one does or their sessions end.
            let deadline = now.after(self.members.rebalance_timeout_ms().max(ABSENCE_REVIEW_MS));
            self.phase = Phase::Preparing(Preparation {
                deadline,
                initial: None,
            });
            return;
        }
        self.generation = self.generation.next();
        self.pending_sync.clear();
        self.sync_deadline = None;
        effects.push(Effect::Save);
        if self.members.is_empty() {
            self.protocol = None;
            self.phase = Phase::Empty;
            self.subscribed = self.compute_subscribed();
        } else {
            self.begin_generation(now, effects);
        }
    }

    /// Keeps the leader if it has joined, or takes the first member that has. Whether there is one.
    fn elect_leader_among_joined(&mut self) -> bool {
        let joined = |id: &MemberId| {
            self.members
                .get(id)
                .is_some_and(|member| member.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        match self.members.first(|member| member.awaiting_join.is_some()) {
            Some(first) => {
                self.leader = Some(first.clone());
                true
            }
            None => false,
        }
    }

    /// Everyone is told of the generation and is to ask for its assignment, those included that did not join: should
    /// they not ask in time, they are out.
    fn begin_generation(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.phase = Phase::Completing;
        self.protocol = self.members.select_protocol();
        self.subscribed = self.compute_subscribed();
        let ids: Vec<MemberId> = self
            .members
            .in_order()
            .iter()
            .map(|member| member.profile.id.clone())
            .collect();
        for id in ids {
            if let Some(token) = self.members.take_join(&id) {
                effects.push(Effect::Join(token, Ok(self.joined(&id, false))));
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.touch(now);
                member.is_new = false;
                member.profile.assignment = Bytes::new();
            }
            self.pending_sync.insert(id);
        }
        self.sync_deadline = Some(now.after(self.members.rebalance_timeout_ms()));
    }
}
