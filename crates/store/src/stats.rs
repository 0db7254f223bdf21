//! How a slot is doing, in numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_metrics::{Counter, Histogram, Reading};

/// A moment's figures of a slot. Counters count from the start of the process.
#[derive(Debug, Clone)]
pub struct SlotStats {
    /// Memory that records take up, in bytes.
    pub memory_bytes: u64,
    /// What they may take up.
    pub memory_budget_bytes: u64,
    /// The part of `memory_bytes` that gives way when it is needed, in bytes.
    pub memory_cache_bytes: u64,
    /// Appends that wait for memory.
    pub producers_waiting: u64,
    /// Bytes in the journal that are not settled yet.
    pub unsettled_bytes: u64,
    /// Bytes written to the journal.
    pub journal_bytes: u64,
    /// Groups written to the journal.
    pub journal_groups: u64,
    /// Commits written to the journal.
    pub journal_commits: u64,
    /// Groups that were synced.
    pub journal_syncs: u64,
    /// Time spent writing and syncing groups, in microseconds.
    pub journal_us: u64,
    /// Groups by their sizes in bytes.
    pub journal_group_sizes: Reading,
    /// Groups by how long it took to write them, and to sync those that were synced, in microseconds.
    pub journal_write_times: Reading,
    /// Syncs of groups by how long they took alone, in microseconds.
    pub journal_sync_times: Reading,
    /// The longest write and sync of one group, in microseconds.
    pub journal_group_us_max: u64,
    /// What is free on the disk, in bytes; `None` before it was looked at.
    pub disk_available_bytes: Option<u64>,
    /// The part of it that records taken so far need when they are settled.
    pub disk_claimed_bytes: u64,
    /// What is kept free beside that, so that room can be made.
    pub disk_reserve_bytes: u64,
    /// Appends are refused for want of disk space.
    pub disk_full: bool,
}

/// What the journal's writer counts.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) commits: Counter,
    pub(crate) groups: Histogram,
    pub(crate) writes: Histogram,
    /// Kept by the journal's medium, which alone can tell a sync from the write before it.
    pub(crate) syncs: Arc<Histogram>,
    group_us_max: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            commits: Counter::default(),
            groups: Histogram::of_sizes(),
            writes: Histogram::of_times(),
            syncs: Arc::new(Histogram::of_times()),
            group_us_max: AtomicU64::new(0),
        }
    }

    pub(crate) fn wrote_group(&self, commits: usize, bytes: usize, took: Duration) {
        self.commits.add(commits as u64);
        self.groups.count(bytes as u64);
        self.writes.time(took);
        self.group_us_max
            .fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn group_us_max(&self) -> u64 {
        self.group_us_max.load(Ordering::Relaxed)
    }
}
