//! One group with all that belongs to it.

use std::collections::HashMap;

use bytes::Bytes;
use millstream_record::TimestampMs;
use millstream_store::{Commit, CommitError, Slot, Ticket};
use tokio::sync::oneshot;

use crate::groups::error::GroupError;
use crate::groups::ids::{GroupId, MemberId, Moment};
use crate::groups::machine::{ClassicGroup, Effect, RequestToken};
use crate::groups::offsets::{OffsetKey, Offsets};
use crate::groups::record::group::{self, GroupRecord};
use crate::groups::record::offset;
use crate::groups::request::{JoinRefused, Joined, Synced};

pub(super) type JoinAnswer = Result<Joined, JoinRefused>;
pub(super) type SyncAnswer = Result<Synced, GroupError>;

/// How many offsets one commit deletes at most: with the longest group id it has a third of the bytes that a commit may
/// have.
const OFFSETS_PER_COMMIT: usize = 32_768;

/// An answer that counts once what it rests on is durable.
pub(super) struct Settling<T> {
    pub(super) answer: T,
    pub(super) durable: Option<Ticket>,
}

/// A request that waits for its answer.
pub(super) enum Waiting {
    Join(oneshot::Sender<Settling<JoinAnswer>>),
    Sync(oneshot::Sender<Settling<SyncAnswer>>),
}

/// One group.
pub(super) struct Cell {
    pub(super) id: GroupId,
    pub(super) machine: ClassicGroup,
    pub(super) offsets: Offsets,
    /// When the group lost its last member, or was made without one.
    pub(super) emptied: TimestampMs,
    /// The deadline the group has in the alarms' queue, if any: no later than the machine's next.
    pub(super) alarm: Option<Moment>,
    waiting: HashMap<RequestToken, Waiting>,
    /// The group's last commit.
    durable: Option<Ticket>,
}

impl Cell {
    pub(super) fn new(id: GroupId, machine: ClassicGroup, emptied: TimestampMs) -> Self {
        Self {
            id,
            machine,
            offsets: Offsets::new(),
            emptied,
            alarm: None,
            waiting: HashMap::new(),
            durable: None,
        }
    }

    /// Parks a request before the machine hears of it.
    pub(super) fn park(&mut self, token: RequestToken, waiting: Waiting) {
        self.waiting.insert(token, waiting);
    }

    /// Lets go of all who wait; they find that nobody will answer.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }

    /// What to wait for so that everything the group has written is durable.
    pub(super) fn durable(&self) -> Option<Ticket> {
        self.durable.clone()
    }

    /// Does what the machine asked for.
    pub(super) fn perform(
        &mut self,
        effects: Vec<Effect>,
        slot: &Slot,
        now: TimestampMs,
    ) -> Result<(), GroupError> {
        let saved = if effects.contains(&Effect::Save) {
            self.save(slot, now)
        } else {
            Ok(())
        };
        for effect in effects {
            match effect {
                Effect::Save => {}
                Effect::Join(token, answer) => self.answer_join(token, answer, saved),
                Effect::Sync(token, answer) => self.answer_sync(token, answer, saved),
            }
        }
        saved
    }

    fn answer_join(
        &mut self,
        token: RequestToken,
        answer: JoinAnswer,
        saved: Result<(), GroupError>,
    ) {
        let answer = match saved {
            Ok(()) => answer,
            Err(error) => Err(JoinRefused {
                error,
                member_id: MemberId::none(),
            }),
        };
        if let Some(Waiting::Join(asker)) = self.waiting.remove(&token) {
            // Whoever asked may have gone away, which changes nothing for the group.
            let _ = asker.send(Settling {
                answer,
                durable: self.durable(),
            });
        }
    }

    fn answer_sync(
        &mut self,
        token: RequestToken,
        answer: SyncAnswer,
        saved: Result<(), GroupError>,
    ) {
        let answer = saved.and(answer);
        if let Some(Waiting::Sync(asker)) = self.waiting.remove(&token) {
            let _ = asker.send(Settling {
                answer,
                durable: self.durable(),
            });
        }
    }

    fn save(&mut self, slot: &Slot, now: TimestampMs) -> Result<(), GroupError> {
        let image = self.machine.image();
        if image.members.is_empty() {
            self.emptied = now;
        }
        let value = group::encode(&GroupRecord {
            image,
            emptied: self.emptied,
        });
        self.commit(slot, vec![(group::key(&self.id), value)], Vec::new())
    }

    /// Sequences a commit of this group's state.
    pub(super) fn commit(
        &mut self,
        slot: &Slot,
        puts: Vec<(Bytes, Bytes)>,
        deletes: Vec<Bytes>,
    ) -> Result<(), GroupError> {
        match slot.commit(Commit {
            puts,
            deletes,
            ..Commit::default()
        }) {
            Ok(sequenced) => {
                self.durable = Some(sequenced.durable);
                Ok(())
            }
            Err(CommitError::TooLarge { bytes, max_bytes }) => {
                tracing::warn!(group = %self.id, bytes, max_bytes, "a group's change is too large to be written");
                Err(GroupError::TooLarge)
            }
            Err(error) => {
                tracing::error!(group = %self.id, %error, "a group's state could not be written");
                Err(GroupError::Unavailable)
            }
        }
    }

    /// Deletes offsets that are there, in one commit unless they are very many.
    pub(super) fn forget(
        &mut self,
        slot: &Slot,
        forgotten: &[OffsetKey],
    ) -> Result<(), GroupError> {
        for some in forgotten.chunks(OFFSETS_PER_COMMIT) {
            let deletes = some.iter().map(|at| offset::key(&self.id, *at)).collect();
            self.commit(slot, Vec::new(), deletes)?;
            for at in some {
                self.offsets.remove(at);
            }
        }
        Ok(())
    }

    /// Deletes the group with everything in it. Its members must be gone.
    pub(super) fn delete(&mut self, slot: &Slot) -> Result<(), GroupError> {
        let mut offsets: Vec<OffsetKey> = self.offsets.keys().copied().collect();
        let last = offsets.split_off(offsets.len().saturating_sub(OFFSETS_PER_COMMIT));
        self.forget(slot, &offsets)?;
        let mut deletes: Vec<Bytes> = last.iter().map(|at| offset::key(&self.id, *at)).collect();
        deletes.push(group::key(&self.id));
        self.commit(slot, Vec::new(), deletes)?;
        self.offsets.clear();
        self.machine.kill();
        Ok(())
    }
}
