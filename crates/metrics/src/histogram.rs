//! How large or how long things were, in fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bounds that a histogram can have.
pub const BUCKETS_MAX: usize = 16;

/// The upper bounds of a histogram's buckets, and what they are.
#[derive(Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Ascending, each belonging to its bucket; beyond the last there is one more bucket.
    pub values: [u64; BUCKETS_MAX],
    /// So many of what is counted make one of what is shown: a million for microseconds that are shown as seconds.
    pub per_unit: u64,
}

impl Bounds {
    /// For times, counted in microseconds and shown in seconds: from a fast device's write to a client's timeout.
    pub const TIMES: &'static Bounds = &Bounds {
        values: [
            50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
            500_000, 1_000_000, 2_500_000, 10_000_000,
        ],
        per_unit: 1_000_000,
    };

    /// For sizes in bytes: from a page of the disk to the largest commit and beyond.
    pub const SIZES: &'static Bounds = &Bounds {
        values: [
            1 << 12,
            1 << 13,
            1 << 14,
            1 << 15,
            1 << 16,
            1 << 17,
            1 << 18,
            1 << 19,
            1 << 20,
            1 << 21,
            1 << 22,
            1 << 23,
            1 << 24,
            1 << 25,
            1 << 26,
            1 << 27,
        ],
        per_unit: 1,
    };
}

/// Counts how large things were.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    buckets: [AtomicU64; BUCKETS_MAX + 1],
    sum: AtomicU64,
}

/// What a histogram holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Where its buckets end.
    pub bounds: &'static Bounds,
    /// How many lie in each bucket, those before it not counted in; the last lies beyond all bounds.
    pub buckets: [u64; BUCKETS_MAX + 1],
    /// All of them added up, in what is counted.
    pub sum: u64,
}

impl Histogram {
    /// A histogram of times.
    pub fn of_times() -> Self {
        Self::of(Bounds::TIMES)
    }

    /// A histogram of sizes.
    pub fn of_sizes() -> Self {
        Self::of(Bounds::SIZES)
    }

    fn of(bounds: &'static Bounds) -> Self {
        Self {
            bounds,
            buckets: Default::default(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub fn count(&self, value: u64) {
        let bucket = self.bounds.values.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time.
    pub fn time(&self, took: Duration) {
        self.count(took.as_micros() as u64);
    }

    /// What it holds.
    pub fn read(&self) -> Reading {
        Reading {
            bounds: self.bounds,
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl Reading {
    /// How many there are.
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend() {
        for bounds in [Bounds::TIMES, Bounds::SIZES] {
            assert!(bounds.values.is_sorted_by(|one, other| one < other));
        }
    }

    #[test]
    fn a_value_lies_in_the_first_bucket_that_reaches_it() {
        let histogram = Histogram::of_times();
        for us in [0, 50, 51, 100, 10_000_000, 10_000_001, u64::MAX >> 1] {
            histogram.count(us);
        }
        let reading = histogram.read();
        assert_eq!(reading.buckets[0], 2, "a bound belongs to its bucket");
        assert_eq!(reading.buckets[1], 2);
        assert_eq!(reading.buckets[BUCKETS_MAX - 1], 1);
        assert_eq!(reading.buckets[BUCKETS_MAX], 2);
        assert_eq!(reading.total(), 7);
    }

    #[test]
    fn times_are_counted_in_microseconds() {
        let histogram = Histogram::of_times();
        histogram.time(Duration::from_millis(3));
        histogram.time(Duration::from_nanos(1_999));
        assert_eq!(histogram.read().sum, 3_001);
    }
}
