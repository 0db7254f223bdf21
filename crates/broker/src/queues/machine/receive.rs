//! Receiving: records go to who waits, in turn.

use millstream_limits::QUEUE_LOOK_WAIT_MS;
use millstream_record::TimestampMs;
use smallvec::SmallVec;

use super::effect::{Delivery, Effects, Redelivered};
use super::flow::Word;
use super::run::Part;
use super::waiting::{Patience, Receive, Waiter};
use super::write::{LeaseImage, Write};
use super::{Queue, Timer, later};
use crate::queues::ids::{ConsumerId, LeaseNumber, RequestToken};
use crate::queues::policy::Access;

/// Whoever has at least so long is not delivered what comes too late to be of use: see [`Queue::handed`]. Those who have
/// hardly any time would else get nothing at all.
pub(crate) const VISIBILITY_MS_TO_BE_LATE: u64 = 1_000;

/// Why a receive is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveRefused {
    /// Another consumer has the queue for itself.
    #[error("the queue is exclusive and another consumer has it; try again when that one is gone")]
    Exclusive,
    /// Too many requests wait already.
    #[error("too many requests wait at this queue; try again later, or with less patience")]
    TooManyWaiting,
}

impl Queue {
    /// A consumer wants records. It is answered by a [`Delivery`], or when its patience ends by being listed in
    /// [`Effects::unanswered`].
    pub fn receive(
        &mut self,
        mut request: Receive,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> Result<(), ReceiveRefused> {
        self.see(request.consumer, now);
        if self.policy.access == Access::Exclusive && !self.may_receive(request.consumer) {
            return Err(ReceiveRefused::Exclusive);
        }
        if self.waiting.total() >= millstream_limits::QUEUE_WAITING_REQUESTS_MAX {
            return Err(ReceiveRefused::TooManyWaiting);
        }
        request.max = request
            .max
            .clamp(1, millstream_limits::QUEUE_RECEIVE_RECORDS_MAX);
        self.waiting.push(Waiter {
            request,
            timer: None,
            untaken: 0,
            is_hurried: false,
        });
        self.conclude(now, effects);
        self.wait_or_give_up(request, now, effects);
        Ok(())
    }

    /// More records may be delivered to a standing request.
    pub fn add_credit(
        &mut self,
        token: RequestToken,
        more: u32,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        self.waiting.add_credit(token, more);
        self.conclude(now, effects);
    }

    /// So many deliveries to a standing request were taken: others may follow. A few are made ahead, but not more, since the
    /// time of a lease runs from when it is granted.
    pub fn taken(
        &mut self,
        token: RequestToken,
        deliveries: u32,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        self.waiting.taken(token, deliveries);
        self.conclude(now, effects);
    }

    /// What was delivered to a standing request goes on to the consumer now. Whether it may: its time may be over.
    ///
    /// Until then nobody has seen it, so that it counts as no attempt should its time end.
    pub fn handed(&mut self, lease: LeaseNumber) -> bool {
        self.leases.hand(lease)
    }

    /// A request no longer stands. It will not be answered; whether it was waiting. Another consumer may have its turn.
    pub fn cancel(&mut self, token: RequestToken, now: TimestampMs, effects: &mut Effects) -> bool {
        let waited = self.withdraw(token);
        self.conclude(now, effects);
        waited
    }

    pub(super) fn withdraw(&mut self, token: RequestToken) -> bool {
        let Some(waiter) = self.waiting.remove(token) else {
            return false;
        };
        if let Some(timer) = waiter.timer {
            self.wheel.cancel(timer);
        }
        true
    }

    /// A consumer is gone: its requests no longer stand, what it held comes back at once, and another may be active.
    pub fn consumer_gone(&mut self, consumer: ConsumerId, now: TimestampMs, effects: &mut Effects) {
        for token in self.waiting.tokens_of(consumer) {
            self.withdraw(token);
        }
        for slot in self.leases.of(consumer) {
            if let Some(lease) = self.leases.get(slot) {
                self.wheel.cancel(lease.timer);
            }
            self.end_lease(slot, Some(0), now, effects);
        }
        self.retire(consumer);
        self.conclude(now, effects);
    }

    /// What is left of a request that was not served at once.
    fn wait_or_give_up(&mut self, request: Receive, now: TimestampMs, effects: &mut Effects) {
        let Patience::Until(until) = request.patience else {
            return;
        };
        let Some(mut waiter) = self.waiting.remove(request.token) else {
            return;
        };
        waiter.is_hurried = until <= now;
        if waiter.is_hurried && !self.may_be_served_soon(request.consumer) {
            effects.unanswered.push(request.token);
            return;
        }
        let until = if waiter.is_hurried {
            later(now, QUEUE_LOOK_WAIT_MS)
        } else {
            until
        };
        waiter.timer = Some(self.wheel.insert(until, Timer::Patience(request.token)));
        self.waiting.push(waiter);
    }

    /// Whether a look is under way that may find something for a consumer. What was published before a receive is then
    /// received, although the queue hears of it a moment later.
    fn may_be_served_soon(&self, consumer: ConsumerId) -> bool {
        self.looks_for_more() && self.may_receive(consumer)
    }

    fn looks_for_more(&self) -> bool {
        let has_ready = self.sums.ready.iter().any(|ready| *ready > 0);
        !self.paused && !has_ready && self.partitions.iter().any(|partition| partition.scanning)
    }

    /// Those who waited for looks only wait no longer once there are none.
    pub(super) fn give_up_hurried(&mut self, effects: &mut Effects) {
        if !self.waiting.has_hurried() || self.looks_for_more() {
            return;
        }
        for token in self.waiting.hurried() {
            self.withdraw(token);
            effects.unanswered.push(token);
        }
    }

    /// Serves who waits for as long as there is something that may be delivered.
    pub(super) fn deliver(&mut self, now: TimestampMs, effects: &mut Effects) {
        self.sum_up();
        if self.paused || self.waiting.len() == 0 {
            return;
        }
        self.elect(now);
        loop {
            let room = self.room(now);
            if room == 0 {
                return;
            }
            let active = self.policy.access != Access::Shared;
            let only = active.then(|| self.active_consumer());
            let may = |consumer| only.is_none_or(|only| only == Some(consumer));
            let in_line = if active { 1 } else { self.waiting.len() };
            let Some(waiter) = self.waiting.pop(may) else {
                return;
            };
            // When there is not enough for all, those behind get their share too.
            let share = room.div_ceil(in_line as u64);
            self.serve(&waiter, share, now, effects);
        }
    }

    /// How many records may be delivered now.
    fn room(&mut self, now: TimestampMs) -> u64 {
        let mut room: u64 = self.sums.ready.iter().sum();
        if room == 0 || self.waiting.len() == 0 {
            return 0;
        }
        if let Some(most) = self.policy.in_flight_max {
            let in_flight = self.sums.leased.saturating_sub(self.sums.dying);
            room = room.min(most.saturating_sub(in_flight));
        }
        if let Some(rate) = self.policy.rate {
            let allowance = self.bucket.allowance(rate, now);
            if allowance == 0 {
                let next = self.bucket.next_token(rate, now);
                self.set_once(next, Timer::Rate);
            }
            room = room.min(allowance.into());
        }
        room
    }

    fn serve(&mut self, waiter: &Waiter, share: u64, now: TimestampMs, effects: &mut Effects) {
        let request = waiter.request;
        let wanted = match request.patience {
            Patience::Until(_) => request.max,
            Patience::Standing { credit } => request.max.min(credit),
        };
        let count = share.min(wanted.into()) as u32;
        let parts = self.take(count);
        let granted: u32 = parts.iter().map(|part| part.run.count()).sum();
        self.grant(request, parts, now, effects);
        if self.policy.rate.is_some() {
            self.bucket.spend(granted);
        }
        if let Patience::Standing { credit } = request.patience {
            let credit = credit - granted;
            let patience = Patience::Standing { credit };
            let request = Receive {
                patience,
                ..request
            };
            self.waiting.push(Waiter {
                request,
                timer: waiter.timer,
                untaken: waiter.untaken + 1,
                is_hurried: false,
            });
        } else if let Some(timer) = waiter.timer {
            self.wheel.cancel(timer);
        }
    }

    /// Takes the next records: the highest priority first, and among equals from one partition after the other.
    fn take(&mut self, count: u32) -> SmallVec<[Part; 1]> {
        let mut parts = SmallVec::new();
        let mut left = count;
        let first = self.rotor;
        self.rotor = (self.rotor + 1) % self.partitions.len().max(1);
        for priority in (0..self.sums.ready.len()).rev() {
            if self.sums.ready[priority] == 0 {
                continue;
            }
            for step in 0..self.partitions.len() {
                let index = (first + step) % self.partitions.len();
                if left == 0 || self.sums.ready[priority] == 0 {
                    break;
                }
                let before = self.partitions[index].ready[priority];
                if before == 0 {
                    continue;
                }
                let Some(partition) = self.touch(index as u32) else {
                    continue;
                };
                partition.take_ready(priority as u8, left, &mut parts);
                let taken = before - partition.ready[priority];
                left -= taken;
                // The sums follow at once: the next in line is served by them.
                partition.summed.ready[priority] -= u64::from(taken);
                partition.summed.leased += u64::from(taken);
                partition.summed.ahead -= taken as usize;
                self.sums.ready[priority] -= u64::from(taken);
                self.sums.leased += u64::from(taken);
                self.sums.ahead -= taken as usize;
            }
        }
        parts
    }

    /// Makes the lease.
    fn grant(
        &mut self,
        request: Receive,
        parts: SmallVec<[Part; 1]>,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let number = self.last_lease.next();
        self.last_lease = number;
        let deadline = later(now, request.visibility_ms);
        let image = LeaseImage {
            number,
            piece: 0,
            consumer: request.consumer,
            granted: now,
            deadline,
            parts: parts.clone(),
        };
        let waits_to_be_handed = matches!(request.patience, Patience::Standing { .. })
            && request.visibility_ms >= VISIBILITY_MS_TO_BE_LATE;
        self.hold(image.clone(), !waits_to_be_handed);
        effects.writes.push(Write::Lease(image));
        let delivery = Delivery {
            token: request.token,
            consumer: request.consumer,
            lease: number,
            deadline,
            redelivered: self.redelivered(&parts),
            parts,
        };
        self.totals.delivered += u64::from(delivery.count());
        self.totals.redelivered += delivery.redelivered.len() as u64;
        effects.deliveries.push(delivery);
    }

    /// Keeps a lease, or a piece of one, until its deadline.
    pub(super) fn hold(&mut self, image: LeaseImage, handed: bool) {
        let timer = Timer::Lease(self.leases.next_slot());
        let timer = self.wheel.insert(image.deadline, timer);
        self.leases.insert(image, timer, handed);
    }

    fn redelivered(&self, parts: &[Part]) -> Vec<Redelivered> {
        let mut redelivered = Vec::new();
        for part in parts {
            let partition = &self.partitions[part.partition as usize];
            if partition.history.is_empty() {
                continue;
            }
            redelivered.extend(part.run.offsets().filter_map(|offset| {
                let span = partition.history.at(offset)?;
                Some(Redelivered {
                    partition: part.partition,
                    offset,
                    attempts: span.attempts.saturating_add(1),
                })
            }));
        }
        redelivered
    }
}

/// The words of a part, with its chunk.
pub(super) fn words_of_part(part: &Part) -> impl Iterator<Item = Word> + '_ {
    let chunk = part.run.chunk();
    part.run
        .words()
        .map(move |(word, mask)| (chunk, word, mask))
}
