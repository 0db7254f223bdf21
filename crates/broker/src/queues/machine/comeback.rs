//! Records that were delivered and not done: again, later, or never.

use millstream_record::{Offset, TimestampMs};

use super::bury::Past;
use super::effect::{DeathReason, Effects};
use super::history::Span;
use super::partition::Partition;
use super::receive::words_of_part;
use super::run::{Part, Run};
use super::{Queue, later};
use crate::queues::ids::LeaseNumber;

/// Neighbours with the same past. Between the first and the last lie only finished ones.
pub(super) struct Kin {
    pub(super) part: Part,
    pub(super) first: Offset,
    pub(super) last: Offset,
    /// Deliveries, the one that just ended included.
    pub(super) attempts: u16,
    pub(super) first_delivered: TimestampMs,
}

impl Queue {
    /// A piece of a lease has ended without an answer for what it still holds. Its timer is no longer set. Says for how many
    /// records that was an attempt.
    pub(super) fn end_lease(
        &mut self,
        slot: u32,
        delay_ms: Option<u64>,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u32 {
        let Some(lease) = self.close_lease(slot, now, effects) else {
            return 0;
        };
        if !lease.handed {
            for part in &lease.parts {
                let place = (part.partition, part.priority);
                for word in words_of_part(part) {
                    self.take_back(place, word, now, effects);
                }
            }
            return 0;
        }
        // Retention and compaction may have ended some meanwhile.
        let open = |part: &Part| {
            let partition = &self.partitions[part.partition as usize];
            let words = words_of_part(part);
            let open = words.map(|(chunk, word, mask)| mask & !partition.done(chunk, word));
            open.map(u64::count_ones).sum::<u32>()
        };
        let left = lease.parts.iter().map(open).sum();
        for part in &lease.parts {
            self.come_back(part, (lease.number, lease.granted), delay_ms, now, effects);
        }
        left
    }

    /// Delivered records that are not done: they rest and are delivered again, or are dead if that was the last time.
    pub(super) fn come_back(
        &mut self,
        part: &Part,
        (lease, granted): (LeaseNumber, TimestampMs),
        delay_ms: Option<u64>,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let part = &self.without_overdue(part, now, effects);
        // Records of as many attempts rest together, so a lease that ends costs one timer.
        let mut resting: Vec<(u16, TimestampMs, Part)> = Vec::new();
        for kin in self.kin(part, granted) {
            if self.policy.retry.is_exhausted(kin.attempts) {
                // Remembered, so that after a crash it is not delivered once more.
                self.remember(&kin, lease, now, effects);
                let past = Past {
                    attempts: kin.attempts,
                    first_delivered: kin.first_delivered,
                    last_delivered: granted,
                };
                self.condemn(kin.part, DeathReason::Attempts, Some(past), now, effects);
                continue;
            }
            let together = resting
                .iter_mut()
                .find(|(attempts, ..)| *attempts == kin.attempts);
            let due = match &together {
                Some((_, due, _)) => *due,
                None => self.due_again(kin.attempts, delay_ms, now),
            };
            self.remember(&kin, lease, due, effects);
            match together {
                Some((_, _, part)) => part.run.merge(&kin.part.run),
                None => resting.push((kin.attempts, due, kin.part)),
            }
        }
        for (_, due, part) in resting {
            if due > now {
                self.put_to_rest(part, due);
                continue;
            }
            for word in words_of_part(&part) {
                self.make_ready(part.partition, word, part.priority, now, effects);
            }
        }
    }

    /// The open records of a part, in groups with the same past. The delivery that ends now began at `granted`.
    pub(super) fn kin(&self, part: &Part, granted: TimestampMs) -> Vec<Kin> {
        let partition = &self.partitions[part.partition as usize];
        let mut groups: Vec<Kin> = Vec::new();
        for offset in part.run.offsets() {
            let (chunk, word, mask) = super::flow::word_of(offset);
            if partition.done(chunk, word) & mask != 0 {
                continue;
            }
            let (attempts, first_delivered) = past_of(partition, offset, granted);
            if let Some(last) = groups.last_mut()
                && (last.attempts, last.first_delivered) == (attempts, first_delivered)
                && partition.is_finished(last.last.next(), offset)
            {
                last.last = offset;
                last.part.run.put(word, mask);
                continue;
            }
            groups.push(Kin {
                part: Part {
                    run: Run::of_word(chunk, word, mask),
                    ..*part
                },
                first: offset,
                last: offset,
                attempts,
                first_delivered,
            });
        }
        groups
    }

    /// Ends those of a part's records whose time to live is over, and says which are left.
    fn without_overdue(&mut self, part: &Part, now: TimestampMs, effects: &mut Effects) -> Part {
        let mut left = part.clone();
        for (chunk, word, mask) in words_of_part(part) {
            let partition = &self.partitions[part.partition as usize];
            let overdue = mask & partition.overdue(chunk, word) & !partition.done(chunk, word);
            if overdue != 0 {
                left.run.take_out(word, overdue);
                self.end_life(part.partition, (chunk, word, overdue), now, effects);
            }
        }
        left
    }

    fn due_again(&mut self, attempts: u16, delay_ms: Option<u64>, now: TimestampMs) -> TimestampMs {
        let delay_ms = delay_ms.unwrap_or_else(|| {
            let random = self.number(now);
            self.policy.retry.delay_ms(attempts, random)
        });
        later(now, delay_ms)
    }

    /// Writes the past of records down. They are due again at `due`.
    pub(super) fn remember(
        &mut self,
        kin: &Kin,
        lease: LeaseNumber,
        due: TimestampMs,
        effects: &mut Effects,
    ) {
        let span = Span {
            length: (kin.last - kin.first) as u32 + 1,
            attempts: kin.attempts,
            priority: kin.part.priority,
            lease,
            first_delivered: kin.first_delivered,
            due,
        };
        if let Some(partition) = self.touch(kin.part.partition) {
            let index = partition.index;
            partition
                .history
                .set(index, kin.first, span, &mut effects.writes);
        }
    }
}

/// How often a record was delivered, the delivery that began at `granted` included, and when first.
fn past_of(partition: &Partition, offset: Offset, granted: TimestampMs) -> (u16, TimestampMs) {
    match partition.history.at(offset) {
        None => (1, granted),
        Some(span) => (span.attempts.saturating_add(1), span.first_delivered),
    }
}
