//! The expiry of offsets: a look through all groups, in pieces.
//!
//! There may be millions of offsets, and the task that looks through them also keeps the groups' deadlines. So a look
//! does a bounded piece of work at a time and goes on a moment later, when others have had their turn.

use std::sync::Arc;

use millstream_catalog::{TopicId, TopicName};
use millstream_limits::{OFFSET_DELETION_COST, OFFSETS_LOOKED_THROUGH_AT_ONCE};
use parking_lot::Mutex;

use super::Groups;
use super::cell::Cell;
use crate::groups::error::GroupError;
use crate::groups::ids::Moment;
use crate::groups::machine::GroupState;
use crate::groups::offsets::{Expiry, OffsetKey};

/// How long a look rests between two pieces.
const REST_MS: u64 = 1;

/// A look through all groups: under way, or the next one.
pub(super) struct Look {
    /// When the look, or its next piece, is due.
    next: Moment,
    /// When it began; `None` before that.
    began: Option<Moment>,
    /// The groups that were there when it began and are not looked at yet.
    left: Vec<Arc<Mutex<Cell>>>,
}

impl Look {
    pub(super) fn new(next: Moment) -> Self {
        Self {
            next,
            began: None,
            left: Vec::new(),
        }
    }

    pub(super) fn next(&self) -> Moment {
        self.next
    }
}

impl Groups {
    /// Does a piece of what is due of a look: forgets what nobody will ask for again, which is expired offsets, and groups
    /// that have neither members nor offsets.
    pub(super) fn expire_offsets(
        &self,
        now: Moment,
        topic_name: impl Fn(TopicId) -> Option<TopicName>,
    ) {
        let look = &mut *self.alarms.look.lock();
        if look.next > now {
            return;
        }
        let began = *look.began.get_or_insert_with(|| {
            look.left = self.all();
            now
        });
        let mut cost = 0;
        while cost < OFFSETS_LOOKED_THROUGH_AT_ONCE
            && let Some(cell) = look.left.pop()
        {
            match self.expire_offsets_of(&cell, &topic_name) {
                Ok(more) => cost += more,
                // The store takes nothing more now: the next look will see.
                Err(_) => look.left.clear(),
            }
        }
        if look.left.is_empty() {
            let interval_ms = self.settings.offsets_check_interval_ms.max(1);
            *look = Look::new(began.after(interval_ms).max(now.after(REST_MS)));
        } else {
            look.next = now.after(REST_MS);
        }
    }

    /// Returns what it cost, where looking at one offset costs 1.
    fn expire_offsets_of(
        &self,
        cell: &Arc<Mutex<Cell>>,
        topic_name: &impl Fn(TopicId) -> Option<TopicName>,
    ) -> Result<usize, GroupError> {
        let mut locked = cell.lock();
        let expired = self.expired_offsets(&locked, topic_name);
        let cost = 1 + locked.offsets.len() + OFFSET_DELETION_COST * expired.len();
        if !expired.is_empty() {
            tracing::debug!(group = %locked.id, count = expired.len(), "offsets have expired");
        }
        let is_idle = locked.machine.is_idle() && expired.len() == locked.offsets.len();
        if is_idle {
            locked.delete(&self.slot)?;
        } else {
            locked.forget(&self.slot, &expired)?;
        }
        if locked.machine.state() == GroupState::Dead {
            let id = locked.id.clone();
            drop(locked);
            self.remove(&id, cell);
        }
        Ok(cost)
    }

    fn expired_offsets(
        &self,
        cell: &Cell,
        topic_name: &impl Fn(TopicId) -> Option<TopicName>,
    ) -> Vec<OffsetKey> {
        let expiry = Expiry {
            from: cell.machine.retention_from(),
            emptied: cell.emptied,
            retention_ms: self.settings.offsets_retention_ms,
            now: self.wall_now(),
        };
        let mut expired: Vec<OffsetKey> = cell
            .offsets
            .iter()
            .filter(|(_, committed)| expiry.has_expired(committed))
            .map(|(at, _)| *at)
            .collect();
        expired.retain(|at| {
            topic_name(at.topic).is_none_or(|name| !cell.machine.is_subscribed(name.as_str()))
        });
        expired
    }
}
