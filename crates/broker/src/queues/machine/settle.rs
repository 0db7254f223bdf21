//! What consumers say of what was delivered to them: done, not done, still at it, hopeless.

use millstream_record::TimestampMs;
use smallvec::SmallVec;

use super::bits::ones;
use super::effect::Effects;
use super::flow::{Fate, Word, word_of};
use super::leases::{Holding, Lease};
use super::receipts::{Claim, ReceiptError};
use super::receive::words_of_part;
use super::run::{Part, Run, gather, offset_at};
use super::write::{LeaseImage, Write};
use super::{Queue, later};
use crate::queues::ids::{LeaseNumber, PartitionIndex, Receipt};

/// When a record that is given back is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// At once.
    Now,
    /// After so many milliseconds.
    After(u64),
    /// When the queue's retry policy says.
    AsPolicySays,
}

/// One for each receipt, in order.
pub type Answers = Vec<Result<(), ReceiptError>>;

/// Records of one word.
#[derive(Default)]
struct Neighbours {
    words: Option<(PartitionIndex, Word)>,
}

/// Records of one lease that share a fate.
#[derive(Default)]
struct Group {
    of: Option<(u32, LeaseNumber, TimestampMs)>,
    parts: SmallVec<[Part; 1]>,
}

impl Queue {
    /// Records are done.
    ///
    /// Whoever was the last to hold a record may say so even after its lease has ended, as long as nobody else got it.
    pub fn ack(
        &mut self,
        receipts: &[Receipt],
        now: TimestampMs,
        answers: &mut Answers,
        effects: &mut Effects,
    ) {
        // Neighbours are finished together, a word at a time.
        let mut done = Neighbours::default();
        for receipt in receipts {
            let mut claim = self.claim(receipt, now, effects);
            if !matches!(claim, Ok(Claim::Held(_))) && done.words.is_some() {
                // What was said before in the same breath counts.
                self.finish_neighbours(&mut done, now, effects);
                claim = self.claim(receipt, now, effects);
            }
            answers.push(claim.map(|_| ()));
            if claim.is_ok() && !done.add(receipt) {
                self.finish_neighbours(&mut done, now, effects);
                done.add(receipt);
            }
        }
        self.finish_neighbours(&mut done, now, effects);
        self.conclude(now, effects);
    }

    /// All that is left of a lease is done. Says how many records that were; none if there is no such lease.
    pub fn ack_lease(
        &mut self,
        number: LeaseNumber,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u32 {
        let mut count = 0;
        for slot in self.leases.pieces(number) {
            let Some(lease) = self.drop_lease(slot, now, effects) else {
                continue;
            };
            for part in &lease {
                for word in words_of_part(part) {
                    count += self.finish(part.partition, word, Fate::Acknowledged, now, effects);
                }
            }
        }
        self.conclude(now, effects);
        count
    }

    /// Records are not done and go back.
    pub fn nack(
        &mut self,
        receipts: &[Receipt],
        retry: Retry,
        now: TimestampMs,
        answers: &mut Answers,
        effects: &mut Effects,
    ) {
        let delay_ms = match retry {
            Retry::Now => Some(0),
            Retry::After(delay_ms) => Some(delay_ms),
            Retry::AsPolicySays => None,
        };
        let mut group = Group::default();
        for receipt in receipts {
            let mut held = self.take_held(receipt);
            if held.is_err() {
                self.give_back(&mut group, delay_ms, now, effects);
                held = self.take_held(receipt);
            }
            answers.push(held.map(|_| ()));
            let Ok((slot, holding)) = held else { continue };
            if !group.takes(slot) {
                self.give_back(&mut group, delay_ms, now, effects);
            }
            group.add(slot, &holding, receipt);
            self.totals.nacked += 1;
        }
        self.give_back(&mut group, delay_ms, now, effects);
        self.conclude(now, effects);
    }

    /// Records never reached whom they were delivered to: they are ready again as if nothing had happened, and the attempt
    /// does not count.
    pub fn undelivered(&mut self, receipts: &[Receipt], now: TimestampMs, effects: &mut Effects) {
        let mut slots: SmallVec<[u32; 1]> = SmallVec::new();
        for receipt in receipts {
            let Ok((slot, holding)) = self.take_held(receipt) else {
                continue;
            };
            let (word, priority) = (word_of(receipt.offset), holding.priority);
            self.take_back((receipt.partition, priority), word, now, effects);
            if slots.last() != Some(&slot) {
                slots.push(slot);
            }
        }
        for slot in slots {
            match self.leases.get(slot) {
                Some(lease) if lease.left > 0 => {
                    // Nothing else says that the lease does not hold them any more.
                    effects.writes.push(Write::Lease(lease.image()));
                }
                _ => self.drop_if_empty(slot, now, effects),
            }
        }
        self.conclude(now, effects);
    }

    /// Records of one word reached nobody after all: they are ready, and were never delivered.
    pub(super) fn take_back(
        &mut self,
        (index, priority): (PartitionIndex, u8),
        (chunk, word, mask): Word,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let partition = &self.partitions[index as usize];
        let open = mask & !partition.done(chunk, word);
        let redelivered = if partition.history.is_empty() {
            0
        } else {
            let offsets = ones(open).map(|bit| offset_at(chunk, word as u32 * 64 + bit));
            offsets
                .filter(|offset| partition.history.at(*offset).is_some())
                .count()
        };
        let totals = &mut self.totals;
        totals.delivered = totals.delivered.saturating_sub(open.count_ones().into());
        totals.redelivered = totals.redelivered.saturating_sub(redelivered as u64);
        self.bucket.give_back(open.count_ones());
        self.make_ready(index, (chunk, word, open), priority, now, effects);
    }

    /// Records are hopeless: to the dead letters with them, however often they were tried.
    pub fn reject(
        &mut self,
        receipts: &[Receipt],
        now: TimestampMs,
        answers: &mut Answers,
        effects: &mut Effects,
    ) {
        for receipt in receipts {
            let claim = self.claim(receipt, now, effects);
            answers.push(claim.map(|_| ()));
            let Ok(claim) = claim else { continue };
            let (priority, held) = match claim {
                Claim::Held(holding) => (holding.priority, Some(holding)),
                Claim::Lapsed => (0, None),
            };
            let (chunk, word, mask) = word_of(receipt.offset);
            let part = Part {
                partition: receipt.partition,
                priority,
                run: Run::of_word(chunk, word, mask),
            };
            let delivery = held.map(|holding| (holding.number, holding.granted));
            self.condemn_rejected(&part, delivery, now, effects);
        }
        self.conclude(now, effects);
    }

    /// Work goes on: the leases end so much later from now. Of a lease that is extended in part, that part becomes a
    /// piece with a deadline of its own; receipts stay what they are.
    pub fn extend(
        &mut self,
        receipts: &[Receipt],
        visibility_ms: u64,
        now: TimestampMs,
        answers: &mut Answers,
        effects: &mut Effects,
    ) {
        let deadline = later(now, visibility_ms);
        let mut group = Group::default();
        for receipt in receipts {
            let mut held = self.take_held(receipt);
            if held.is_err() && group.holds(receipt) {
                self.hold_until(std::mem::take(&mut group), deadline, effects);
                held = self.take_held(receipt);
            }
            answers.push(held.map(|_| ()));
            let Ok((slot, holding)) = held else { continue };
            if !group.takes(slot) {
                self.hold_until(std::mem::take(&mut group), deadline, effects);
            }
            group.add(slot, &holding, receipt);
        }
        self.hold_until(group, deadline, effects);
        self.conclude(now, effects);
    }

    /// Takes a piece of a lease out before its time. What it still held is handed back.
    pub(super) fn drop_lease(
        &mut self,
        slot: u32,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> Option<SmallVec<[Part; 1]>> {
        self.wheel.cancel(self.leases.get(slot)?.timer);
        Some(self.close_lease(slot, now, effects)?.parts)
    }

    /// Takes a piece of a lease off the books, whose timer is no longer set.
    pub(super) fn close_lease(
        &mut self,
        slot: u32,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> Option<Lease> {
        let lease = self.leases.remove(slot)?;
        self.see_until(lease.consumer, now);
        effects.writes.push(Write::DropLease {
            number: lease.number,
            piece: lease.piece,
        });
        Some(lease)
    }

    fn finish_neighbours(
        &mut self,
        done: &mut Neighbours,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        if let Some((partition, word)) = done.words.take() {
            self.finish(partition, word, Fate::Acknowledged, now, effects);
        }
    }

    pub(super) fn drop_if_empty(&mut self, slot: u32, now: TimestampMs, effects: &mut Effects) {
        if self.leases.get(slot).is_some_and(|lease| lease.left == 0) {
            self.drop_lease(slot, now, effects);
        }
    }

    fn give_back(
        &mut self,
        group: &mut Group,
        delay_ms: Option<u64>,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let group = std::mem::take(group);
        let Some((slot, number, granted)) = group.of else {
            return;
        };
        for part in &group.parts {
            self.come_back(part, (number, granted), delay_ms, now, effects);
        }
        self.drop_if_empty(slot, now, effects);
    }

    fn hold_until(&mut self, group: Group, deadline: TimestampMs, effects: &mut Effects) {
        let Some((slot, number, granted)) = group.of else {
            return;
        };
        let Some(lease) = self.leases.get(slot) else {
            return;
        };
        let (consumer, mut piece) = (lease.consumer, lease.piece);
        if lease.left == 0 {
            // All of it: the piece itself goes on.
            if let Some(lease) = self.leases.remove(slot) {
                self.wheel.cancel(lease.timer);
            }
        } else {
            piece = self.leases.next_piece(number);
        }
        let image = LeaseImage {
            number,
            piece,
            consumer,
            granted,
            deadline,
            parts: group.parts,
        };
        self.hold(image.clone(), true);
        effects.writes.push(Write::Lease(image));
    }
}

impl Neighbours {
    /// Adds a record if it lies in the same word as the others. Whether it does.
    fn add(&mut self, receipt: &Receipt) -> bool {
        let (chunk, word, mask) = word_of(receipt.offset);
        let (partition, (of_chunk, of_word, masks)) = self
            .words
            .get_or_insert((receipt.partition, (chunk, word, 0)));
        let is_near = (*partition, *of_chunk, *of_word) == (receipt.partition, chunk, word);
        if is_near {
            *masks |= mask;
        }
        is_near
    }
}

impl Group {
    fn takes(&self, slot: u32) -> bool {
        self.of.is_none_or(|(of, ..)| of == slot)
    }

    fn holds(&self, receipt: &Receipt) -> bool {
        self.of
            .is_some_and(|(_, number, _)| number == receipt.lease)
            && self.parts.iter().any(|part| {
                part.partition == receipt.partition && part.run.contains(receipt.offset)
            })
    }

    fn add(&mut self, slot: u32, holding: &Holding, receipt: &Receipt) {
        self.of = Some((slot, holding.number, holding.granted));
        let place = (receipt.partition, holding.priority);
        gather(&mut self.parts, place, word_of(receipt.offset));
    }
}
