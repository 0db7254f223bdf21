//! Whether the disk has room for more records.
//!
//! Space is claimed ahead: records are refused while what is free is less than what the records taken so far will need
//! when they are settled, and a reserve on top of that, so that what makes room (settling, trims, deletions, rewriting
//! packs) does not fail for want of it. They are taken again once an eighth more than the reserve is free, so that
//! the answer does not flip with every pack.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millstream_env::Disk;

use crate::budget::Budget;
use crate::error::CommitError;

/// The reserve is at most this part of the whole file system, so that small ones can be used too.
const RESERVE_PART: u64 = 16;

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
            budget,
        }
    }

    /// Looks again. `claimed` is what the records taken so far still need; `stuck` says that room for the journal or for
    /// settling was just not to be had.
    pub(crate) fn refresh(&self, claimed: u64, stuck: bool) {
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
        let full = stuck || space.available_bytes < enough;
        if full != was_full {
            self.full.store(full, Ordering::Relaxed);
            // Producers that wait for memory would wait for the disk: let them in to be refused.
            self.budget.set_open(full);
            if full {
                tracing::error!(
                    available_bytes = space.available_bytes,
                    claimed_bytes = claimed,
                    reserve_bytes = reserve,
                    "the disk is full: appends are refused until there is room"
                );
            } else {
                tracing::info!(
                    available_bytes = space.available_bytes,
                    "the disk has room again: appends are taken"
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

    /// The refusal to give while the disk is full.
    pub(crate) fn refusal(&self) -> Option<CommitError> {
        self.is_full().then(|| CommitError::DiskFull {
            available_bytes: self.available.load(Ordering::Relaxed),
            reserve_bytes: self.reserve.load(Ordering::Relaxed),
        })
    }
}
