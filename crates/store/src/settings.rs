//! What can be set for a slot. Plain data: nothing here opens or starts anything.

use std::path::PathBuf;
use std::time::Duration;

/// Who runs a slot's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drive {
    /// Threads that the slot starts: one for the journal, one for settling.
    #[default]
    Threads,
    /// Nobody but the caller, through [`crate::Slot::step_journal`] and [`crate::Slot::step_settling`]: for simulation.
    Manual,
}

/// How one slot lives on its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSettings {
    /// The directory that holds everything.
    pub data_dir: PathBuf,
    /// Who runs the steps.
    pub drive: Drive,
    /// Memory for what is not settled yet and for what is cached after it. Producers wait while it is full.
    pub memory_budget_bytes: usize,
    /// Size of one journal file.
    pub journal_file_bytes: u64,
    /// The journal is settled and trimmed before it is longer than this, which bounds the time that recovery takes.
    pub journal_bytes_max: u64,
    /// Settling starts when this much is not settled.
    pub settle_after_bytes: u64,
    /// Settling starts when something has not been settled for so long.
    pub settle_after: Duration,
    /// How often packs are looked after (retention, merging, compaction) beyond once after each round of settling.
    pub housekeeping_interval: Duration,
    /// Appends are refused while less than this is free on the disk, so that trims, deletions and settling go on.
    pub disk_reserve_bytes: u64,
    /// A producer that has not written to a partition for so long is forgotten there.
    pub producer_expiry: Duration,
}

impl SlotSettings {
    /// The defaults, in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            drive: Drive::Threads,
            memory_budget_bytes: 512 << 20,
            journal_file_bytes: 64 << 20,
            journal_bytes_max: 1 << 30,
            settle_after_bytes: 128 << 20,
            settle_after: Duration::from_secs(60),
            housekeeping_interval: Duration::from_secs(30),
            disk_reserve_bytes: 256 << 20,
            producer_expiry: Duration::from_secs(24 * 3600),
        }
    }
}
