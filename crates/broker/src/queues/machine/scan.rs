//! How records come in: the queue is told what lies in the log, and sorts it.

use millstream_record::{Offset, TimestampMs};

use super::Queue;
use super::bits::words_of;
use super::effect::{DeathReason, Effects, ScanRequest};
use super::flow::{Fate, Word};
use super::run::{Part, Run, chunks_of};
use crate::queues::ids::PartitionIndex;

/// A batch in a part of the log that was looked at.
#[derive(Clone, Copy, Debug)]
pub struct ScannedBatch<'a> {
    /// Its first offset.
    pub first: Offset,
    /// Its last offset.
    pub last: Offset,
    /// What is in it.
    pub content: Content<'a>,
}

/// What is in a batch.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A record at every offset, and nothing to know of them: nothing was asked, or whether they have ids and none has. Only
    /// if the batch has as many records as offsets; one that was compacted has to be decoded all the same.
    Whole {
        /// The latest timestamp among them.
        newest: TimestampMs,
    },
    /// These records, in order.
    Records(&'a [ScannedRecord]),
    /// Nothing for consumers: a control batch, an aborted transaction.
    Nothing,
    /// It cannot be decoded. It goes to the dead letters whole.
    Undecodable,
    /// What is stored there is damaged, and cannot even be read.
    Damaged,
}

/// What a queue has to know of a record. What its policy does not ask for may be left at the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedRecord {
    /// Where it is.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// From 0 to 9, the highest first. More counts as 9.
    pub priority: u8,
    /// When it is to be delivered at the earliest, if it says so itself.
    pub deliver_at: Option<TimestampMs>,
    /// When its own time to live is over.
    pub expires_at: Option<TimestampMs>,
    /// A hash of its key.
    pub key: Option<u64>,
    /// A hash of its id.
    pub id: Option<u128>,
    /// Whether the queue's filter wants it.
    pub wanted: bool,
}

impl ScannedRecord {
    /// A record that says nothing of itself.
    pub fn new(offset: Offset, timestamp: TimestampMs) -> Self {
        Self {
            offset,
            timestamp,
            priority: 0,
            deliver_at: None,
            expires_at: None,
            key: None,
            id: None,
            wanted: true,
        }
    }
}

impl Queue {
    /// What lies from the request's beginning up to `to`: these batches, in order, and nothing between them. The first
    /// may begin earlier, and the last ones may lie beyond what the queue knows of: those are looked at again. An answer
    /// that has been overtaken by events is ignored, and asked for again.
    pub fn scanned(
        &mut self,
        request: &ScanRequest,
        to: Offset,
        batches: &[ScannedBatch<'_>],
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let index = request.partition;
        if self.round != request.round {
            return;
        }
        let Some(partition) = self.touch(index) else {
            return;
        };
        partition.scanning = false;
        if partition.scan == request.from {
            let mut at = partition.scan;
            let to = to.min(partition.end);
            for batch in batches {
                let (first, end) = (batch.first.max(at).min(to), batch.last.next().min(to));
                self.skip(index, at, first, now, effects);
                if first < end {
                    self.sort(index, (first, end), batch.content, now, effects);
                }
                at = at.max(end);
            }
            self.skip(index, at, to, now, effects);
            if let Some(partition) = self.touch(index) {
                partition.scan = partition.scan.max(to);
            }
            self.remember_ids(index, now, effects);
            if self.policy.may_not_want_records() {
                self.shorten(now, effects);
            }
        }
        self.whet(index);
        self.conclude(now, effects);
    }

    fn sort(
        &mut self,
        index: PartitionIndex,
        (from, to): (Offset, Offset),
        content: Content<'_>,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        match content {
            Content::Whole { newest } => {
                if let Some(partition) = self.touch(index) {
                    partition.scanned_time = partition.scanned_time.max(newest);
                }
                self.take_in_unseen(index, from, to, now, effects);
            }
            Content::Nothing => self.skip(index, from, to, now, effects),
            Content::Undecodable => self.give_up(index, from, to, now, effects),
            Content::Damaged => {
                self.finish_all(index, (from, to), Fate::Damaged, now, effects);
            }
            Content::Records(records) => {
                let mut at = from;
                for record in records {
                    if record.offset < at || record.offset >= to {
                        continue;
                    }
                    self.skip(index, at, record.offset, now, effects);
                    self.take_in(index, record, now, effects);
                    at = record.offset.next();
                }
                self.skip(index, at, to, now, effects);
            }
        }
    }

    /// Offsets without records count as done.
    fn skip(
        &mut self,
        index: PartitionIndex,
        from: Offset,
        to: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        self.finish_all(index, (from, to), Fate::Skipped, now, effects);
    }

    /// Finishes what is open in a part of the log. Says how many records that were.
    pub(super) fn finish_all(
        &mut self,
        index: PartitionIndex,
        (from, to): (Offset, Offset),
        fate: Fate,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u32 {
        words_between(from, to)
            .map(|word| self.finish(index, word, fate, now, effects))
            .sum()
    }

    /// A batch that cannot be decoded is dead.
    fn give_up(
        &mut self,
        index: PartitionIndex,
        from: Offset,
        to: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        for (chunk, first, last) in chunks_of(from, to) {
            let mut words = words_of(first, last).filter_map(|(word, mask)| {
                let known = self.partitions[index as usize].known(chunk, word);
                (mask & !known != 0).then_some((word, mask & !known))
            });
            let Some((word, mask)) = words.next() else {
                continue;
            };
            let mut run = Run::of_word(chunk, word, mask);
            words.for_each(|(word, mask)| run.put(word, mask));
            let part = Part {
                partition: index,
                priority: 0,
                run,
            };
            self.condemn(part, DeathReason::Undecodable, None, now, effects);
        }
    }
}

/// The words of `from..to`.
pub(super) fn words_between(from: Offset, to: Offset) -> impl Iterator<Item = Word> {
    chunks_of(from, to).flat_map(|(chunk, first, last)| {
        words_of(first, last).map(move |(word, mask)| (chunk, word, mask))
    })
}
