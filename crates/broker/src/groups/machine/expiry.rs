//! What the passing of time does.

use super::ClassicGroup;
use super::effect::Effect;
use super::phase::Phase;
use crate::groups::error::GroupError;
use crate::groups::ids::{MemberId, Moment};

impl ClassicGroup {
    /// When [`Self::expire`] will next have something to do. A heartbeat can only move that later.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let join = match &self.phase {
            Phase::Preparing(preparation) => Some(preparation.deadline),
            _ => None,
        };
        let sessions = self
            .members
            .iter()
            .filter_map(|member| member.session_deadline)
            .min();
        let pending = self.pending_join.values().min().copied();
        [join, sessions, pending, self.sync_deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// Acts on every deadline that `now` has reached.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.expire_pending(now, &mut effects);
        self.expire_sessions(now, &mut effects);
        if matches!(&self.phase, Phase::Preparing(preparation) if preparation.deadline <= now) {
            self.join_deadline_passed(now, &mut effects);
        }
        if self.sync_deadline.is_some_and(|deadline| deadline <= now) {
            self.sync_deadline_passed(now, &mut effects);
        }
        effects
    }

    /// Ids that nobody came back with are void, and no longer waited for.
    fn expire_pending(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let before = self.pending_join.len();
        self.pending_join.retain(|_, deadline| *deadline > now);
        if self.pending_join.len() < before {
            self.complete_join_of_the_rest(now, effects);
        }
    }

    /// Silent members are out.
    fn expire_sessions(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let due: Vec<MemberId> = self
            .members
            .in_order()
            .into_iter()
            .filter(|member| {
                member
                    .session_deadline
                    .is_some_and(|deadline| deadline <= now)
            })
            .map(|member| member.profile.id.clone())
            .collect();
        for id in due {
            self.expire_session(&id, now, effects);
        }
    }

    fn expire_session(&mut self, id: &MemberId, now: Moment, effects: &mut Vec<Effect>) {
        // What happened to the member before it in the list may have answered this one's join.
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member
            .session_deadline
            .is_none_or(|deadline| deadline > now)
        {
            return;
        }
        if member.is_excused() {
            // Its session starts anew when its parked request is answered.
            member.session_deadline = None;
            return;
        }
        self.remove_member(id, GroupError::UnknownMember, effects);
        match self.phase {
            Phase::Completing | Phase::Stable => self.prepare_rebalance(now, effects),
            _ => self.complete_join_of_the_rest(now, effects),
        }
    }

    /// Somebody is no longer waited for: if all others are in, the join phase is over, the first one too.
    fn complete_join_of_the_rest(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Preparing(_)) && self.all_are_in() {
            self.complete_join(now, effects);
        }
    }

    /// Members that joined the generation and did not ask for their assignment are out.
    fn sync_deadline_passed(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.sync_deadline = None;
        let late = std::mem::take(&mut self.pending_sync);
        for id in &late {
            self.remove_member(id, GroupError::UnknownMember, effects);
        }
        if !late.is_empty() && matches!(self.phase, Phase::Completing | Phase::Stable) {
            self.prepare_rebalance(now, effects);
        }
    }
}
