//! What members ask of a group, and what they are told.

use std::sync::Arc;

use bytes::Bytes;

use super::error::GroupError;
use super::ids::{Generation, InstanceId, MemberId};

/// A way of dividing the work that a member knows (an assignor), with what it tells the leader for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberProtocol {
    /// For example `range`.
    pub name: Arc<str>,
    /// What the leader is to know of the member: opaque.
    pub metadata: Bytes,
    /// The topics the metadata subscribes to, where whoever speaks the protocol could read them.
    pub topics: Option<Vec<Arc<str>>>,
}

impl MemberProtocol {
    /// Its bytes in the group's record, within a few.
    pub(crate) fn bytes(&self) -> usize {
        let topics: usize = self.topics.iter().flatten().map(|topic| topic.len()).sum();
        self.name.len() + self.metadata.len() + topics
    }
}

/// A member comes, or comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The id that an earlier answer gave; none at first.
    pub member_id: Option<MemberId>,
    /// Given by a static member.
    pub instance_id: Option<InstanceId>,
    /// Who is calling, for `describe` and to begin the member id with.
    pub client_id: Arc<str>,
    /// From where, for `describe`.
    pub client_host: Arc<str>,
    /// How long the member may be silent.
    pub session_timeout_ms: u32,
    /// How long the others wait for it in a rebalance.
    pub rebalance_timeout_ms: u32,
    /// `consumer`, `connect`, …: all members have the same.
    pub protocol_type: Arc<str>,
    /// What the member supports, the best first.
    pub protocols: Vec<MemberProtocol>,
    /// The member understands that it must join twice (KIP-394): no membership is made before it knows its id.
    pub two_step: bool,
    /// The member understands `skip_assignment` (KIP-814).
    pub may_skip_assignment: bool,
}

/// A member is in a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: Generation,
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The protocol all members support and most prefer.
    pub protocol: Arc<str>,
    /// Who divides the work.
    pub leader: MemberId,
    /// The member's own id.
    pub member_id: MemberId,
    /// Everyone in the generation if the member leads it, else nobody.
    pub members: Vec<JoinedMember>,
    /// The member leads the group but takes over an assignment that stands (KIP-814).
    pub skip_assignment: bool,
}

/// One member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: MemberId,
    /// Given by a static member.
    pub instance_id: Option<InstanceId>,
    /// What it says for the chosen protocol.
    pub metadata: Bytes,
}

/// Why a member could not join, and under which id it may try again: empty, its own, or one that was made for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id to go on with.
    pub member_id: MemberId,
}

/// A member as it names itself in every request after its join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRef {
    /// Empty for a reader that is in no group.
    pub member_id: MemberId,
    /// Given by a static member.
    pub instance_id: Option<InstanceId>,
    /// [`Generation::NONE`] for a reader that is in no group.
    pub generation: Generation,
}

/// A member asks for its assignment; the leader brings everyone's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// Who asks.
    pub member: MemberRef,
    /// What the member takes the group's protocol type to be, if it says (KIP-559).
    pub protocol_type: Option<Arc<str>>,
    /// What the member takes the chosen protocol to be, if it says (KIP-559).
    pub protocol: Option<Arc<str>>,
    /// The leader's work; empty from everyone else.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The protocol that was chosen.
    pub protocol: Arc<str>,
    /// What the leader gave this member: opaque, and empty if it gave nothing.
    pub assignment: Bytes,
}

/// Someone to be taken out of a group: by member id, or, by an operator, by instance id alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Empty when the instance id alone says who.
    pub member_id: MemberId,
    /// Given by a static member.
    pub instance_id: Option<InstanceId>,
}
