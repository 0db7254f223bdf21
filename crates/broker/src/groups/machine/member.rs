//! One member.

use std::sync::Arc;

use bytes::Bytes;

use super::effect::RequestToken;
use super::{InstanceId, MemberId, Moment};
use crate::groups::request::{JoinRequest, MemberProtocol};

/// What there is to know and to write down of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberProfile {
    pub(crate) id: MemberId,
    pub(crate) instance_id: Option<InstanceId>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) session_timeout_ms: u32,
    pub(crate) rebalance_timeout_ms: u32,
    /// The best first, names differing.
    pub(crate) protocols: Vec<MemberProtocol>,
    /// What this generation's leader gave it.
    pub(crate) assignment: Bytes,
}

/// A member and what it is waiting for.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) profile: MemberProfile,
    /// Its place among the members in the order in which they came.
    pub(super) rank: u64,
    /// When it counts as gone. None while a parked request shows that it lives.
    pub(super) session_deadline: Option<Moment>,
    /// It has never been in a generation, so it cannot show that it lives.
    pub(super) is_new: bool,
    /// Its parked sync.
    pub(super) awaiting_sync: Option<RequestToken>,
    /// Its parked join, counted by [`super::members::Members`].
    pub(super) awaiting_join: Option<RequestToken>,
}

impl MemberProfile {
    /// The member a join makes.
    pub(super) fn joining(id: MemberId, request: JoinRequest) -> Self {
        Self {
            id,
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
        }
    }

    /// What the member says for the protocol of that name.
    pub(crate) fn protocol(&self, name: &str) -> Option<&MemberProtocol> {
        self.protocols
            .iter()
            .find(|protocol| &*protocol.name == name)
    }
}

impl Member {
    /// A sign of life: the session starts anew.
    pub(super) fn touch(&mut self, now: Moment) {
        self.session_deadline = Some(now.after(self.profile.session_timeout_ms.into()));
    }

    /// Whether its silence is excused: a parked request is as good as a heartbeat. A new member's is not, because the
    /// connection behind it may have gone without a sign.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}
