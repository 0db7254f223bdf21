//! What the listener counts, and the page that Prometheus reads.

mod counters;
mod page;

pub(crate) use counters::{Metrics, Operation};
pub(crate) use page::page;
