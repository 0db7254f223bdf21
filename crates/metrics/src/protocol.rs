//! What the server of any protocol counts of its clients.

use std::time::Duration;

use crate::{Counter, Gauge, Histogram};

/// One protocol's clients.
#[derive(Debug)]
pub struct Protocol {
    name: &'static str,
    /// Connections that are open.
    pub open: Gauge,
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Connections that were refused because there were too many.
    pub refused: Counter,
    /// Connections that the server ended because of what the peer did or failed to do: garbage, silence, not reading.
    pub dropped: Counter,
    /// Bytes of requests.
    pub received_bytes: Counter,
    /// Bytes of answers.
    pub sent_bytes: Counter,
    operations: Box<[Operation]>,
}

/// One kind of request.
#[derive(Debug)]
pub struct Operation {
    name: &'static str,
    took: Histogram,
}

impl Protocol {
    /// A protocol whose requests are of these kinds. Both names are shown as they are.
    pub fn new(name: &'static str, operations: impl IntoIterator<Item = &'static str>) -> Self {
        let operation = |name| Operation {
            name,
            took: Histogram::of_times(),
        };
        Self {
            name,
            open: Gauge::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            dropped: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            operations: operations.into_iter().map(operation).collect(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its kinds of requests, in the order in which they were named.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The kind of that place in the order.
    ///
    /// # Panics
    ///
    /// If fewer were named.
    pub fn operation(&self, at: usize) -> &Operation {
        &self.operations[at]
    }
}

impl Operation {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Counts a request that was answered.
    pub fn answered(&self, took: Duration) {
        self.took.time(took);
    }

    /// How long requests took.
    pub fn took(&self) -> &Histogram {
        &self.took
    }
}
