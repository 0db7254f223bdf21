//! Standing requests: records come for as long as there is credit.

use millstream_limits::QUEUE_UNTAKEN_DELIVERIES_MAX;
use millstream_record::TimestampMs;
use millstream_store::Stay;
use tokio::sync::mpsc;

use super::QueueHandle;
use super::cell::Waiting;
use super::receive::{Received, Undelivered};
use crate::queues::error::QueueError;
use crate::queues::ids::{ConsumerId, LeaseNumber, Receipt, RequestToken};
use crate::queues::machine::{Delivery, Patience, Receive, VISIBILITY_MS_TO_BE_LATE};
use crate::streams::Held;

/// A consumer that is to be sent records by and by.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe {
    /// Who asks.
    pub consumer: ConsumerId,
    /// The most records at a time.
    pub max: u32,
    /// How long the consumer has for each, in milliseconds.
    pub visibility_ms: u64,
    /// How many records may be sent before [`SubscriptionLink::add_credit`] allows more.
    pub credit: u32,
}

/// A standing request: records come as long as there is credit. What was sent and not taken goes back when it is dropped.
pub struct QueueSubscription {
    link: SubscriptionLink,
    consumer: ConsumerId,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    /// Deliveries that were taken without the queue being told.
    untold: u32,
}

/// The way from who hands on what a subscription brings back to the queue. Cheap to clone. It does not keep the subscription;
/// once that is gone, no credit is of use.
#[derive(Clone)]
pub struct SubscriptionLink {
    queue: QueueHandle,
    token: RequestToken,
    visibility_ms: u64,
}

impl QueueHandle {
    /// Subscribes a consumer.
    pub fn subscribe(&self, spec: Subscribe) -> Result<QueueSubscription, QueueError> {
        let token = self.broker.inner.queues.next_token();
        let (sender, deliveries) = mpsc::unbounded_channel();
        let patience = Patience::Standing {
            credit: spec.credit,
        };
        let receive = Receive {
            token,
            consumer: spec.consumer,
            max: spec.max,
            visibility_ms: spec.visibility_ms,
            patience,
        };
        self.park(receive, Waiting::Standing(sender))?;
        Ok(QueueSubscription {
            link: SubscriptionLink {
                queue: self.clone(),
                token,
                visibility_ms: spec.visibility_ms,
            },
            consumer: spec.consumer,
            deliveries,
            untold: 0,
        })
    }
}

impl QueueSubscription {
    /// The next records; none when the queue is gone, or has to be subscribed to again.
    ///
    /// All that come together are one lease. Whoever hands them on says so before the first, with [`SubscriptionLink::handed`];
    /// until then nobody has seen them, and their time may end without counting as an attempt.
    ///
    /// Dropping the future loses nothing: what it had begun to read goes back, and so does the credit for it.
    pub async fn next(&mut self) -> Option<Result<(Vec<Received>, Held), QueueError>> {
        loop {
            let delivery = self.deliveries.recv().await?;
            let guard = Undelivered::new(&self.link.queue, &delivery);
            self.untold += 1;
            if self.untold >= QUEUE_UNTAKEN_DELIVERIES_MAX / 2 {
                self.link.taken(std::mem::take(&mut self.untold));
            }
            if self.link.is_late(delivery.deadline) {
                continue;
            }
            let (received, held) = match self.link.queue.read_delivery(&delivery).await {
                Ok(read) => read,
                Err(error) => return Some(Err(error)),
            };
            guard.defuse();
            // Some may be gone, or more than are read at once.
            let missing = delivery.count().saturating_sub(received.len() as u32);
            if missing > 0 {
                self.link.allow(missing);
            }
            if !received.is_empty() {
                return Some(Ok((received, held)));
            }
        }
    }

    /// The way back to the queue.
    pub fn link(&self) -> &SubscriptionLink {
        &self.link
    }

    /// Who receives.
    pub fn consumer(&self) -> ConsumerId {
        self.consumer
    }
}

impl SubscriptionLink {
    /// Allows so many more records to be sent. Refused while the disk has no room to write down what is sent.
    pub fn add_credit(&self, more: u32) -> Result<(), QueueError> {
        self.queue.check_disk(Stay::Passing)?;
        self.allow(more);
        Ok(())
    }

    fn allow(&self, more: u32) {
        let token = self.token;
        self.queue
            .change(|machine, now, effects| machine.add_credit(token, more, now, effects));
    }

    fn taken(&self, deliveries: u32) {
        let token = self.token;
        self.queue
            .change(|machine, now, effects| machine.taken(token, deliveries, now, effects));
    }

    /// What came under a lease reaches the consumer from now on. Whether it may: once its time is over it belongs to others.
    pub fn handed(&self, lease: LeaseNumber) -> bool {
        self.queue.cell.state.lock().machine.handed(lease)
    }

    /// Records that the subscription brought reached nobody: they go back, the attempt does not count, and nor do they as
    /// credit.
    pub fn undelivered(&self, receipts: &[Receipt]) {
        self.queue.undelivered_to(self.token, receipts);
    }

    /// Whether records that are to be handed on have no time left.
    pub fn is_late(&self, deadline: TimestampMs) -> bool {
        self.visibility_ms >= VISIBILITY_MS_TO_BE_LATE && deadline <= self.queue.broker.now()
    }

    /// The queue.
    pub fn queue(&self) -> &QueueHandle {
        &self.queue
    }
}

impl Drop for QueueSubscription {
    fn drop(&mut self) {
        let queue = &self.link.queue;
        {
            let mut state = queue.cell.state.lock();
            let token = self.link.token;
            state.waiting.remove(&token);
            queue.change_in(&mut state, |machine, now, effects| {
                machine.cancel(token, now, effects);
            });
        }
        while let Ok(delivery) = self.deliveries.try_recv() {
            queue.give_back(&delivery);
        }
    }
}

impl std::fmt::Debug for QueueSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueueSubscription({})", self.link.queue.cell.name)
    }
}
