//! What a partition promises, and how long it keeps what it holds.

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Durability {
    /// The record is in this process's memory. It never touches the disk.
    Memory = 0,
    /// The operating system has the record: it survives the process, not the machine.
    Os = 1,
    /// The record is on the disk, synced.
    #[default]
    Fsync = 2,
}

impl Durability {
    /// The promise of that number in a stored format.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Memory),
            1 => Some(Self::Os),
            2 => Some(Self::Fsync),
            _ => None,
        }
    }
}

/// What makes room in a partition: Kafka's `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cleanup {
    /// Drop what is older or beyond the size that [`PartitionPolicy`] allows.
    #[default]
    Delete,
    /// Keep the latest record of each key.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl Cleanup {
    /// Whether age and size retention apply.
    pub const fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }

    /// Whether only the latest record of each key is kept.
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }
}

/// What a memory partition does when its byte bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// The oldest batches make room.
    #[default]
    DropOldest,
    /// Appends are refused until something else makes room.
    Refuse,
}

/// A partition's retention, compaction and segment settings, by Kafka's names and with Kafka's defaults.
///
/// A policy decides what may be dropped, so a partition whose policy was never set keeps everything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartitionPolicy {
    /// `cleanup.policy`.
    pub cleanup: Cleanup,
    /// `retention.ms`; `None` keeps records of any age.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` keeps any amount.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`: the most bytes that retention drops at once.
    pub segment_bytes: u64,
    /// `segment.ms`: the longest time that retention drops at once.
    pub segment_ms: u64,
    /// `index.interval.bytes`: how far apart a pack's index entries are.
    pub index_interval_bytes: u32,
    /// `min.compaction.lag.ms`: how long a record stays as it is.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`: how long a record may at most wait for compaction.
    pub max_compaction_lag_ms: u64,
    /// `min.cleanable.dirty.ratio`: which part of the partition has to be uncompacted before compaction starts.
    pub min_cleanable_dirty_ratio: f64,
    /// `delete.retention.ms`: how long a tombstone stays readable.
    pub delete_retention_ms: u64,
    /// The most bytes a memory partition holds.
    pub memory_bytes: u64,
    /// What happens beyond that.
    pub overflow: Overflow,
    /// `millstream.retention=consumed`: what every queue has finished goes too, as [`crate::Holders`] say. Not together with
    /// compaction.
    pub consumed: bool,
}

impl Default for PartitionPolicy {
    fn default() -> Self {
        Self {
            cleanup: Cleanup::Delete,
            retention_ms: None,
            retention_bytes: None,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            index_interval_bytes: 64 << 10,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX as u64,
            min_cleanable_dirty_ratio: 0.5,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            memory_bytes: 64 << 20,
            overflow: Overflow::DropOldest,
            consumed: false,
        }
    }
}
