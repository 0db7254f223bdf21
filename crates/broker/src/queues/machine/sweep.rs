//! Timers of records that end before their time: they are swept out together, once they are many.
//!
//! A record that ends does not look for its timers, of which there may be two: that would cost something for each. So they
//! stay in the wheel for a while. Of each kind there are at most as many as records that they could be of; the others have
//! nothing to do any more. When those are half of what the wheel holds, it is looked through, which costs each of them as
//! much as a few timers do.

use millstream_limits::QUEUE_SCHEDULED_MAX;

use super::partition::RecordState;
use super::receive::words_of_part;
use super::{Queue, Timer};

/// So many timers with nothing to do are not worth a look.
const IDLE_TIMERS_KEPT: usize = 4_096;

impl Queue {
    /// Looks through the wheel if there are many timers in it that have nothing to do.
    pub(super) fn sweep_if_worth_it(&mut self) {
        if self.scheduled + self.expiring <= IDLE_TIMERS_KEPT {
            return;
        }
        self.sum_up();
        let ready: u64 = self.sums.ready.iter().sum();
        let parked = self.sums.parked as usize;
        let met = parked + (ready + self.sums.leased) as usize;
        let idle = self.scheduled.saturating_sub(parked) + self.expiring.saturating_sub(met);
        // Where they keep the queue from looking at more, it does not wait for as many.
        let share = if self.scheduled >= QUEUE_SCHEDULED_MAX {
            16
        } else {
            2
        };
        if idle > IDLE_TIMERS_KEPT.max(self.wheel.capacity() / share) {
            self.sweep();
        }
    }

    /// Takes out the timers of records that have ended.
    pub(super) fn sweep(&mut self) {
        let (partitions, resting) = (&self.partitions, &self.resting);
        let (mut scheduled, mut expiring) = (0, 0);
        let mut rested = Vec::new();
        self.wheel.cancel_if(|timer| match *timer {
            Timer::Due {
                partition, offset, ..
            } => {
                let is_idle = partitions[partition as usize].state(offset) != RecordState::Parked;
                scheduled += usize::from(is_idle);
                is_idle
            }
            Timer::Expiry { partition, offset } => {
                let is_idle = partitions[partition as usize].state(offset) == RecordState::Finished;
                expiring += usize::from(is_idle);
                is_idle
            }
            Timer::Resting(slot) => {
                let is_idle = resting.get(slot).is_none_or(|part| {
                    let partition = &partitions[part.partition as usize];
                    words_of_part(part)
                        .all(|(chunk, word, mask)| partition.parked_word(chunk, word) & mask == 0)
                });
                if is_idle {
                    rested.push(slot);
                }
                is_idle
            }
            _ => false,
        });
        self.scheduled -= scheduled;
        self.expiring -= expiring;
        for slot in rested {
            self.resting.remove(slot);
        }
    }
}
