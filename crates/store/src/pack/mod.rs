//! Packs: immutable files of batches, sorted by partition and offset.
//!
//! A pack holds batches of one partition or of thousands, byte for byte as the journal had them, so that many quiet
//! partitions cost one file and one sync. `docs/storage-format.md` draws it; in short, all numbers big-endian:
//!
//! ```text
//! header     64 bytes       magic, version, pack number, when and under which manifest it was begun, CRC32C
//! batches                   back to back, by partition and offset
//! footer     directory      96 bytes a range: what it covers, where it lies, where its index entries are
//!            index          24 bytes an entry, one every index interval: base offset, position, latest time before it
//! zeros                     so that the file is a multiple of 4096 bytes
//! trailer    64 bytes       magic, version, pack number, where the footer is, its CRC32C, CRC32C
//! ```
//!
//! [`PackWriter`] makes packs, [`PackReader`] reads one, [`PackSet`] is what the rest of the store asks: it knows which
//! ranges make up a partition and reads across packs, keeping a bounded number of them open. A partition's ranges do
//! not overlap; where compaction or trims took everything, a range covers offsets without having batches.
//!
//! Reading checks every batch it returns. Header, footer and trailer are derived: where they are damaged, what they say is
//! made anew from the manifest and the batches. A pack is never changed: it is replaced by others through the
//! [`crate::manifest`], which is also what says that a pack counts at all.

mod cache;
mod footer;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod layout;
mod range;
mod reader;
mod rebuild;
mod scan;
mod search;
mod set;
#[cfg(test)]
mod tests;
mod writer;

use millstream_record::{BatchError, Offset, TimestampMs};
use thiserror::Error;

use crate::format::FormatError;
use crate::ids::{PackId, PartitionId};
pub use layout::{DirectoryEntry, PackHeader};
pub use range::PackRange;
pub(crate) use range::RANGE_BYTES;
pub use reader::PackReader;
pub(crate) use rebuild::rebuild;
pub use scan::RangeScan;
pub(crate) use search::{first_record_since, latest_record};
pub use set::{PackRead, PackSet, PlacedRange};
pub use writer::{PackOrigin, PackWriter};

/// What there is to know of a pack without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackInfo {
    /// Its number.
    pub id: PackId,
    /// The file's size.
    pub size_bytes: u64,
    /// When it was begun, by the server's clock.
    pub created: TimestampMs,
    /// What it holds, in order of partition and offset.
    pub ranges: Vec<PackRange>,
}

/// Why a pack could not be written or read.
#[derive(Debug, Error)]
pub enum PackError {
    /// The medium failed; `NotFound` when the pack is missing.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Header, footer or trailer are not as they were written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A batch is not as it was written.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch is not where it belongs.
    #[error("a batch of partition {partition} at offset {offset} lies in the wrong place")]
    Misplaced {
        /// Whose range it lies in.
        partition: PartitionId,
        /// Its base offset.
        offset: Offset,
    },
    /// What is wrong, and where it was found.
    #[error("{error}")]
    At {
        /// No batch that is whole lies between this offset and the damage.
        offset: Offset,
        /// What.
        error: Box<PackError>,
    },
}

impl PackError {
    /// Whether it is the pack that is at fault, for good, and not the medium at the moment.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
            Self::Format(_) | Self::Batch(_) | Self::Misplaced { .. } => true,
            Self::At { error, .. } => error.is_damage(),
        }
    }

    /// The same, found at that offset. What the medium refused is not of a place.
    fn at(self, offset: Offset) -> Self {
        match self {
            Self::Io(_) | Self::At { .. } => self,
            error => Self::At {
                offset,
                error: Box::new(error),
            },
        }
    }
}

/// The name of a pack on its medium.
pub fn blob_name(id: PackId) -> String {
    format!("{:020}.pack", id.0)
}

/// The pack whose name this is.
pub fn parse_blob_name(name: &str) -> Option<PackId> {
    let digits = name.strip_suffix(".pack")?;
    let id = PackId(digits.parse().ok()?);
    (blob_name(id) == name).then_some(id)
}
