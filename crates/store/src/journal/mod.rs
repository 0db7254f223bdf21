//! The journal: commits of all partitions in one order, written in groups.
//!
//! A *group* is what one write takes; it starts at a multiple of 4096 bytes and is padded with zeros to one. In it lie
//! *entries* back to back, a commit in each; `entry` draws them. An entry names its own position, so that what an
//! earlier use of a recycled file left behind is never taken for new, and the end of the entry before it, so that a gap
//! shows.
//!
//! `composer` makes groups of what is queued, `arena` is the memory they are encoded in and served from, `writer` writes
//! and publishes them, `scan` finds what a crash has left.

pub(crate) mod arena;
pub(crate) mod composer;
pub mod entry;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub(crate) mod queue;
pub(crate) mod salvage;
pub(crate) mod scan;
pub(crate) mod writer;
