//! A partition's recent batches in memory.
//!
//! The bytes are slices of the buffers that the journal was written from (see [`crate::journal::arena`]): nothing is
//! copied to get here, and nothing to leave for a reader.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use millstream_record::{Offset, TimestampMs, header};
use smallvec::SmallVec;

use crate::ids::JournalPosition;
use crate::policy::PartitionPolicy;

/// Batches that are handed out together.
pub(crate) type Slices = SmallVec<[Bytes; 4]>;

/// One batch in memory.
#[derive(Debug, Clone)]
pub(crate) struct TailBatch {
    /// Its first record's offset.
    pub(crate) base: Offset,
    /// Its last record's offset.
    pub(crate) last: Offset,
    /// Its latest timestamp.
    pub(crate) max_timestamp: TimestampMs,
    /// Where its entry lies in the journal. Meaningless in a memory partition.
    pub(crate) position: JournalPosition,
    /// The batch as it is stored, which is with another base offset when it went to several partitions.
    stored: Bytes,
    moved: bool,
}

impl TailBatch {
    /// A batch that was stored for `stored_base` and lies at `base` here.
    pub(crate) fn new(
        base: Offset,
        stored_base: Offset,
        last_offset_delta: u32,
        max_timestamp: TimestampMs,
        position: JournalPosition,
        stored: Bytes,
    ) -> Self {
        Self {
            base,
            last: base + i64::from(last_offset_delta),
            max_timestamp,
            position,
            stored,
            moved: base != stored_base,
        }
    }

    /// The batch's size in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.stored.len()
    }

    /// The batch as it is stored: its own base offset may be another partition's.
    pub(crate) fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// The batch. It is copied if it is stored with another base offset.
    pub(crate) fn bytes(&self) -> Bytes {
        if !self.moved {
            return self.stored.clone();
        }
        let mut copy = BytesMut::from(&self.stored[..]);
        header::set_base_offset(&mut copy, self.base);
        copy.freeze()
    }
}

/// Batches in the order of their offsets.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    batches: VecDeque<TailBatch>,
    bytes: u64,
}

impl Tail {
    /// Adds the next batch.
    pub(crate) fn push(&mut self, batch: TailBatch) {
        debug_assert!(
            self.batches
                .back()
                .is_none_or(|back| back.last < batch.base)
        );
        self.bytes += batch.size_bytes() as u64;
        self.batches.push_back(batch);
    }

    /// The first offset that is in memory.
    pub(crate) fn first_offset(&self) -> Option<Offset> {
        self.batches.front().map(|front| front.base)
    }

    /// Bytes of batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The batches from the one that contains `offset` on, or from the first after it.
    pub(crate) fn from(&self, offset: Offset) -> impl Iterator<Item = &TailBatch> {
        let start = self.batches.partition_point(|batch| batch.last < offset);
        self.batches.range(start..)
    }

    /// Batches from the one that contains `from`, as many as fit `max_bytes` but at least one, that start before `upto`.
    pub(crate) fn read(&self, from: Offset, max_bytes: usize, upto: Offset) -> Slices {
        let mut slices = Slices::new();
        let mut left = max_bytes;
        for batch in self.from(from) {
            let fits = slices.is_empty() || batch.size_bytes() <= left;
            if batch.base >= upto || !fits {
                break;
            }
            left = left.saturating_sub(batch.size_bytes());
            slices.push(batch.bytes());
        }
        slices
    }

    /// Lets go of the batches whose entries lie before `position`.
    pub(crate) fn evict_before(&mut self, position: JournalPosition) {
        while self
            .batches
            .front()
            .is_some_and(|front| front.position < position)
        {
            self.pop();
        }
    }

    /// Lets go of the batches that end before `offset`.
    pub(crate) fn trim(&mut self, offset: Offset) {
        while self
            .batches
            .front()
            .is_some_and(|front| front.last < offset)
        {
            self.pop();
        }
    }

    /// Lets go of the oldest batches until at most `bytes` are left. Returns the first offset that is left.
    pub(crate) fn shrink_to(&mut self, bytes: u64) -> Option<Offset> {
        while self.bytes > bytes {
            self.pop();
        }
        self.first_offset()
    }

    /// Where retention by time and by size would have the log of a memory partition start; `None` where it takes nothing.
    /// A batch without timestamps has no age.
    pub(crate) fn expired(&self, policy: &PartitionPolicy, now: TimestampMs) -> Option<Offset> {
        if !policy.cleanup.deletes() {
            return None;
        }
        let mut excess_bytes = match policy.retention_bytes {
            Some(kept) => self.bytes.saturating_sub(kept),
            None => 0,
        };
        let mut log_start = None;
        for batch in &self.batches {
            let size_bytes = batch.size_bytes() as u64;
            let is_too_old = policy.retention_ms.is_some_and(|retention_ms| {
                let age_ms = now.0.saturating_sub(batch.max_timestamp.0);
                batch.max_timestamp != TimestampMs::NONE
                    && age_ms > 0
                    && age_ms as u64 > retention_ms
            });
            if !is_too_old && size_bytes > excess_bytes {
                break;
            }
            excess_bytes = excess_bytes.saturating_sub(size_bytes);
            log_start = Some(batch.last.next());
        }
        log_start
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn pop(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.size_bytes() as u64;
        }
    }
}
