//! What operators do to a queue.

use millstream_record::{Offset, TimestampMs};

use super::bits::{ones, words_of};
use super::effect::Effects;
use super::flow::{Fate, Word};
use super::keys::KeyOrder;
use super::partition::RecordState;
use super::run::{chunks_of, offset_at};
use super::write::{QueueImage, Write};
use super::{Partition, Queue, Timer};
use crate::queues::ids::PartitionIndex;
use crate::queues::policy::{Access, QueuePolicy};

/// A record that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Browsed {
    /// Where it is.
    pub offset: Offset,
    /// What happened to it so far.
    pub state: RecordState,
    /// How often it was delivered and came back.
    pub attempts: u16,
}

impl Queue {
    /// Delivers nothing until [`Self::resume`]; consumers may still settle what they have.
    pub fn pause(&mut self, effects: &mut Effects) {
        self.paused = true;
        effects.writes.push(Write::Queue(self.image()));
    }

    /// Delivers again.
    pub fn resume(&mut self, now: TimestampMs, effects: &mut Effects) {
        self.paused = false;
        effects.writes.push(Write::Queue(self.image()));
        self.conclude(now, effects);
    }

    /// Whether deliveries are suspended.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Finishes everything that nobody holds. Says how many records that were.
    pub fn purge(&mut self, now: TimestampMs, effects: &mut Effects) -> u64 {
        let mut purged = 0;
        for index in 0..self.partitions.len() as PartitionIndex {
            purged += self.purge_partition(index, now, effects);
        }
        self.sweep();
        self.conclude(now, effects);
        purged
    }

    /// The open records of a partition from `from` on, at most `max`, in the order of the log.
    pub fn browse(&self, index: PartitionIndex, from: Offset, max: usize) -> Vec<Browsed> {
        let Some(partition) = self.partitions.get(index as usize) else {
            return Vec::new();
        };
        let words =
            chunks_of(from.max(partition.low), partition.end).flat_map(|(chunk, first, last)| {
                words_of(first, last).map(move |(word, mask)| (chunk, word, mask))
            });
        let open = words.flat_map(|(chunk, word, mask)| {
            ones(mask & !partition.done(chunk, word))
                .map(move |bit| offset_at(chunk, word as u32 * 64 + bit))
        });
        open.take(max)
            .map(|offset| Browsed {
                offset,
                state: partition.state(offset),
                attempts: partition.history.at(offset).map_or(0, |span| span.attempts),
            })
            .collect()
    }

    /// The queue is told to do otherwise. If that changes how records are sorted, those that nobody holds are looked at
    /// again.
    pub fn set_policy(&mut self, policy: QueuePolicy, now: TimestampMs, effects: &mut Effects) {
        let looks_again = policy.sees_records_unlike(&self.policy);
        self.policy = policy;
        if self.policy.access == Access::Shared {
            self.active = None;
        }
        if !self.policy.deduplicates() {
            self.dedup.clear(&mut effects.writes);
        }
        self.plan_to_forget_ids(now);
        if !self.policy.dead_letters {
            self.discard_dying(now, effects);
        }
        if looks_again {
            self.look_again();
        }
        self.shorten(now, effects);
        self.conclude(now, effects);
    }

    /// The topic has one more partition, of which the queue reads everything from `start` on.
    pub fn partition_added(
        &mut self,
        start: Offset,
        end: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let index = self.partitions.len() as PartitionIndex;
        let mut partition = Partition::starting_at(index, start, end);
        partition.write_low(&mut effects.writes);
        self.partitions.push(partition);
        self.whet(index);
        self.conclude(now, effects);
    }

    fn purge_partition(
        &mut self,
        index: PartitionIndex,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u64 {
        let Some(partition) = self.touch(index) else {
            return 0;
        };
        if partition.leased == 0 {
            let end = partition.end;
            let purged = partition.cut(end, &mut effects.writes);
            partition.keys = KeyOrder::default();
            self.totals.purged += purged;
            return purged;
        }
        let idle: Vec<Word> = partition.idle_words(partition.end).collect();
        let purge = |word| self.finish(index, word, Fate::Purged, now, effects);
        idle.into_iter().map(purge).map(u64::from).sum()
    }

    fn look_again(&mut self) {
        self.round += 1;
        self.wheel
            .cancel_if(|timer| matches!(timer, Timer::Due { .. } | Timer::Expiry { .. }));
        (self.scheduled, self.expiring) = (0, 0);
        for index in 0..self.partitions.len() as PartitionIndex {
            let resting = &self.resting;
            self.partitions[index as usize].forget_looks(resting.iter());
            self.touch(index);
            self.whet(index);
        }
    }

    fn image(&self) -> QueueImage {
        QueueImage {
            paused: self.paused,
        }
    }
}
