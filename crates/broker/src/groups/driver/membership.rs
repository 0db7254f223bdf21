//! Joining, syncing, beating and leaving.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_limits::{GROUP_MEMBER_BYTES_MAX, GROUP_PROTOCOLS_MAX};
use millstream_store::Stay;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::cell::{Cell, JoinAnswer, Settling, SyncAnswer, Waiting};
use super::{Groups, settle};
use crate::groups::error::GroupError;
use crate::groups::ids::{GroupId, MemberId};
use crate::groups::machine::{Effect, RequestToken};
use crate::groups::request::{
    JoinRefused, JoinRequest, Joined, Leaving, MemberProtocol, MemberRef, SyncRequest, Synced,
};

/// How much of what a client calls itself goes into its member id.
const MEMBER_ID_NAME_CHARS_MAX: usize = 255;

impl Groups {
    /// A member comes, or comes back. Waits until the next generation begins, as long as its rebalance takes.
    ///
    /// The group is made if the member comes without an id.
    pub async fn join(&self, group: &GroupId, request: JoinRequest) -> Result<Joined, JoinRefused> {
        let member_id = request.member_id.clone().unwrap_or_else(MemberId::none);
        let refuse = |error| JoinRefused {
            error,
            member_id: member_id.clone(),
        };
        let settling = self.start_join(group, request).map_err(refuse)?;
        let Settling { answer, durable } = settling
            .await
            .map_err(|_| refuse(GroupError::Unavailable))?;
        settle(durable).await.map_err(refuse)?;
        answer
    }

    fn start_join(
        &self,
        group: &GroupId,
        request: JoinRequest,
    ) -> Result<oneshot::Receiver<Settling<JoinAnswer>>, GroupError> {
        self.check_join(group, &request)?;
        self.check_disk(Stay::Passing)?;
        let cell = match &request.member_id {
            None => match self.get(group) {
                Some(cell) => cell,
                None => {
                    self.check_disk(Stay::Lasting)?;
                    self.get_or_create(group)?
                }
            },
            Some(_) => self.get(group).ok_or(GroupError::UnknownMember)?,
        };
        let fresh_id = self.fresh_member_id(&request);
        let token = self.next_token();
        let (asker, answer) = oneshot::channel();
        let mut cell = cell.lock();
        // With the lock held: nobody is parked once closing has passed this cell.
        self.check_open()?;
        cell.park(token, Waiting::Join(asker));
        let effects = cell.machine.join(request, token, fresh_id, self.now());
        // An error has reached everyone it concerns, this member too.
        let _ = self.perform(&mut cell, effects);
        Ok(answer)
    }

    fn check_join(&self, group: &GroupId, request: &JoinRequest) -> Result<(), GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let allowed = self.settings.session_timeout_min_ms..=self.settings.session_timeout_max_ms;
        if !allowed.contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let bytes: usize = request.protocols.iter().map(MemberProtocol::bytes).sum();
        if request.protocols.len() > GROUP_PROTOCOLS_MAX || bytes > GROUP_MEMBER_BYTES_MAX {
            return Err(GroupError::TooLarge);
        }
        Ok(())
    }

    /// A member asks for its assignment, and the leader brings everyone's. Waits until the leader has.
    pub async fn sync(&self, group: &GroupId, request: SyncRequest) -> Result<Synced, GroupError> {
        let settling = self.start_sync(group, request)?;
        let Settling { answer, durable } = settling.await.map_err(|_| GroupError::Unavailable)?;
        settle(durable).await?;
        answer
    }

    fn start_sync(
        &self,
        group: &GroupId,
        request: SyncRequest,
    ) -> Result<oneshot::Receiver<Settling<SyncAnswer>>, GroupError> {
        let cell = self.of_member(group)?;
        self.check_disk(Stay::Passing)?;
        let token = self.next_token();
        let (asker, answer) = oneshot::channel();
        let mut cell = cell.lock();
        self.check_open()?;
        cell.park(token, Waiting::Sync(asker));
        let effects = cell.machine.sync(request, token, self.now());
        let _ = self.perform(&mut cell, effects);
        Ok(answer)
    }

    /// A member lives. The error tells it what to do next.
    pub fn heartbeat(&self, group: &GroupId, member: &MemberRef) -> Result<(), GroupError> {
        let cell = self.of_member(group)?;
        let now = self.now();
        cell.lock().machine.heartbeat(member, now)
    }

    /// Members go. One result for each.
    pub async fn leave(
        &self,
        group: &GroupId,
        leaving: &[Leaving],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = match self.of_member(group) {
            Err(GroupError::UnknownMember) => {
                return Ok(vec![Err(GroupError::UnknownMember); leaving.len()]);
            }
            found => found?,
        };
        let (results, durable) = {
            let mut cell = cell.lock();
            let (results, effects) = cell.machine.leave(leaving, self.now())?;
            self.perform(&mut cell, effects)?;
            (results, cell.durable())
        };
        settle(durable).await?;
        Ok(results)
    }

    /// The group that someone who claims to be its member names.
    fn of_member(&self, group: &GroupId) -> Result<Arc<parking_lot::Mutex<Cell>>, GroupError> {
        self.check_open()?;
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        self.get(group).ok_or(GroupError::UnknownMember)
    }

    /// Does what a machine asked for, and sees to its next deadline.
    pub(super) fn perform(&self, cell: &mut Cell, effects: Vec<Effect>) -> Result<(), GroupError> {
        let done = cell.perform(effects, &self.slot, self.wall_now());
        self.alarms.set(cell);
        done
    }

    fn next_token(&self) -> RequestToken {
        RequestToken(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// An id nobody else has or will have, which begins with what its owner calls itself.
    fn fresh_member_id(&self, request: &JoinRequest) -> MemberId {
        let name = request
            .instance_id
            .as_ref()
            .map_or(&*request.client_id, |instance| instance.as_str());
        let name: String = name.chars().take(MEMBER_ID_NAME_CHARS_MAX).collect();
        let random = [self.env.rng.next_u64(), self.env.rng.next_u64()];
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random[0].to_be_bytes());
        bytes[8..].copy_from_slice(&random[1].to_be_bytes());
        let unique: Uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        MemberId::new(&format!("{name}-{unique}"))
    }
}
