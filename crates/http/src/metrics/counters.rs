//! What the listener counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

/// What kind of request it is: few enough for a histogram each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Publish,
    Read,
    Receive,
    Settle,
    Live,
    Other,
}

impl Operation {
    pub(crate) const ALL: [Operation; 6] = [
        Operation::Publish,
        Operation::Read,
        Operation::Receive,
        Operation::Settle,
        Operation::Live,
        Operation::Other,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Publish => "publish",
            Operation::Read => "read",
            Operation::Receive => "receive",
            Operation::Settle => "settle",
            Operation::Live => "live",
            Operation::Other => "other",
        }
    }

    /// What a request is, told by its path alone.
    pub(crate) fn of(method: &Method, path: &str) -> Operation {
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_queue = path.starts_with("/v1/queues/");
        match last {
            "records" if method == Method::POST => Operation::Publish,
            "records" if method == Method::GET => Operation::Read,
            "receive" if is_queue => Operation::Receive,
            "ack" | "nack" | "reject" | "extend" | "ack-and-publish" if is_queue => {
                Operation::Settle
            }
            "live" | "events" | "ws" => Operation::Live,
            _ => Operation::Other,
        }
    }
}

/// The upper bounds of a histogram's buckets, in microseconds.
pub(crate) const BUCKETS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// How long things took.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Not cumulative; the last is for what is above all bounds.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts of the buckets, and the sum in microseconds.
    pub(crate) fn read(&self) -> ([u64; BUCKETS_US.len() + 1], u64) {
        let counts = std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed));
        (counts, self.sum_us.load(Ordering::Relaxed))
    }
}

/// Everything the listener counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) connections_opened: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) connections_failed: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) read: AtomicU64,
    pub(crate) latency: [Histogram; Operation::ALL.len()],
    /// By operation and the hundreds of the status.
    pub(crate) answers: [[AtomicU64; 6]; Operation::ALL.len()],
}

/// An open connection, counted until it is dropped.
pub(crate) struct OpenConnection(Arc<AtomicU64>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn connection_opened(&self) -> OpenConnection {
        self.connections_opened.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.connections))
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_failed(&self) {
        self.connections_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused_foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn body_read(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn records_published(&self, count: usize) {
        self.published.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn records_read(&self, count: usize) {
        self.read.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, operation: Operation, status: StatusCode, took: Duration) {
        self.latency[operation as usize].add(took);
        let hundreds = usize::from(status.as_u16() / 100).min(5);
        self.answers[operation as usize][hundreds].fetch_add(1, Ordering::Relaxed);
    }
}
