//! What of a queue is written down: the changes that an event makes to the state table.

use millstream_record::{Offset, TimestampMs};
use smallvec::SmallVec;

use super::bits::BlockBits;
use super::history::Span;
use super::run::Part;
use crate::queues::ids::{ConsumerId, LeaseNumber, PartitionIndex};

/// One change. See [`crate::queues::record`] for keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// What concerns the queue as a whole.
    Queue(QueueImage),
    /// Everything below `low` is finished.
    Cursor {
        /// Where.
        partition: PartitionIndex,
        /// The low-water mark.
        low: Offset,
    },
    /// Which of a block's 1,024 offsets are finished.
    Block {
        /// Where.
        partition: PartitionIndex,
        /// The block: its first offset divided by 1,024.
        block: i64,
        /// The finished offsets, a bit each.
        done: BlockBits,
    },
    /// The block is below the low-water mark, or its chunk is finished.
    DropBlock {
        /// Where.
        partition: PartitionIndex,
        /// The block.
        block: i64,
    },
    /// All 65,536 offsets of a chunk are finished.
    Finished {
        /// Where.
        partition: PartitionIndex,
        /// The chunk: its first offset divided by 65,536.
        chunk: i64,
    },
    /// The chunk is below the low-water mark.
    DropFinished {
        /// Where.
        partition: PartitionIndex,
        /// The chunk.
        chunk: i64,
    },
    /// Records came back.
    History {
        /// Where.
        partition: PartitionIndex,
        /// The first of the span.
        start: Offset,
        /// What is known of it.
        span: Span,
    },
    /// A span is finished or merged into others.
    DropHistory {
        /// Where.
        partition: PartitionIndex,
        /// The first of the span.
        start: Offset,
    },
    /// Records were delivered, or their lease was extended.
    Lease(LeaseImage),
    /// Nothing is left of it.
    DropLease {
        /// The lease.
        number: LeaseNumber,
        /// Which piece of it.
        piece: u32,
    },
    /// Ids were met for the first time.
    Ids(IdsImage),
    /// All of a group's ids are older than the window.
    DropIds {
        /// Where.
        partition: PartitionIndex,
        /// The record that brought the first of them.
        from: Offset,
    },
}

/// What concerns the queue as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueImage {
    /// Whether deliveries are suspended.
    pub paused: bool,
}

/// A lease, or the piece of one that was extended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseImage {
    /// The lease.
    pub number: LeaseNumber,
    /// Which piece: 0 is the lease as it was granted. Of an offset in several, the highest counts.
    pub piece: u32,
    /// Who holds it.
    pub consumer: ConsumerId,
    /// When it was granted.
    pub granted: TimestampMs,
    /// When it ends.
    pub deadline: TimestampMs,
    /// The records. Those that have been finished since, or came back, do not count.
    pub parts: SmallVec<[Part; 1]>,
}

/// Ids that one scan met for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdsImage {
    /// Where.
    pub partition: PartitionIndex,
    /// The record that brought the first of them.
    pub from: Offset,
    /// Each id, and the record that brought it.
    pub ids: Vec<SeenId>,
}

/// An id and the record that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenId {
    /// 128 bits of the id's hash.
    pub id: u128,
    /// The record.
    pub offset: Offset,
    /// The record's timestamp.
    pub timestamp: TimestampMs,
}
