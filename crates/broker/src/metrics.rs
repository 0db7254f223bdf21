//! What the broker counts beside what the store, topics and queues count themselves.

use std::sync::Arc;
use std::time::Duration;

use millstream_env::Clock;
use millstream_metrics::{Histogram, Protocol, Reading};
use parking_lot::Mutex;

use crate::broker::Broker;

/// What the broker counts.
pub(crate) struct Metrics {
    clock: Arc<dyn Clock>,
    produce: Histogram,
    protocols: Mutex<Vec<Arc<Protocol>>>,
}

/// An append that is being timed; counted when it is acknowledged, and not at all otherwise.
pub(crate) struct Producing {
    metrics: Arc<Metrics>,
    began: Duration,
}

impl Metrics {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            produce: Histogram::of_times(),
            protocols: Mutex::default(),
        })
    }

    /// Begins to time an append.
    pub(crate) fn producing(self: &Arc<Self>) -> Producing {
        Producing {
            metrics: Arc::clone(self),
            began: self.clock.monotonic(),
        }
    }
}

impl Producing {
    /// The append is as durable as its topic promises.
    pub(crate) fn acknowledged(self) {
        let now = self.metrics.clock.monotonic();
        self.metrics.produce.time(now.saturating_sub(self.began));
    }
}

impl std::fmt::Debug for Producing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producing").finish_non_exhaustive()
    }
}

impl Broker {
    /// What the clients of a protocol are counted in, with its kinds of requests. All listeners of one protocol share it.
    pub fn protocol(
        &self,
        name: &'static str,
        operations: impl IntoIterator<Item = &'static str>,
    ) -> Arc<Protocol> {
        let mut protocols = self.inner.metrics.protocols.lock();
        if let Some(known) = protocols.iter().find(|known| known.name() == name) {
            return Arc::clone(known);
        }
        let protocol = Arc::new(Protocol::new(name, operations));
        protocols.push(Arc::clone(&protocol));
        protocol
    }

    /// Every protocol that is served, in the order in which they came.
    pub fn protocols(&self) -> Vec<Arc<Protocol>> {
        self.inner.metrics.protocols.lock().clone()
    }

    /// How long appends took until they were acknowledged.
    pub fn produce_times(&self) -> Reading {
        self.inner.metrics.produce.read()
    }
}
