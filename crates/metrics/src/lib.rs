//! What a server counts of itself: counters, gauges, histograms, and what any protocol counts of its clients.
//!
//! Everything here is kept by relaxed atomic additions: no lock, no allocation, nothing per record. Whoever wants the
//! figures reads them; this crate must never know how they are shown, nor what a topic or a protocol is. Figures that
//! are read while they change may be a moment apart from one another, but each is right.

#![forbid(unsafe_code)]

mod counter;
mod histogram;
mod protocol;

pub use counter::{Counter, Gauge, Held};
pub use histogram::{BUCKETS_MAX, Bounds, Histogram, Reading};
pub use protocol::{Operation, Protocol};
