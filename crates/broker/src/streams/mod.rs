//! The stream cursor: reading a partition in order from any offset, as often as one likes.
//!
//! [`fetch`] reads many partitions at once and waits for more, within the [`budget`] of memory that all readers share;
//! [`offsets`] finds places by time and epoch; [`trim`] moves a partition's start; [`damage`] is where to go on
//! behind what cannot be read. Nothing here keeps state between calls: a reader's place is the reader's own, or a
//! group's.

mod budget;
mod damage;
mod fetch;
mod gather;
mod offsets;
mod trim;

pub use budget::Held;
pub(crate) use budget::ReadBudget;
pub(crate) use damage::after_damage;
pub(crate) use fetch::Alarm;
pub use fetch::{FetchPart, FetchSpec};
pub use gather::{EpochEnd, Fetched, FetchedPart};
pub use offsets::{FoundOffset, OffsetQuery};
pub use trim::DeleteBefore;

use millstream_record::Offset;
use millstream_store::Offsets;

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All that are durable.
    #[default]
    ReadUncommitted,
    /// Those before the first undecided transaction.
    ReadCommitted,
}

impl Isolation {
    /// Where a reader has to stop.
    pub fn end(self, offsets: &Offsets) -> Offset {
        match self {
            Self::ReadUncommitted => offsets.high_watermark,
            Self::ReadCommitted => offsets.last_stable,
        }
    }
}
