//! Whether the disk has room for more.
//!
//! Space is claimed ahead: records are refused while what is free is less than what the records taken so far will need
//! when they are settled, and a reserve on top of that, so that what makes room (settling, trims, deletions, rewriting
//! packs) does not fail for want of it. They are taken again once an eighth more than the reserve is free, so that
//! the answer does not flip with every pack.
//!
//! The reserve is for less and less as it dwindles: below a half of it nothing is taken any more that stays, below a
//! quarter the journal claims no new files, and what waits for it is written together with what makes room.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millstream_env::Disk;

use crate::budget::Budget;
use crate::error::CommitError;

/// The reserve is at most this part of the whole file system, so that small ones can be used too.
const RESERVE_PART: u64 = 16;

/// Below this part of the reserve nothing that stays is taken.
const LASTING_PART: u64 = 2;

/// Below this part of the reserve the journal claims no new files.
const JOURNAL_PART: u64 = 4;

/// What becomes of what a client's request writes into the state table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// It stays until somebody deletes it: a topic, a group's first offset.
    Lasting,
    /// It makes way for what comes after it: how far a reader is, what a consumer holds.
    Passing,
}

/// What is free on a slot's disk.
pub(crate) struct Room {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    reserve_setting: u64,
    reserve: AtomicU64,
    available: AtomicU64,
    /// What is spoken for, beside the reserve.
    claimed: AtomicU64,
    full: AtomicBool,
    /// What is queued for the journal waits for room.
    journal_waits: AtomicBool,
    /// So does what would make room: the boundary that settles the journal, or settling.
    settling_waits: AtomicBool,
    budget: Arc<Budget>,
}

impl Room {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        reserve_bytes: u64,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            disk,
            dir,
            reserve_setting: reserve_bytes,
            reserve: AtomicU64::new(reserve_bytes),
            available: AtomicU64::new(u64::MAX),
            claimed: AtomicU64::new(0),
            full: AtomicBool::new(false),
            journal_waits: AtomicBool::new(false),
            settling_waits: AtomicBool::new(false),
            budget,
        }
    }

    /// Looks again. `claimed` is what the records taken so far still need.
    pub(crate) fn refresh(&self, claimed: u64) {
        let space = match self.disk.space(&self.dir) {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "the free space of the disk cannot be told");
                return;
            }
        };
        let reserve = self.reserve_setting.min(space.total_bytes / RESERVE_PART);
        self.reserve.store(reserve, Ordering::Relaxed);
        self.available
            .store(space.available_bytes, Ordering::Relaxed);
        self.claimed.store(claimed, Ordering::Relaxed);
        let was_full = self.full.load(Ordering::Relaxed);
        let slack = if was_full { reserve / 8 } else { 0 };
        let enough = reserve + claimed + slack;
        // A quota, or a file system without room for more files, does not show in what is free.
        let stuck = self.journal_waits() || self.settling_waits();
        let full = stuck || space.available_bytes < enough;
        if full != was_full {
            self.full.store(full, Ordering::Relaxed);
            // Producers that wait for memory would wait for the disk: let them in to be refused.
            self.budget.set_open(full);
            if full && space.available_bytes >= enough {
                tracing::error!(
                    available_bytes = space.available_bytes,
                    "there is no room for a new file: appends are refused until there is"
                );
            } else if full {
                tracing::error!(
                    available_bytes = space.available_bytes,
                    claimed_bytes = claimed,
                    reserve_bytes = reserve,
                    "the disk is full: appends are refused until there is room"
                );
            } else {
                tracing::info!(
                    available_bytes = space.available_bytes,
                    "there is room again: appends are taken"
                );
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// What is kept free for the work that makes room.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve.load(Ordering::Relaxed)
    }

    /// What is free, if that has been told.
    pub(crate) fn available_bytes(&self) -> Option<u64> {
        let available = self.available.load(Ordering::Relaxed);
        (available != u64::MAX).then_some(available)
    }

    /// What records that are to be settled need of it.
    pub(crate) fn claimed_bytes(&self) -> u64 {
        self.claimed.load(Ordering::Relaxed)
    }

    /// What is free and not spoken for by records that are to be settled.
    pub(crate) fn unclaimed_bytes(&self) -> u64 {
        let available = self.available.load(Ordering::Relaxed);
        available.saturating_sub(self.claimed.load(Ordering::Relaxed))
    }

    /// Whether what stays has to be refused.
    pub(crate) fn is_short(&self) -> bool {
        self.is_full() && self.unclaimed_bytes() < self.reserve_bytes() / LASTING_PART
    }

    /// Whether the journal may claim another file, for which there is room among what is claimed.
    pub(crate) fn has_room_for_journal(&self) -> bool {
        self.unclaimed_bytes() >= self.reserve_bytes() / JOURNAL_PART
    }

    /// Whether what is queued for the journal waits for room.
    pub(crate) fn journal_waits(&self) -> bool {
        self.journal_waits.load(Ordering::Relaxed)
    }

    /// Says whether it does. Returns whether it did before.
    pub(crate) fn set_journal_waits(&self, waits: bool) -> bool {
        self.journal_waits.swap(waits, Ordering::Relaxed)
    }

    /// Whether what makes room waits for room itself.
    pub(crate) fn settling_waits(&self) -> bool {
        self.settling_waits.load(Ordering::Relaxed)
    }

    /// Says whether it does.
    pub(crate) fn set_settling_waits(&self, waits: bool) {
        self.settling_waits.store(waits, Ordering::Relaxed);
    }

    /// What to refuse with for want of room.
    pub(crate) fn refusal(&self) -> CommitError {
        CommitError::DiskFull {
            available_bytes: self.available.load(Ordering::Relaxed),
            reserve_bytes: self.reserve.load(Ordering::Relaxed),
        }
    }
}
