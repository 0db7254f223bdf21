//! Records are added, and the queue may become too long.

use millstream_limits::QUEUE_OVERFLOW_RECORDS_PER_STEP;
use millstream_record::{Offset, TimestampMs};
use smallvec::SmallVec;

use super::bits::lowest;
use super::effect::{DeathReason, Effects};
use super::flow::{Fate, Word};
use super::run::{Part, gather};
use super::{Partition, Queue, Timer};
use crate::queues::ids::PartitionIndex;
use crate::queues::policy::Overflow;

impl Queue {
    /// The last stable offset of a partition has risen to `end`. Costs nothing but a comparison, and a
    /// [`super::ScanRequest`] if there is room in the window.
    pub fn appended(
        &mut self,
        index: PartitionIndex,
        end: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let Some(partition) = self.touch(index) else {
            return;
        };
        partition.end = partition.end.max(end);
        self.whet(index);
        self.shorten(now, effects);
        self.conclude(now, effects);
    }

    /// Whether so many more records may be added, for whoever adds them and can be refused.
    pub fn has_room(&self, records: u64) -> bool {
        match self.policy.length {
            Some(length) if length.overflow == Overflow::Refuse => {
                let partitions = self.partitions.iter();
                let taken: u64 = if self.policy.length_follows_looks() {
                    partitions.map(Partition::met).sum()
                } else {
                    partitions.map(Partition::open).sum()
                };
                taken.saturating_add(records) <= length.records_max
            }
            _ => true,
        }
    }

    /// Drops the oldest records of a queue that is too long, as far as nobody holds them. What does not fit one event
    /// follows at once in further ones.
    pub(super) fn shorten(&mut self, now: TimestampMs, effects: &mut Effects) {
        let Some(length) = self.policy.length else {
            return;
        };
        if length.overflow == Overflow::Refuse {
            return;
        }
        self.sum_up();
        let excess = self
            .length()
            .saturating_sub(self.dying())
            .saturating_sub(length.records_max);
        if excess > QUEUE_OVERFLOW_RECORDS_PER_STEP {
            self.set_once(now, Timer::Length);
        }
        let mut excess = excess.min(QUEUE_OVERFLOW_RECORDS_PER_STEP);
        while excess > 0 {
            let idle = |partition: &&Partition| self.length_of(partition) - partition.leased;
            let fullest = self.partitions.iter().max_by_key(idle);
            let Some(index) = fullest.filter(|one| idle(one) > 0).map(|one| one.index) else {
                return;
            };
            excess -= self.drop_oldest(index, excess, length.overflow, now, effects);
        }
    }

    /// Drops up to `count` of a partition's oldest records that nobody holds. Says how many.
    fn drop_oldest(
        &mut self,
        index: PartitionIndex,
        count: u64,
        overflow: Overflow,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u64 {
        let partition = &self.partitions[index as usize];
        let only_met = self.only_met_count();
        let to = if only_met {
            partition.met_end()
        } else {
            partition.end
        };
        let mut left = count;
        let mut oldest: Vec<Word> = Vec::new();
        for (chunk, word, mut mask) in partition.idle_words(to) {
            if only_met {
                mask &= partition.known(chunk, word);
            }
            let mask = lowest(mask, u32::try_from(left).unwrap_or(u32::MAX));
            if mask == 0 {
                continue;
            }
            oldest.push((chunk, word, mask));
            left -= u64::from(mask.count_ones());
            if left == 0 {
                break;
            }
        }
        if overflow == Overflow::DropOldest {
            for word in oldest {
                self.finish(index, word, Fate::Overflowed, now, effects);
            }
        } else {
            let mut parts: SmallVec<[Part; 1]> = SmallVec::new();
            for word in oldest {
                gather(&mut parts, (index, 0), word);
            }
            for part in parts {
                self.totals.overflowed += u64::from(part.run.count());
                self.condemn(part, DeathReason::Overflow, None, now, effects);
            }
        }
        count - left
    }

    /// How many records count when the oldest are dropped.
    fn length(&self) -> u64 {
        let partitions = self.partitions.iter();
        partitions.map(|partition| self.length_of(partition)).sum()
    }

    /// Whether records count only once they were looked at, as that may end them. But for a filter, what will not be looked
    /// at soon counts.
    fn only_met_count(&self) -> bool {
        let looks_soon = self.has_room_to_look();
        self.policy.length_follows_looks() || (self.policy.may_not_want_records() && looks_soon)
    }

    fn length_of(&self, partition: &Partition) -> u64 {
        if self.only_met_count() {
            partition.met()
        } else {
            partition.open()
        }
    }
}
