//! What the passing of time does.

use millstream_limits::QUEUE_TIMERS_PER_STEP;
use millstream_record::{Offset, TimestampMs};

use super::effect::Effects;
use super::flow::word_of;
use super::keys::Entry;
use super::partition::RecordState;
use super::receive::words_of_part;
use super::{Queue, Timer};
use crate::queues::ids::PartitionIndex;

/// How long after a look at the ids that could not forget all the next one follows, at least.
const IDS_REVIEW_MS: i64 = 1_000;

impl Queue {
    /// When [`Self::expire`] has to be called next; it may turn out to be too early.
    pub fn next_deadline(&self) -> Option<TimestampMs> {
        self.wheel.next_deadline()
    }

    /// Acts on deadlines that `now` has reached. Not on more than a bounded number at once: if
    /// [`Self::next_deadline`] is not later than `now` afterwards, there is more to do.
    pub fn expire(&mut self, now: TimestampMs, effects: &mut Effects) {
        for _ in 0..QUEUE_TIMERS_PER_STEP {
            let Some((_, timer)) = self.wheel.pop_due(now) else {
                break;
            };
            self.fire(timer, now, effects);
        }
        self.conclude(now, effects);
    }

    fn fire(&mut self, timer: Timer, now: TimestampMs, effects: &mut Effects) {
        self.once.retain(|once| once.timer != timer);
        match timer {
            Timer::Lease(slot) => {
                let left = self.end_lease(slot, None, now, effects);
                self.totals.timed_out += u64::from(left);
            }
            Timer::Resting(slot) => self.rested(slot, now, effects),
            Timer::Due {
                partition,
                priority,
                offset,
            } => self.fall_due((partition, offset), priority, now, effects),
            Timer::Expiry { partition, offset } => {
                self.expiring -= 1;
                self.outlive((partition, offset), now, effects);
            }
            Timer::Patience(token) => {
                if self.waiting.remove(token).is_some() {
                    effects.unanswered.push(token);
                }
            }
            Timer::Ids => self.forget_ids(now, effects),
            Timer::Length => self.shorten(now, effects),
            // Deliveries follow every event.
            Timer::Rate | Timer::Idle => {}
        }
    }

    fn rested(&mut self, slot: u32, now: TimestampMs, effects: &mut Effects) {
        let Some(part) = self.resting.remove(slot) else {
            return;
        };
        for (chunk, word, mask) in words_of_part(&part) {
            // Some may have been spoken for meanwhile, by a consumer that was late.
            let parked = mask & self.partitions[part.partition as usize].parked_word(chunk, word);
            let word = (chunk, word, parked);
            self.make_ready(part.partition, word, part.priority, now, effects);
        }
    }

    /// A record's own time has come; its key may hold it back still.
    fn fall_due(
        &mut self,
        (index, offset): (PartitionIndex, Offset),
        priority: u8,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        self.scheduled -= 1;
        if self.state(index, offset) != Some(RecordState::Parked) {
            return;
        }
        let keys = self.policy.keys;
        let entry = match (keys, self.touch(index)) {
            (Some(policy), Some(partition)) => partition.keys.come_in(offset, policy, now),
            _ => None,
        };
        match entry {
            None | Some(Entry::Ready) => {
                self.make_ready(index, word_of(offset), priority, now, effects);
            }
            Some(Entry::At(at)) => self.delay(index, offset, priority, at),
            Some(Entry::Waits) => {}
        }
    }

    /// A record's time to live is over.
    fn outlive(
        &mut self,
        (index, offset): (PartitionIndex, Offset),
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let (chunk, word, mask) = word_of(offset);
        match self.state(index, offset) {
            Some(RecordState::Ready(_)) => self.end_life(index, (chunk, word, mask), now, effects),
            Some(RecordState::Leased | RecordState::Parked) => {
                if let Some(partition) = self.touch(index) {
                    partition.mark_overdue(chunk, word, mask);
                }
            }
            None | Some(RecordState::Finished | RecordState::Waiting) => {}
        }
    }

    /// Forgets ids that no record to come can repeat within the window. A partition that is looked at late keeps them.
    pub(super) fn forget_ids(&mut self, now: TimestampMs, effects: &mut Effects) {
        if !self.policy.deduplicates() {
            return;
        }
        let progress = self.partitions.iter().map(|partition| {
            if partition.scan >= partition.end {
                now
            } else {
                partition.scanned_time.min(now)
            }
        });
        let horizon = progress.min().unwrap_or(now);
        let window_ms = self.policy.dedup_window_ms;
        self.dedup.forget(horizon, window_ms, &mut effects.writes);
        self.plan_to_forget_ids(now);
    }

    pub(super) fn plan_to_forget_ids(&mut self, now: TimestampMs) {
        if let Some(expiry) = self.dedup.next_expiry(self.policy.dedup_window_ms) {
            let review = expiry.max(now.saturating_add(IDS_REVIEW_MS));
            self.set_once(review, Timer::Ids);
        }
    }
}
