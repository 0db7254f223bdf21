//! Listing, describing and deleting groups.

use std::sync::Arc;

use bytes::Bytes;

use super::{Groups, settle};
use crate::groups::error::GroupError;
use crate::groups::ids::{Generation, GroupId, InstanceId, MemberId};
use crate::groups::machine::{GroupState, MemberProfile};

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub id: GroupId,
    /// Its state.
    pub state: GroupState,
    /// `consumer`, `connect`, …; none if it never had members.
    pub protocol_type: Option<Arc<str>>,
}

/// A group in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its state.
    pub state: GroupState,
    /// Its last generation.
    pub generation: Generation,
    /// `consumer`, `connect`, …; none if it never had members.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol of its last generation; none while it has no members.
    pub protocol: Option<Arc<str>>,
    /// Its members, in the order in which they came.
    pub members: Vec<MemberDescription>,
}

/// A member as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: MemberId,
    /// Given by a static member.
    pub instance_id: Option<InstanceId>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// From where it joined.
    pub client_host: Arc<str>,
    /// What it says for the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub assignment: Bytes,
}

impl Groups {
    /// Every group, in the order of ids.
    pub fn list(&self) -> Vec<GroupListing> {
        let list = |cell: Arc<parking_lot::Mutex<super::cell::Cell>>| {
            let cell = cell.lock();
            GroupListing {
                id: cell.id.clone(),
                state: cell.machine.state(),
                protocol_type: cell.machine.protocol_type().cloned(),
            }
        };
        let mut groups: Vec<GroupListing> = self.all().into_iter().map(list).collect();
        groups.retain(|group| group.state != GroupState::Dead);
        groups.sort_by(|one, other| one.id.cmp(&other.id));
        groups
    }

    /// One group, if there is such a one.
    pub fn describe(&self, group: &GroupId) -> Option<GroupDescription> {
        let cell = self.get(group)?;
        let cell = cell.lock();
        let machine = &cell.machine;
        if machine.state() == GroupState::Dead {
            return None;
        }
        let protocol = machine
            .protocol()
            .filter(|_| machine.state() == GroupState::Stable);
        let describe = |member: &MemberProfile| MemberDescription {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol
                .and_then(|protocol| member.protocol(protocol))
                .map(|protocol| protocol.metadata.clone())
                .unwrap_or_default(),
            assignment: if protocol.is_some() {
                member.assignment.clone()
            } else {
                Bytes::new()
            },
        };
        Some(GroupDescription {
            state: machine.state(),
            generation: machine.generation(),
            protocol_type: machine.protocol_type().cloned(),
            protocol: machine.protocol().cloned(),
            members: machine.profiles().into_iter().map(describe).collect(),
        })
    }

    /// Deletes a group and its offsets. It must have no members.
    pub async fn delete(&self, group: &GroupId) -> Result<(), GroupError> {
        self.check_open()?;
        let durable = {
            let cell = self.get(group).ok_or(GroupError::GroupNotFound)?;
            let mut locked = cell.lock();
            // Members whose sessions are over keep it from nobody.
            self.expire(&mut locked, self.now());
            locked.machine.check_deletable()?;
            locked.delete(&self.slot)?;
            let durable = locked.durable();
            drop(locked);
            self.remove(group, &cell);
            durable
        };
        settle(durable).await
    }
}
