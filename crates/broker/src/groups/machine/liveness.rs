//! Heartbeats, offset commits as signs of life, and leaving.

use super::ClassicGroup;
use super::effect::Effect;
use super::phase::Phase;
use crate::groups::error::GroupError;
use crate::groups::ids::{Generation, Moment};
use crate::groups::request::{Leaving, MemberRef};

/// One for each that was to leave, in order.
type LeaveResults = Vec<Result<(), GroupError>>;

impl ClassicGroup {
    /// A member lives. The error tells it what to do: most often that a rebalance has begun and it is to join.
    pub(crate) fn heartbeat(&mut self, member: &MemberRef, now: Moment) -> Result<(), GroupError> {
        if matches!(self.phase, Phase::Dead) {
            return Err(GroupError::Unavailable);
        }
        self.check_member(&member.member_id, member.instance_id.as_ref())?;
        if member.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(&member.member_id) {
            member.touch(now);
        }
        match self.phase {
            Phase::Preparing(_) => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether offsets may be committed in the name of `member`, which counts as a sign of its life.
    ///
    /// Readers outside the group, and operators, may commit while it has no members. Members may while they are in the
    /// current generation: also during the join phase, to save what they have done before their partitions move.
    pub(crate) fn admit_commit(
        &mut self,
        member: &MemberRef,
        now: Moment,
    ) -> Result<(), GroupError> {
        let is_empty = match self.phase {
            Phase::Dead => return Err(GroupError::Unavailable),
            Phase::Empty => true,
            _ => false,
        };
        let outside = member.generation <= Generation::NONE;
        if outside && is_empty {
            return Ok(());
        }
        if outside && member.member_id.is_empty() && member.instance_id.is_none() {
            return Err(GroupError::UnknownMember);
        }
        self.check_member(&member.member_id, member.instance_id.as_ref())?;
        if member.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if matches!(self.phase, Phase::Completing) {
            // It is in the generation but does not know its partitions yet: what it commits is of the last one.
            return Err(GroupError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(&member.member_id) {
            member.touch(now);
        }
        Ok(())
    }

    /// Members go, of their own will or an operator's. One result for each.
    pub(crate) fn leave(
        &mut self,
        leaving: &[Leaving],
        now: Moment,
    ) -> Result<(LeaveResults, Vec<Effect>), GroupError> {
        if matches!(self.phase, Phase::Dead) {
            return Err(GroupError::Unavailable);
        }
        let mut effects = Vec::new();
        let results: Vec<_> = leaving
            .iter()
            .map(|leaving| self.leave_one(leaving, &mut effects))
            .collect();
        if results.iter().any(Result::is_ok) {
            match self.phase {
                Phase::Completing | Phase::Stable => self.prepare_rebalance(now, &mut effects),
                _ => self.complete_join_if_all_are_in(now, &mut effects),
            }
        }
        Ok((results, effects))
    }

    fn leave_one(
        &mut self,
        leaving: &Leaving,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let instance_id = leaving.instance_id.as_ref();
        let id = if leaving.member_id.is_empty() {
            self.instance_member(instance_id)
                .ok_or(GroupError::UnknownMember)?
        } else if self.pending_join.remove(&leaving.member_id).is_some() {
            return Ok(());
        } else {
            self.check_member(&leaving.member_id, instance_id)?;
            leaving.member_id.clone()
        };
        self.remove_member(&id, GroupError::UnknownMember, effects);
        Ok(())
    }
}
