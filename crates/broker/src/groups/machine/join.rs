//! `JoinGroup`: a member comes, or comes back.

use millstream_limits::{GROUP_PENDING_MEMBERS_MAX, GROUP_RECORD_BYTES_MAX};

use super::effect::{Effect, RequestToken};
use super::member::MemberProfile;
use super::phase::Phase;
use super::{ClassicGroup, NEW_MEMBER_JOIN_TIMEOUT_MS};
use crate::groups::error::GroupError;
use crate::groups::ids::{InstanceId, MemberId, Moment};
use crate::groups::request::{JoinRefused, JoinRequest, Joined, JoinedMember};

impl ClassicGroup {
    /// A join. `fresh_id` becomes the member's id if it gets one.
    ///
    /// The answer comes at once, or when everyone has joined, or when the rebalance's time is up.
    pub(crate) fn join(
        &mut self,
        mut request: JoinRequest,
        token: RequestToken,
        fresh_id: MemberId,
        now: Moment,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        keep_first_of_each_name(&mut request);
        let refused = match request.member_id.take() {
            None => self.join_first(request, token, fresh_id, now, &mut effects),
            Some(member_id) => self.join_again(request, token, member_id, now, &mut effects),
        };
        if let Err(refused) = refused {
            effects.push(Effect::Join(token, Err(refused)));
        }
        effects
    }

    /// A join without a member id.
    fn join_first(
        &mut self,
        request: JoinRequest,
        token: RequestToken,
        fresh_id: MemberId,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Result<(), JoinRefused> {
        let refuse = |error| JoinRefused {
            error,
            member_id: MemberId::none(),
        };
        let replaced = request
            .instance_id
            .as_ref()
            .and_then(|instance| self.members.instance(instance))
            .cloned();
        if !self.has_room_for(replaced.as_ref()) {
            return Err(refuse(GroupError::GroupFull));
        }
        self.check_can_join(&request, replaced.as_ref())
            .map_err(refuse)?;
        if let Some(old_id) = replaced {
            self.replace_static(request, token, &old_id, &fresh_id, now, effects);
        } else if request.two_step && request.instance_id.is_none() {
            if self.pending_join.len() >= GROUP_PENDING_MEMBERS_MAX {
                return Err(refuse(GroupError::GroupFull));
            }
            self.pending_join.insert(
                fresh_id.clone(),
                now.after(request.session_timeout_ms.into()),
            );
            return Err(JoinRefused {
                error: GroupError::MemberIdRequired,
                member_id: fresh_id,
            });
        } else {
            self.add_member(request, token, fresh_id, now, effects);
        }
        Ok(())
    }

    /// A join under an id that was given out earlier.
    fn join_again(
        &mut self,
        request: JoinRequest,
        token: RequestToken,
        member_id: MemberId,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Result<(), JoinRefused> {
        if !self.has_room_for(Some(&member_id)) {
            self.pending_join.remove(&member_id);
            if self.remove_member(&member_id, GroupError::GroupFull, effects) {
                self.complete_join_if_all_are_in(now, effects);
            }
            return Err(JoinRefused {
                error: GroupError::GroupFull,
                member_id: MemberId::none(),
            });
        }
        let refuse = |error| JoinRefused {
            error,
            member_id: member_id.clone(),
        };
        self.check_can_join(&request, Some(&member_id))
            .map_err(refuse)?;
        if request.instance_id.is_none() && self.pending_join.remove(&member_id).is_some() {
            self.add_member(request, token, member_id, now, effects);
            return Ok(());
        }
        self.check_member(&member_id, request.instance_id.as_ref())
            .map_err(refuse)?;
        let Some(member) = self.members.get_mut(&member_id) else {
            return Err(refuse(GroupError::UnknownMember));
        };
        let unchanged = member.profile.protocols == request.protocols;
        let stays = match self.phase {
            // The answer to its first join may have been lost.
            Phase::Completing => unchanged,
            // A leader that joins again asks for a rebalance: it has seen something that changes the assignment
            // though no member changed, such as more partitions.
            Phase::Stable => unchanged && self.leader.as_ref() != Some(&member_id),
            Phase::Preparing(_) | Phase::Empty | Phase::Dead => false,
        };
        if stays {
            member.touch(now);
            let joined = self.joined(&member_id, false);
            effects.push(Effect::Join(token, Ok(joined)));
        } else {
            self.park_changed(request, token, &member_id, effects);
            self.rebalance_or_complete_join(now, effects);
        }
        Ok(())
    }

    /// Whether what a member says of itself goes together with the group, in place of what the member of `id` has said.
    fn check_can_join(
        &self,
        request: &JoinRequest,
        id: Option<&MemberId>,
    ) -> Result<(), GroupError> {
        let consistent = match self.phase {
            Phase::Dead => return Err(GroupError::Unavailable),
            Phase::Empty => !request.protocol_type.is_empty() && !request.protocols.is_empty(),
            _ => {
                self.protocol_type.as_ref() == Some(&request.protocol_type)
                    && self.members.support_any(&request.protocols)
            }
        };
        if !consistent {
            return Err(GroupError::InconsistentProtocol);
        }
        if self.members.bytes_with(id, &request.protocols) > GROUP_RECORD_BYTES_MAX {
            return Err(GroupError::TooLarge);
        }
        Ok(())
    }

    /// Whether a join may go on, under `member_id` if it names a member (KIP-389).
    ///
    /// During the join phase those count that have joined it, not those that are members: that lets a group whose
    /// maximum was lowered shed the members that come last.
    fn has_room_for(&self, member_id: Option<&MemberId>) -> bool {
        let member = member_id.and_then(|id| self.members.get(id));
        match self.phase {
            Phase::Empty | Phase::Dead => true,
            Phase::Preparing(_) => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.members.awaiting_join() < self.rules.members_max
            }
            Phase::Completing | Phase::Stable => {
                member.is_some() || self.members.len() < self.rules.members_max
            }
        }
    }

    fn add_member(
        &mut self,
        request: JoinRequest,
        token: RequestToken,
        id: MemberId,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if let Phase::Preparing(preparation) = &mut self.phase
            && let Some(initial) = &mut preparation.initial
        {
            initial.joined_since = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        let member = self
            .members
            .insert(MemberProfile::joining(id.clone(), request));
        member.is_new = true;
        member.session_deadline = Some(now.after(NEW_MEMBER_JOIN_TIMEOUT_MS));
        self.members.park_join(&id, token);
        self.leader.get_or_insert(id);
        self.rebalance_or_complete_join(now, effects);
    }

    /// Takes over what a member says of itself in a later join, and parks that join.
    fn park_changed(
        &mut self,
        request: JoinRequest,
        token: RequestToken,
        id: &MemberId,
        effects: &mut Vec<Effect>,
    ) {
        self.members.update(
            id,
            request.protocols,
            request.session_timeout_ms,
            request.rebalance_timeout_ms,
        );
        if let Some(earlier) = self.members.park_join(id, token) {
            let refused = JoinRefused {
                error: GroupError::RebalanceInProgress,
                member_id: id.clone(),
            };
            effects.push(Effect::Join(earlier, Err(refused)));
        }
    }

    /// A static member is back under a new id (KIP-345): it takes over the old one's place, and the old one, should it
    /// still be there, is fenced.
    fn replace_static(
        &mut self,
        request: JoinRequest,
        token: RequestToken,
        old_id: &MemberId,
        new_id: &MemberId,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Some(old) = self.members.rename(old_id, new_id.clone()) else {
            return;
        };
        fence(
            &old.profile.id,
            old.awaiting_join,
            old.awaiting_sync,
            effects,
        );
        let led = self.leader.as_ref() == Some(old_id);
        if led {
            self.leader = Some(new_id.clone());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        let may_skip_assignment = request.may_skip_assignment;
        if let Some(member) = self.members.get_mut(new_id) {
            member.profile.client_id = request.client_id.clone();
            member.profile.client_host = request.client_host.clone();
        }
        self.park_changed(request, token, new_id, effects);
        if let Some(member) = self.members.get_mut(new_id) {
            member.touch(now);
        }
        match self.phase {
            Phase::Stable if self.members.select_protocol() == self.protocol => {
                self.take_over_assignment(
                    new_id,
                    led.then_some(old_id),
                    may_skip_assignment,
                    effects,
                );
            }
            // The leader may be dividing the work for the old id, which would leave the new one without any.
            Phase::Stable | Phase::Completing => self.prepare_rebalance(now, effects),
            Phase::Preparing(_) | Phase::Empty | Phase::Dead => {
                self.complete_join_if_all_are_in(now, effects);
            }
        }
    }

    /// A static member that came back changes nothing: it goes on with the assignment that stands.
    ///
    /// If it led under `led_as`, it must not divide the work again, as a stable group would not hear it: it is told so
    /// if it understands that, and else that the leader is its former self.
    fn take_over_assignment(
        &mut self,
        id: &MemberId,
        led_as: Option<&MemberId>,
        may_skip_assignment: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(token) = self.members.take_join(id) else {
            return;
        };
        let mut joined = self.joined(id, may_skip_assignment && led_as.is_some());
        if let Some(led_as) = led_as
            && !may_skip_assignment
        {
            joined.leader = led_as.clone();
            joined.members.clear();
        }
        effects.push(Effect::Save);
        effects.push(Effect::Join(token, Ok(joined)));
    }

    /// What a member of the current generation is told.
    pub(super) fn joined(&self, member_id: &MemberId, skip_assignment: bool) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let leader = self.leader.clone().unwrap_or_else(MemberId::none);
        let members = if leader == *member_id {
            self.members_for_leader(&protocol)
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            leader,
            member_id: member_id.clone(),
            members,
            skip_assignment,
        }
    }

    fn members_for_leader(&self, protocol: &str) -> Vec<JoinedMember> {
        let describe = |profile: &MemberProfile| JoinedMember {
            member_id: profile.id.clone(),
            instance_id: profile.instance_id.clone(),
            metadata: profile
                .protocol(protocol)
                .map(|protocol| protocol.metadata.clone())
                .unwrap_or_default(),
        };
        self.profiles().into_iter().map(describe).collect()
    }

    /// Takes a member out of the group; what it was waiting for is answered with `error`. Whether it was in.
    pub(super) fn remove_member(
        &mut self,
        id: &MemberId,
        error: GroupError,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(member) = self.members.remove(id) else {
            return false;
        };
        if let Some(token) = member.awaiting_join {
            effects.push(Effect::Join(
                token,
                Err(JoinRefused {
                    error,
                    member_id: MemberId::none(),
                }),
            ));
        }
        if let Some(token) = member.awaiting_sync {
            effects.push(Effect::Sync(token, Err(error)));
        }
        self.pending_sync.remove(id);
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.first(|_| true).cloned();
        }
        true
    }

    /// The member that goes by an instance id.
    pub(super) fn instance_member(&self, instance_id: Option<&InstanceId>) -> Option<MemberId> {
        self.members.instance(instance_id?).cloned()
    }
}

/// A protocol named twice would count twice: the first stands.
fn keep_first_of_each_name(request: &mut JoinRequest) {
    let mut seen = std::collections::BTreeSet::new();
    request
        .protocols
        .retain(|protocol| seen.insert(protocol.name.clone()));
}

fn fence(
    id: &MemberId,
    join: Option<RequestToken>,
    sync: Option<RequestToken>,
    effects: &mut Vec<Effect>,
) {
    if let Some(token) = join {
        let refused = JoinRefused {
            error: GroupError::FencedInstance,
            member_id: id.clone(),
        };
        effects.push(Effect::Join(token, Err(refused)));
    }
    if let Some(token) = sync {
        effects.push(Effect::Sync(token, Err(GroupError::FencedInstance)));
    }
}
