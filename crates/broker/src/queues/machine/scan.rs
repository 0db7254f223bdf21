//! How records come in: the queue is told what lies in the log, and sorts it.

use millstream_limits::QUEUE_PRIORITIES;
use millstream_record::{Offset, TimestampMs};

use super::bits::{ones, words_of};
use super::bury::Past;
use super::effect::{DeathReason, Effects, ScanRequest};
use super::flow::{Fate, Word, word_of};
use super::keys::Entry;
use super::run::{Part, Run, chunks_of, offset_at};
use super::write::SeenId;
use super::{Queue, Timer};
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
    /// A record at every offset, none of them looked at. For requests that do not ask for decoding, and only if the
    /// batch has as many records as offsets; one that was compacted has to be decoded all the same.
    Whole,
    /// These records, in order.
    Records(&'a [ScannedRecord]),
    /// Nothing for consumers: a control batch, an aborted transaction.
    Nothing,
    /// It cannot be decoded. It goes to the dead letters whole.
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
    /// may begin earlier. An answer that has been overtaken by events is ignored, and asked for again.
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
                let (first, end) = (batch.first.max(at), batch.last.next().min(to));
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
            Content::Whole => self.take_in_unseen(index, from, to, now, effects),
            Content::Nothing => self.skip(index, from, to, now, effects),
            Content::Damaged => self.give_up(index, from, to, now, effects),
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
        for word in words_between(from, to) {
            self.finish(index, word, Fate::Skipped, now, effects);
        }
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

    /// Records that the queue need not know: all are ready.
    fn take_in_unseen(
        &mut self,
        index: PartitionIndex,
        from: Offset,
        to: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        for (chunk, word, mask) in words_between(from, to) {
            let Some(partition) = self.touch(index) else {
                return;
            };
            let fresh = mask & !partition.known(chunk, word);
            if partition.history.is_empty() {
                if fresh != 0 {
                    partition.make_ready(chunk, word, fresh, 0);
                }
                continue;
            }
            for bit in ones(fresh) {
                let offset = offset_at(chunk, word as u32 * 64 + bit);
                if !self.is_exhausted(index, offset, now, effects) {
                    self.make_ready(index, word_of(offset), 0, now, effects);
                }
            }
        }
    }

    fn take_in(
        &mut self,
        index: PartitionIndex,
        record: &ScannedRecord,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let word = word_of(record.offset);
        let Some(partition) = self.touch(index) else {
            return;
        };
        partition.scanned_time = partition.scanned_time.max(record.timestamp);
        if partition.done(word.0, word.1) & word.2 != 0 {
            return;
        }
        let is_known = partition.known(word.0, word.1) & word.2 != 0;
        if !is_known && self.is_unwanted(index, record, now, effects) {
            return;
        }
        if let Some(expiry) = self.expiry(record) {
            if expiry <= now && !is_known {
                return self.end_life(index, word, now, effects);
            }
            let timer = Timer::Expiry {
                partition: index,
                offset: record.offset,
            };
            self.wheel.insert(expiry, timer);
        }
        if is_known {
            // Delivered before the queue was loaded, or before its policy changed.
            let priority = self.priority(record);
            let key = record.key.filter(|_| self.policy.keys.is_some());
            if let (Some(key), Some(partition)) = (key, self.touch(index)) {
                partition.keys.adopt(record.offset, key, priority);
            }
        } else if !self.is_exhausted(index, record.offset, now, effects) {
            self.line_up(index, record, now, effects);
        }
    }

    /// A record that nothing speaks against: it is ready, or waits for its time or its key.
    fn line_up(
        &mut self,
        index: PartitionIndex,
        record: &ScannedRecord,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let (offset, priority) = (record.offset, self.priority(record));
        let key = self
            .policy
            .keys
            .and_then(|policy| Some((policy, record.key?)));
        let due = self.due(index, record);
        let Some(partition) = self.touch(index) else {
            return;
        };
        if due > now {
            if let Some((_, key)) = key {
                partition.keys.stay_outside(offset, key, priority);
            }
            return self.delay(index, offset, priority, due);
        }
        let entry =
            key.map(|(policy, key)| partition.keys.enter(offset, key, priority, policy, now));
        match entry {
            None | Some(Entry::Ready) => {
                self.make_ready(index, word_of(offset), priority, now, effects);
            }
            Some(Entry::At(at)) => self.delay(index, offset, priority, at),
            Some(Entry::Waits) => {
                let (chunk, word, mask) = word_of(offset);
                partition.park(chunk, word, mask);
            }
        }
    }

    /// Whether a record is filtered out or repeats another; if so it is finished.
    fn is_unwanted(
        &mut self,
        index: PartitionIndex,
        record: &ScannedRecord,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> bool {
        if self.policy.filtered && !record.wanted {
            self.finish(index, word_of(record.offset), Fate::Filtered, now, effects);
            return true;
        }
        let (Some(window_ms), Some(id)) = (self.policy.dedup_window_ms, record.id) else {
            return false;
        };
        let seen = SeenId {
            id,
            offset: record.offset,
            timestamp: record.timestamp,
        };
        let is_duplicate = self.dedup.is_duplicate(index, seen, window_ms);
        if is_duplicate {
            self.finish(index, word_of(record.offset), Fate::Duplicate, now, effects);
        }
        is_duplicate
    }

    /// Whether a record had its last attempt before the queue was loaded; if so it is on its way.
    fn is_exhausted(
        &mut self,
        index: PartitionIndex,
        offset: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> bool {
        let span = self.partitions[index as usize].history.at(offset).copied();
        let Some(span) = span.filter(|span| self.policy.retry.is_exhausted(span.attempts)) else {
            return false;
        };
        let (chunk, word, mask) = word_of(offset);
        let part = Part {
            partition: index,
            priority: span.priority,
            run: Run::of_word(chunk, word, mask),
        };
        let past = Past {
            attempts: span.attempts,
            first_delivered: span.first_delivered,
            last_delivered: span.first_delivered,
        };
        self.condemn(part, DeathReason::Attempts, Some(past), now, effects);
        true
    }

    fn remember_ids(&mut self, index: PartitionIndex, now: TimestampMs, effects: &mut Effects) {
        self.totals.ids_forgotten += self.dedup.close_group(index, &mut effects.writes);
        self.plan_to_forget_ids(now);
        if let Some(partition) = self.touch(index) {
            partition.keys.forget_idle(now);
        }
    }

    fn priority(&self, record: &ScannedRecord) -> u8 {
        if self.policy.priorities {
            record.priority.min(QUEUE_PRIORITIES as u8 - 1)
        } else {
            0
        }
    }

    /// When a record is to be delivered first. One that was delivered before has waited long enough.
    fn due(&self, index: PartitionIndex, record: &ScannedRecord) -> TimestampMs {
        let was_delivered = self.partitions[index as usize]
            .history
            .at(record.offset)
            .is_some();
        let own = record.deliver_at.filter(|_| self.policy.delays);
        match own {
            _ if was_delivered => TimestampMs(i64::MIN),
            Some(at) => at,
            None if self.policy.delay_ms == 0 => TimestampMs(i64::MIN),
            None => record.timestamp.saturating_add(self.policy.delay_ms as i64),
        }
    }

    fn expiry(&self, record: &ScannedRecord) -> Option<TimestampMs> {
        let own = record.expires_at.filter(|_| self.policy.record_ttl);
        let ttl_ms = self.policy.ttl_ms;
        let common = ttl_ms.map(|ttl_ms| record.timestamp.saturating_add(ttl_ms as i64));
        own.into_iter().chain(common).min()
    }
}

/// The words of `from..to`.
fn words_between(from: Offset, to: Offset) -> impl Iterator<Item = Word> {
    chunks_of(from, to).flat_map(|(chunk, first, last)| {
        words_of(first, last).map(move |(word, mask)| (chunk, word, mask))
    })
}
