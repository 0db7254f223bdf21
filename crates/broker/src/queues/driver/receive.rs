//! Receiving: a request is parked at the machine, and what is delivered to it is read from the log.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use millstream_limits::QUEUE_RECEIVE_BYTES_MAX;
use millstream_record::{Offset, TimestampMs};
use millstream_store::Stay;
use tokio::sync::oneshot;

use super::QueueHandle;
use super::cell::Waiting;
use super::read::{Found, Message, read, read_at_once};
use crate::error::BrokerError;
use crate::queues::error::QueueError;
use crate::queues::ids::{ConsumerId, PartitionIndex, Receipt, ReceiptText, RequestToken};
use crate::queues::machine::{Delivery, Effects, Part, Patience, Queue, Receive};
use crate::queues::policy::Access;
use crate::streams::Held;

/// What a consumer wants.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveSpec {
    /// Who asks.
    pub consumer: ConsumerId,
    /// The most records.
    pub max: u32,
    /// How long the consumer has for them, in milliseconds.
    pub visibility_ms: u64,
    /// How long to wait for a first one.
    pub wait: Duration,
}

/// A record that was delivered.
#[derive(Clone, Debug)]
pub struct Received {
    /// What to acknowledge it with.
    pub receipt: Receipt,
    /// The record.
    pub message: Message,
    /// How often it was delivered, this time included.
    pub attempts: u32,
    /// When it is delivered to somebody else unless it is settled or extended.
    pub deadline: TimestampMs,
}

/// A receive that waits. When it is dropped, it stands no longer, and what it was sent goes back.
struct Request<'a> {
    queue: &'a QueueHandle,
    token: RequestToken,
    answer: oneshot::Receiver<Delivery>,
}

impl QueueHandle {
    /// Receives records: those that are ready, or the first that become so within the wait; none if there are none.
    ///
    /// The memory that they take counts until the [`Held`] is dropped. Dropping the future gives back what was already
    /// delivered to it.
    pub async fn receive(&self, spec: ReceiveSpec) -> Result<(Vec<Received>, Held), QueueError> {
        let until = self
            .broker
            .now()
            .saturating_add(i64::try_from(spec.wait.as_millis()).unwrap_or(i64::MAX));
        loop {
            let mut request = self.request(spec, until)?;
            let Ok(delivery) = (&mut request.answer).await else {
                self.cell.state.lock().check_open()?;
                return Ok((Vec::new(), Held::default()));
            };
            let guard = Undelivered::new(self, &delivery);
            let (received, held) = self.read_delivery(&delivery).await?;
            guard.defuse();
            if !received.is_empty() {
                return Ok((received, held));
            }
            // Everything that was delivered has left the log meanwhile.
        }
    }

    /// Says that a consumer is gone: what it holds comes back at once.
    pub fn consumer_gone(&self, consumer: ConsumerId) {
        self.change(|machine, now, effects| machine.consumer_gone(consumer, now, effects));
    }

    /// A receipt of this queue as text.
    pub fn receipt_text(&self, receipt: Receipt) -> ReceiptText {
        ReceiptText {
            queue: self.id(),
            receipt,
        }
    }

    fn request(&self, spec: ReceiveSpec, until: TimestampMs) -> Result<Request<'_>, QueueError> {
        let token = self.broker.inner.queues.next_token();
        let (sender, answer) = oneshot::channel();
        let receive = Receive {
            token,
            consumer: spec.consumer,
            max: spec.max,
            visibility_ms: spec.visibility_ms,
            patience: Patience::Until(until),
        };
        self.park(receive, Waiting::Once(sender))?;
        Ok(Request {
            queue: self,
            token,
            answer,
        })
    }

    pub(super) fn park(&self, receive: Receive, waiting: Waiting) -> Result<(), QueueError> {
        self.check_disk(Stay::Passing)?;
        let mut state = self.cell.state.lock();
        state.check_open()?;
        let is_shared = state.machine.policy().access == Access::Shared;
        if !is_shared && receive.consumer == ConsumerId::UNNAMED {
            return Err(QueueError::ConsumerNeeded);
        }
        let mut effects = Effects::default();
        self.learn_ends(&mut state, &mut effects);
        state.waiting.insert(receive.token, waiting);
        let parked = state
            .machine
            .receive(receive, self.broker.now(), &mut effects);
        if parked.is_err() {
            state.waiting.remove(&receive.token);
        }
        self.perform(&mut state, &mut effects, self.cell.unsynced())?;
        Ok(parked?)
    }

    /// Reads what was delivered. Records that are gone, or cannot be decoded, are dealt with.
    pub(super) async fn read_delivery(
        &self,
        delivery: &Delivery,
    ) -> Result<(Vec<Received>, Held), QueueError> {
        let topic = self
            .broker
            .topic_by_id(self.cell.topic)
            .ok_or(BrokerError::UnknownTopic)?;
        let attempts: HashMap<(PartitionIndex, Offset), u16> = delivery
            .redelivered
            .iter()
            .map(|again| ((again.partition, again.offset), again.attempts))
            .collect();
        let mut received = Vec::with_capacity(delivery.count() as usize);
        let mut held = Held::default();
        let mut left_bytes = QUEUE_RECEIVE_BYTES_MAX;
        let mut unread = Vec::new();
        for (index, offsets) in neighbours(&delivery.parts) {
            let partition = topic
                .partition(index)
                .ok_or(BrokerError::UnknownPartition)?;
            let receipt = |offset| Receipt::new(delivery.lease, index, offset);
            if left_bytes == 0 {
                unread.extend(offsets.into_iter().map(receipt));
                continue;
            }
            // Who holds memory does not wait for more: two such would wait for each other.
            let records = if received.is_empty() {
                held = Held::default();
                read(&self.broker, &partition, &offsets, left_bytes).await?
            } else {
                read_at_once(&self.broker, &partition, &offsets, left_bytes).await?
            };
            self.skip_damaged(index, &records.damaged);
            let rest = &offsets[records.found.len()..];
            unread.extend(rest.iter().copied().map(receipt));
            left_bytes = if rest.is_empty() {
                left_bytes.saturating_sub(records.size_bytes)
            } else {
                0
            };
            held.merge(records.held);
            let (mut gone, mut damaged) = (Vec::new(), Vec::new());
            for (offset, found) in records.found {
                match found {
                    Found::Gone => gone.push(offset),
                    Found::Undecodable(_) => damaged.push(receipt(offset)),
                    Found::Record(record) => received.push(Received {
                        receipt: receipt(offset),
                        message: Message::new(&topic, index, record),
                        attempts: attempts.get(&(index, offset)).copied().unwrap_or(1).into(),
                        deadline: delivery.deadline,
                    }),
                }
            }
            self.set_aside(index, &gone, &damaged);
        }
        self.undelivered(&unread);
        Ok((received, held))
    }

    fn set_aside(&self, index: PartitionIndex, gone: &[Offset], damaged: &[Receipt]) {
        if !gone.is_empty() {
            self.change(|machine, now, effects| {
                machine.gone(index, gone, now, effects);
            });
        }
        if !damaged.is_empty() {
            self.change(|machine, now, effects| {
                machine.reject(damaged, now, &mut Vec::new(), effects);
            });
        }
    }

    fn skip_damaged(&self, index: PartitionIndex, damaged: &[Range<Offset>]) {
        for range in damaged {
            self.change(|machine, now, effects| {
                machine.damaged(index, range.start, range.end, now, effects);
            });
        }
    }

    /// Nobody got these records of a delivery: they go back, and the attempt does not count. All at once: each time the lease
    /// is written down anew.
    fn undelivered(&self, receipts: &[Receipt]) {
        if !receipts.is_empty() {
            self.change(|machine, now, effects| machine.undelivered(receipts, now, effects));
        }
    }

    /// The same of records that were sent for a request, which may get others instead if it stands.
    pub(super) fn undelivered_to(&self, token: RequestToken, receipts: &[Receipt]) {
        self.change(|machine, now, effects| {
            machine.undelivered(receipts, now, effects);
            machine.add_credit(token, receipts.len() as u32, now, effects);
        });
    }

    /// Nobody got any of a delivery.
    pub(super) fn give_back(&self, delivery: &Delivery) {
        let receipts = delivery.parts.iter().flat_map(|part| {
            let offsets = part.run.offsets();
            offsets.map(|offset| Receipt::new(delivery.lease, part.partition, offset))
        });
        let receipts: Vec<_> = receipts.collect();
        self.undelivered_to(delivery.token, &receipts);
    }
}

/// What is read together: parts of one partition that follow each other, as batches may reach over several.
fn neighbours(parts: &[Part]) -> Vec<(PartitionIndex, Vec<Offset>)> {
    let mut together: Vec<(PartitionIndex, Vec<Offset>)> = Vec::new();
    for part in parts {
        let offsets = part.run.offsets();
        match together.last_mut() {
            Some((index, before))
                if *index == part.partition
                    && before.last() < part.run.offsets().next().as_ref() =>
            {
                before.extend(offsets);
            }
            _ => together.push((part.partition, offsets.collect())),
        }
    }
    together
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.cell.state.lock();
        let token = self.token;
        if state.waiting.remove(&token).is_some() {
            let change = |machine: &mut Queue, now, effects: &mut Effects| {
                machine.cancel(token, now, effects);
            };
            self.queue.change_in(&mut state, change);
            return;
        }
        drop(state);
        if let Ok(delivery) = self.answer.try_recv() {
            self.queue.give_back(&delivery);
        }
    }
}

/// A delivery that nobody has got yet.
pub(super) struct Undelivered<'a> {
    queue: &'a QueueHandle,
    delivery: Option<&'a Delivery>,
}

impl<'a> Undelivered<'a> {
    pub(super) fn new(queue: &'a QueueHandle, delivery: &'a Delivery) -> Self {
        Self {
            queue,
            delivery: Some(delivery),
        }
    }

    pub(super) fn defuse(mut self) {
        self.delivery = None;
    }
}

impl Drop for Undelivered<'_> {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery {
            self.queue.give_back(delivery);
        }
    }
}

/// Names a consumer by text, the same for the same text.
impl From<&str> for ConsumerId {
    fn from(name: &str) -> Self {
        use std::hash::Hasher;
        let mut hasher = siphasher::sip::SipHasher13::new();
        hasher.write(name.as_bytes());
        Self::of_name(hasher.finish())
    }
}
