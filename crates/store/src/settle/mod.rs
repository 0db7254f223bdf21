//! From memory into packs, and from packs into better packs.
//!
//! - [`SettleJob`] writes a sealed range of tails into packs, so that the journal can be trimmed.
//! - [`Housekeeper`] keeps what is there in shape: it forgets what retention, trims and drops have released, merges small
//!   packs, compacts, and rewrites packs that are mostly dead.
//! - [`expired`] says how far retention moves each partition's log start.
//!
//! Nothing here has a thread, a clock or a lock: whoever drives it passes the time and how many bytes one step may move,
//! and pauses between steps as it likes. What to do is decided by pure functions of the manifest and of what the slot
//! says about its partitions ([`SlotView`]); see `plan.rs`.
//!
//! Data goes only where something durable says so: the log start, in the state table or the journal, or a recorded
//! tombstone of the partition. A partition that is merely unknown keeps all it has. Log starts that a view reports have
//! to be durable already, and [`expired`] only proposes: the slot commits a trim and reports it back through the view.
//!
//! A crash in the middle of a job leaves packs that no manifest lists, which the next open deletes.
//!
//! ```text
//! sealed tails ── SettleJob ──► packs ──┐
//!                                       ▼            one Manifests::commit each
//!   Housekeeper: forget ─► reclaim ─► compact ─► merge
//! ```

mod bounds;
mod compact;
mod consumed;
mod forget;
mod housekeeper;
mod keys;
mod output;
mod plan;
mod retention;
mod rewrite;
mod tails;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use millstream_record::{Offset, ProducerId};
use thiserror::Error;

use crate::ids::{PackId, PartitionId};
use crate::manifest::ManifestError;
use crate::pack::PackError;
use crate::policy::PartitionPolicy;
pub(crate) use bounds::Sizes;
pub use consumed::Finished;
pub(crate) use consumed::covers;
pub use housekeeper::{Activity, Housekeeper, Space};
pub use retention::expired;
pub use tails::{SealedBatch, SealedPartition, SettleJob};

/// What the slot knows about one of its partitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartitionFacts {
    /// Its settings.
    pub policy: PartitionPolicy,
    /// The first offset that readers may have. Durable.
    pub log_start: Offset,
    /// Compaction stops before this: what follows belongs to transactions that are not decided.
    pub last_stable: Offset,
    /// Bytes of batches that no pack has yet.
    pub tail_bytes: u64,
}

/// What the slot says about its partitions.
pub trait SlotView {
    /// What it knows of a partition; `None` if there is no such partition, or its policy is not known yet.
    fn facts(&self, partition: PartitionId) -> Option<PartitionFacts>;

    /// Whether a durable tombstone says that the partition was dropped.
    fn is_dropped(&self, partition: PartitionId) -> bool;

    /// The last offset of the last batch of each active idempotent producer: compaction leaves these batches' headers.
    fn last_batches(&self, partition: PartitionId) -> HashMap<ProducerId, Offset>;

    /// What of a partition all queues have finished, if its policy is to drop that. Durable.
    fn finished(&self, partition: PartitionId) -> Option<Finished> {
        let _ = partition;
        None
    }

    /// Told when packs hold what compaction left of everything before `end`: from now on that is what there is to read.
    fn compacted(&self, partition: PartitionId, end: Offset);
}

/// Whether a job has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Call again.
    More,
    /// It is done, and the manifest says so.
    Done,
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum SettleError {
    /// A pack cannot be read. What it holds stays as it is.
    #[error("pack {pack} cannot be read: {source}")]
    Input {
        /// The pack.
        pack: PackId,
        /// What is wrong.
        source: PackError,
    },
    /// A pack cannot be written.
    #[error("a pack cannot be written: {0}")]
    Output(#[source] PackError),
    /// The manifest cannot be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SettleError {
    /// Whether it only means that there is no room at present, on the disk or for one more open file: nothing has changed,
    /// and trying again later is right. After any other error but [`SettleError::Input`] the slot has failed.
    pub fn is_want_of_room(&self) -> bool {
        match self {
            Self::Output(PackError::Io(error)) | Self::Manifest(ManifestError::Io(error)) => {
                crate::error::is_want_of_room(error)
            }
            _ => false,
        }
    }
}
