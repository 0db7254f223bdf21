//! How records are sorted when they come in: ready, or waiting for their time or their key, or done already.

use millstream_limits::QUEUE_PRIORITIES;
use millstream_record::{Offset, TimestampMs};

use super::bits::ones;
use super::bury::Past;
use super::effect::{DeathReason, Effects};
use super::flow::{Fate, word_of};
use super::history::Span;
use super::keys::Entry;
use super::run::{Part, Run, offset_at};
use super::scan::{ScannedRecord, words_between};
use super::write::SeenId;
use super::{Queue, Timer, later};
use crate::queues::ids::PartitionIndex;

impl Queue {
    /// Records that the queue need not know: all are ready.
    pub(super) fn take_in_unseen(
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
                if !self.condemn_spent(index, offset, now, effects) {
                    self.make_ready(index, word_of(offset), 0, now, effects);
                }
            }
        }
    }

    pub(super) fn take_in(
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
            self.expiring += 1;
        }
        let is_spent = !is_known && self.spent(index, record.offset).is_some();
        if is_known || is_spent {
            // Delivered before the queue was loaded, or before its policy changed: it holds its key's place.
            let priority = self.priority(record);
            let key = record.key.filter(|_| self.policy.keys.is_some());
            if let (Some(key), Some(partition)) = (key, self.touch(index)) {
                partition.keys.adopt(record.offset, key, priority);
            }
        }
        if is_spent {
            self.condemn_spent(index, record.offset, now, effects);
        } else if !is_known {
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
        let Some(id) = record.id.filter(|_| self.policy.deduplicates()) else {
            return false;
        };
        let seen = SeenId {
            id,
            offset: record.offset,
            timestamp: record.timestamp,
        };
        let is_duplicate = self.dedup.is_duplicate(
            index,
            seen,
            self.policy.dedup_window_ms,
            &mut effects.writes,
        );
        if is_duplicate {
            self.finish(index, word_of(record.offset), Fate::Duplicate, now, effects);
        }
        is_duplicate
    }

    /// What is known of a record that had its last attempt before the queue was loaded.
    fn spent(&self, index: PartitionIndex, offset: Offset) -> Option<Span> {
        let span = self.partitions[index as usize].history.at(offset).copied();
        span.filter(|span| self.policy.retry.is_exhausted(span.attempts))
    }

    /// Condemns a record that had its last attempt before. Whether it had.
    fn condemn_spent(
        &mut self,
        index: PartitionIndex,
        offset: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> bool {
        let Some(span) = self.spent(index, offset) else {
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

    pub(super) fn remember_ids(
        &mut self,
        index: PartitionIndex,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        self.dedup.close_group(index, &mut effects.writes);
        self.totals.ids_forgotten += self.dedup.take_forgotten();
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
            None => later(record.timestamp, self.policy.delay_ms),
        }
    }

    fn expiry(&self, record: &ScannedRecord) -> Option<TimestampMs> {
        let own = record.expires_at.filter(|_| self.policy.record_ttl);
        let ttl_ms = self.policy.ttl_ms;
        let common = ttl_ms.map(|ttl_ms| later(record.timestamp, ttl_ms));
        own.into_iter().chain(common).min()
    }
}
