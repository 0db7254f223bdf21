//! `SyncGroup`: the leader brings the assignment, everyone gets its share.

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_limits::GROUP_RECORD_BYTES_MAX;

use super::ClassicGroup;
use super::effect::{Effect, RequestToken};
use super::phase::Phase;
use crate::groups::error::GroupError;
use crate::groups::ids::{MemberId, Moment};
use crate::groups::request::{SyncRequest, Synced};

impl ClassicGroup {
    /// A sync. The answer comes at once, or when the leader has brought the assignment.
    pub(crate) fn sync(
        &mut self,
        request: SyncRequest,
        token: RequestToken,
        now: Moment,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Err(error) = self.check_sync(&request) {
            effects.push(Effect::Sync(token, Err(error)));
            return effects;
        }
        let id = &request.member.member_id;
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
        if matches!(self.phase, Phase::Completing) {
            if let Some(earlier) = self
                .members
                .get_mut(id)
                .and_then(|member| member.awaiting_sync.replace(token))
            {
                effects.push(Effect::Sync(earlier, Err(GroupError::RebalanceInProgress)));
            }
            if self.leader.as_ref() == Some(id) {
                self.assign(request.assignments, now, &mut effects);
            }
        } else {
            if let Some(member) = self.members.get_mut(id) {
                member.touch(now);
            }
            effects.push(Effect::Sync(token, self.synced(id)));
        }
        effects
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        match self.phase {
            Phase::Dead => return Err(GroupError::Unavailable),
            Phase::Empty => return Err(GroupError::UnknownMember),
            _ => {}
        }
        let member = &request.member;
        self.check_member(&member.member_id, member.instance_id.as_ref())?;
        if member.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |said: &Option<_>, is: &Option<_>| said.is_some() && said != is;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        if matches!(self.phase, Phase::Preparing(_)) {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// The generation is complete. Members the leader forgot get nothing; what it brought for others is dropped.
    fn assign(
        &mut self,
        assignments: Vec<(MemberId, Bytes)>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let mut assignments: BTreeMap<MemberId, Bytes> = assignments.into_iter().collect();
        for member in self.members.iter_mut() {
            member.profile.assignment = assignments.remove(&member.profile.id).unwrap_or_default();
        }
        if self.members.bytes() > GROUP_RECORD_BYTES_MAX {
            self.refuse_assignment(now, effects);
            return;
        }
        self.phase = Phase::Stable;
        effects.push(Effect::Save);
        let waiting: Vec<(MemberId, RequestToken)> = self
            .members
            .iter_mut()
            .filter_map(|member| {
                let token = member.awaiting_sync.take()?;
                member.touch(now);
                Some((member.profile.id.clone(), token))
            })
            .collect();
        for (id, token) in waiting {
            effects.push(Effect::Sync(token, self.synced(&id)));
        }
    }

    /// The assignment is more than a group's record may hold: everyone is told, and the next generation begins.
    fn refuse_assignment(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for member in self.members.iter_mut() {
            member.profile.assignment = Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                member.touch(now);
                effects.push(Effect::Sync(token, Err(GroupError::TooLarge)));
            }
        }
        self.prepare_rebalance(now, effects);
    }

    fn synced(&self, id: &MemberId) -> Result<Synced, GroupError> {
        let member = self.members.get(id).ok_or(GroupError::UnknownMember)?;
        Ok(Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: member.profile.assignment.clone(),
        })
    }
}
