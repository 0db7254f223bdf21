//! The queue and the log's retention: what is finished may be dropped, and what is dropped is finished.

use std::ops::Range;

use millstream_record::{Offset, TimestampMs};

use super::Queue;
use super::effect::Effects;
use super::flow::{Fate, word_of};
use crate::queues::ids::PartitionIndex;

impl Queue {
    /// The ranges of a partition that the queue has finished, in order, within `from..to`: the first from the very
    /// beginning up to the low-water mark, the others behind stragglers.
    ///
    /// They are the state in memory: what rests on them must not be dropped before the writes that said so are durable.
    pub fn finished(
        &self,
        partition: PartitionIndex,
        from: Offset,
        to: Offset,
    ) -> Vec<Range<Offset>> {
        match self.partitions.get(partition as usize) {
            Some(partition) => partition.finished_ranges(from, to.min(partition.end)),
            None => Vec::new(),
        }
    }

    /// Whether the queue has finished all of `from..to`.
    pub fn has_finished(&self, partition: PartitionIndex, from: Offset, to: Offset) -> bool {
        self.partitions
            .get(partition as usize)
            .is_some_and(|partition| to <= partition.end && partition.is_finished(from, to))
    }

    /// The log of a partition starts at `start` from now on. What was not finished below is lost, and counted; says how
    /// many records that were. Receipts for them are refused as finished.
    pub fn trimmed(
        &mut self,
        index: PartitionIndex,
        start: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u64 {
        let Some(partition) = self.touch(index) else {
            return 0;
        };
        if start <= partition.low {
            return 0;
        }
        let lost = partition.cut(start, &mut effects.writes);
        self.totals.lost += lost;
        self.leave_keys_below(index, start, now, effects);
        self.whet(index);
        self.conclude(now, effects);
        lost
    }

    /// Stored data from `from` to `to` is damaged, so that what is open there can be delivered to nobody: it is over, and
    /// counted. Says how many records that were.
    pub fn damaged(
        &mut self,
        index: PartitionIndex,
        from: Offset,
        to: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u32 {
        let Some(partition) = self.touch(index) else {
            return 0;
        };
        let (from, to) = (from.max(partition.low), to.min(partition.end));
        let damaged = self.finish_all(index, (from, to), Fate::Damaged, now, effects);
        self.conclude(now, effects);
        damaged
    }

    /// Records that were looked at or delivered turn out not to be in the log any more: compaction took them. Says how
    /// many of them were open.
    pub fn gone(
        &mut self,
        index: PartitionIndex,
        offsets: &[Offset],
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u32 {
        let mut lost = 0;
        for offset in offsets {
            if self.state(index, *offset).is_some() {
                lost += self.finish(index, word_of(*offset), Fate::Lost, now, effects);
            }
        }
        self.conclude(now, effects);
        lost
    }
}
