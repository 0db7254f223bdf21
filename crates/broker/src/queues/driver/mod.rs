//! All queues of a broker: what surrounds the machines.
//!
//! A queue is a cell: its machine and the requests that wait, under one lock that is never held across an await or I/O.
//! Each event takes the lock, gives the machine the event, commits what the machine wants written, and hands deliveries
//! to whoever waits. One task for each queue looks after what takes longer: it tells the machine what was appended and
//! trimmed, reads the log for it, appends dead letters, and keeps its time. An idle queue's task sleeps.
//!
//! A machine cannot take back what it has said. So where something that can be refused goes into the same commit, the
//! machine is asked only once the commit is certain: see [`Cell::perform_jointly`](cell::Cell).
//!
//! Start with [`cell`]; [`receive`], [`subscription`], [`settle`] and [`admin`] are the requests, [`keeper`] what happens by
//! itself, [`scan`] and [`read`] look into the log, [`bury`] and [`redrive`] move dead letters there and back, [`room`] is
//! asked before anything is appended.

mod admin;
mod bury;
mod cell;
mod check;
mod create;
mod holders;
mod index;
mod keeper;
mod load;
mod read;
mod receive;
mod redrive;
mod room;
mod scan;
mod settle;
mod stats;
mod subscription;
mod unpacked;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use millstream_catalog::TopicId;
use parking_lot::RwLock;

pub use self::admin::{BrowsedMessage, QueueDescription};
pub use self::create::{NewQueue, StartAt};
pub use self::load::QueuesLoadError;
pub use self::read::Message;
pub use self::receive::{ReceiveSpec, Received};
pub use self::redrive::{Redrive, Redriven};
pub use self::stats::QueueStats;
pub use self::subscription::{QueueSubscription, Subscribe, SubscriptionLink};

pub(crate) use self::holders::QueueHolders;
pub(crate) use self::load::open;

use self::cell::Cell;
use self::index::Index;
use self::unpacked::Unpacked;
use super::definition::QueueDefinition;
use super::error::QueueError;
use super::ids::{QueueId, RequestToken};
use super::machine::IdsRoom;
use crate::broker::Broker;

/// The queues of a broker.
pub(crate) struct Queues {
    index: RwLock<Index>,
    last_id: AtomicU64,
    last_token: AtomicU64,
    /// The last life that a queue had: see [`super::Incarnation`].
    incarnation: tokio::sync::Mutex<u32>,
    /// Queues that may refuse what is published.
    refusing: AtomicUsize,
    /// Making, changing and deleting queues, and making routes, one at a time.
    pub(crate) changes: tokio::sync::Mutex<()>,
    redrives: tokio::sync::Mutex<()>,
    unpacked: Unpacked,
    /// Room for the ids that they remember.
    ids: Arc<IdsRoom>,
}

/// One queue. Cheap to clone. Once the queue is deleted, everything is refused.
#[derive(Clone)]
pub struct QueueHandle {
    broker: Broker,
    cell: Arc<Cell>,
}

impl QueueHandle {
    /// Its number.
    pub fn id(&self) -> QueueId {
        self.cell.id
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.cell.name
    }

    /// What it is.
    pub fn definition(&self) -> Arc<QueueDefinition> {
        self.cell.definition()
    }
}

impl std::fmt::Debug for QueueHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueueHandle({})", self.cell.name)
    }
}

impl Broker {
    /// The queue of that name.
    pub fn queue(&self, name: &str) -> Result<QueueHandle, QueueError> {
        let cell = self.inner.queues.index.read().named(name).cloned();
        let cell = cell.ok_or(QueueError::UnknownQueue)?;
        Ok(self.handle(cell))
    }

    /// All queues, in the order of their names.
    pub fn queues(&self) -> Vec<QueueHandle> {
        let all: Vec<_> = self.inner.queues.index.read().all().cloned().collect();
        all.into_iter().map(|cell| self.handle(cell)).collect()
    }

    /// The queues of a topic, in no order.
    pub fn queues_of(&self, topic: TopicId) -> Vec<QueueHandle> {
        let cells = self.inner.queues.index.read().of(topic).to_vec();
        cells.into_iter().map(|cell| self.handle(cell)).collect()
    }

    fn handle(&self, cell: Arc<Cell>) -> QueueHandle {
        QueueHandle {
            broker: self.clone(),
            cell,
        }
    }
}

impl Queues {
    /// A topic has more partitions: its queues have to look, and to sleep on all of them from now on.
    pub(crate) fn topic_changed(&self, topic: TopicId) {
        for cell in self.index.read().of(topic) {
            cell.work.notify_one();
        }
    }

    fn next_token(&self) -> RequestToken {
        RequestToken(self.last_token.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Answers whoever still waits.
    pub(crate) fn close(&self) {
        for cell in self.index.read().all() {
            cell.close();
        }
    }
}
