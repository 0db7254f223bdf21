//! Looking at a cluster and changing it: one file for each kind of thing.
//!
//! All of it are methods of [`Client`](crate::Client). A call that names one thing returns that thing's error.

pub mod configs;
pub mod groups;
pub mod log_dirs;
pub mod offsets;
pub mod records;
pub mod topics;
