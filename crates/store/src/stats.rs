//! How a slot is doing, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment's figures of a slot. Counters count from the start of the process.
#[derive(Debug, Clone, Default)]
pub struct SlotStats {
    /// Memory that records take up, in bytes.
    pub memory_bytes: u64,
    /// What they may take up.
    pub memory_budget_bytes: u64,
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
    /// The longest write and sync of one group, in microseconds.
    pub journal_group_us_max: u64,
    /// Appends are refused for want of disk space.
    pub disk_full: bool,
}

/// What the journal's writer counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    bytes: AtomicU64,
    groups: AtomicU64,
    commits: AtomicU64,
    syncs: AtomicU64,
    us: AtomicU64,
    group_us_max: AtomicU64,
}

impl Counters {
    pub(crate) fn wrote_group(&self, commits: usize, bytes: usize, sync: bool, took: Duration) {
        let us = took.as_micros() as u64;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.commits.fetch_add(commits as u64, Ordering::Relaxed);
        self.syncs.fetch_add(u64::from(sync), Ordering::Relaxed);
        self.us.fetch_add(us, Ordering::Relaxed);
        self.group_us_max.fetch_max(us, Ordering::Relaxed);
    }

    pub(crate) fn fill(&self, stats: &mut SlotStats) {
        stats.journal_bytes = self.bytes.load(Ordering::Relaxed);
        stats.journal_groups = self.groups.load(Ordering::Relaxed);
        stats.journal_commits = self.commits.load(Ordering::Relaxed);
        stats.journal_syncs = self.syncs.load(Ordering::Relaxed);
        stats.journal_us = self.us.load(Ordering::Relaxed);
        stats.journal_group_us_max = self.group_us_max.load(Ordering::Relaxed);
    }
}
