//! What a slot's bytes live on: a journal and a place for blobs.
//!
//! Two small traits with nothing local in them, so that an object store can stand behind them as well as a disk: a
//! journal of numbered objects, packs as objects. `tests/media.rs` says what every medium has to pass.

mod blobs;
mod device;
mod journal;
mod local_blobs;
mod local_journal;
mod memory_blobs;
mod memory_journal;

pub use blobs::{Blob, BlobMedium, BlobWriter};
pub use journal::{Claim, JournalExtent, JournalMedium};
pub use local_blobs::LocalBlobs;
pub use local_journal::{LocalJournal, local_journal_file_size_is_valid};
pub use memory_blobs::MemoryBlobs;
pub use memory_journal::MemoryJournal;
