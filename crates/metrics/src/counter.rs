//! A number that only grows, and one that goes both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what has happened since the process started.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts what there is at present.
#[derive(Debug, Default, Clone)]
pub struct Gauge(Arc<AtomicU64>);

/// Something that a [`Gauge`] counts until it is dropped.
#[derive(Debug)]
#[must_use = "what is counted is counted until this is dropped"]
pub struct Held(Arc<AtomicU64>);

impl Gauge {
    /// Counts one more, for as long as what comes back is kept.
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(&self.0))
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let gauge = Gauge::default();
        let first = gauge.hold();
        let second = gauge.clone().hold();
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert_eq!(gauge.get(), 1);
        drop(second);
        assert_eq!(gauge.get(), 0);
    }
}
