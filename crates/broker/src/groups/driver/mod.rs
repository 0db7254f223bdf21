//! All groups of a broker: what surrounds the machines.
//!
//! A group is a cell: its machine, its offsets and the requests that wait, under one lock that is never held across an
//! await or I/O. Each event takes the lock, gives the machine the event, commits what the machine wants saved, and
//! hands the answers to whoever waits for them, together with the commit's ticket: an answer leaves when everything the
//! group had written by then is durable. One task for all groups sleeps until the next deadline of any of them.
//!
//! Start with [`cell`]; [`membership`], [`commits`] and [`admin`] are the requests, [`time`] what happens by itself.

mod admin;
mod cell;
mod commits;
mod expiry;
mod load;
mod membership;
#[cfg(test)]
mod tests;
mod time;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millstream_env::Env;
use millstream_limits::GROUP_ID_BYTES_MAX;
use millstream_record::TimestampMs;
use millstream_store::{Slot, Stay, Ticket};
use parking_lot::{Mutex, RwLock};

pub use self::admin::{GroupDescription, GroupListing, MemberDescription};
pub use self::commits::{OffsetCommit, PartitionCommit};
pub use self::load::GroupsLoadError;
pub(crate) use self::time::keep_time;

use self::cell::Cell;
use self::time::Alarms;
use super::error::GroupError;
use super::ids::{GroupId, Moment};
use super::machine::{ClassicGroup, Rules};
use super::settings::GroupSettings;

/// All groups of a broker.
pub struct Groups {
    slot: Slot,
    env: Env,
    settings: GroupSettings,
    cells: RwLock<HashMap<GroupId, Arc<Mutex<Cell>>>>,
    alarms: Arc<Alarms>,
    requests: AtomicU64,
    is_closed: AtomicBool,
}

impl Groups {
    fn new(slot: Slot, env: Env, settings: GroupSettings) -> Self {
        let next_look = Moment(env.clock.monotonic().as_millis() as u64)
            .after(settings.offsets_check_interval_ms);
        Self {
            slot,
            env,
            settings,
            cells: RwLock::default(),
            alarms: Arc::new(Alarms::new(next_look)),
            requests: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// How groups were told to behave.
    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// Answers whoever still waits, and takes nothing more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for cell in self.all() {
            cell.lock().drop_waiting();
        }
        self.alarms.ring();
    }

    fn check_open(&self) -> Result<(), GroupError> {
        if self.is_closed.load(Ordering::Acquire) {
            Err(GroupError::Unavailable)
        } else {
            Ok(())
        }
    }

    /// Refuses what somebody asks for if the disk has no room for it: before the machine is asked, which cannot take back
    /// what it has said.
    fn check_disk(&self, stay: Stay) -> Result<(), GroupError> {
        let checked = self.slot.check_room(stay);
        checked.map_err(|_| GroupError::DiskFull)
    }

    fn now(&self) -> Moment {
        Moment(self.env.clock.monotonic().as_millis() as u64)
    }

    fn wall_now(&self) -> TimestampMs {
        TimestampMs(self.env.clock.wall_ms())
    }

    fn rules(&self) -> Rules {
        Rules {
            initial_rebalance_delay_ms: self.settings.initial_rebalance_delay_ms.into(),
            members_max: self.settings.members_max,
        }
    }

    fn get(&self, group: &GroupId) -> Option<Arc<Mutex<Cell>>> {
        self.cells.read().get(group).cloned()
    }

    fn get_or_create(&self, group: &GroupId) -> Result<Arc<Mutex<Cell>>, GroupError> {
        if let Some(cell) = self.get(group) {
            return Ok(cell);
        }
        if group.as_str().len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let mut cells = self.cells.write();
        let make = || {
            Arc::new(Mutex::new(Cell::new(
                group.clone(),
                ClassicGroup::new(self.rules()),
                self.wall_now(),
            )))
        };
        Ok(Arc::clone(cells.entry(group.clone()).or_insert_with(make)))
    }

    /// Takes a cell whose machine is dead out of sight.
    fn remove(&self, group: &GroupId, cell: &Arc<Mutex<Cell>>) {
        let mut cells = self.cells.write();
        if cells
            .get(group)
            .is_some_and(|present| Arc::ptr_eq(present, cell))
        {
            cells.remove(group);
        }
    }

    fn all(&self) -> Vec<Arc<Mutex<Cell>>> {
        self.cells.read().values().cloned().collect()
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups")
            .field("count", &self.cells.read().len())
            .finish_non_exhaustive()
    }
}

/// Waits until a commit is durable, if there is one to wait for.
async fn settle(durable: Option<Ticket>) -> Result<(), GroupError> {
    match durable {
        None => Ok(()),
        Some(ticket) => ticket.await.map_err(|_| GroupError::Unavailable),
    }
}
