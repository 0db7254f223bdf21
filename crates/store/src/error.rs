//! What can go wrong, as the store's users see it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_env::is_out_of_files;
use millstream_record::{Offset, ProducerEpoch, ProducerId, Sequence};
use thiserror::Error;

use crate::ids::PartitionId;
use crate::manifest::ManifestError;
use crate::pack::PackError;
use crate::state::StateError;

/// Why a slot could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the data directory.
    #[error(
        "the data directory {0} is in use by another process: stop it, or choose another directory"
    )]
    Locked(PathBuf),
    /// The directory was written by a later release.
    #[error(
        "{file} has format {found}, this release reads up to {supported}: use the release that wrote it, or a later one"
    )]
    NewerFormat {
        /// What carries the version.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The latest version that this release reads.
        supported: u32,
    },
    /// Something is there that does not belong in a data directory, or has been altered.
    #[error(
        "{file} is damaged: {reason}; nothing was changed, run `millstream doctor` on the data directory"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The state table cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A setting that cannot work.
    #[error("setting {setting}: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it has to be.
        reason: String,
    },
    /// The disk refused.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }
}

/// A failure after which the slot acknowledges nothing more. The process should end and recover by starting again.
#[derive(Debug, Clone, Error)]
#[error("{context}: {reason}")]
pub struct SlotFailure {
    /// What was being done.
    pub context: Arc<str>,
    /// What the system said.
    pub reason: Arc<str>,
}

impl SlotFailure {
    pub(crate) fn new(context: impl Into<Arc<str>>, reason: impl std::fmt::Display) -> Self {
        Self {
            context: context.into(),
            reason: reason.to_string().into(),
        }
    }
}

/// Why a commit was refused; nothing of it has happened. Or, from a [`crate::Ticket`], why it is not known to be durable.
#[derive(Debug, Clone, Error)]
pub enum CommitError {
    /// No such partition, or it has been dropped. Look the topic up again.
    #[error("partition {0} does not exist")]
    UnknownPartition(PartitionId),
    /// A state entry does not hold the offset that it has to. Look again and decide anew.
    #[error("the entry holds {actual:?} where {expected:?} was required")]
    PositionMismatch {
        /// What was required.
        expected: Option<Offset>,
        /// What it holds.
        actual: Option<Offset>,
        /// Which requirement it was: [`crate::Require::number`].
        number: u32,
    },
    /// What has to be so could not be looked up.
    #[error("the state table could not be read: {0}")]
    State(Arc<str>),
    /// A partition is opened under a number that was not reserved, or is in use.
    #[error("partition {0} cannot be opened: the number is taken or was not reserved")]
    PartitionExists(PartitionId),
    /// The batch does not follow the producer's last one. Retrying earlier batches first can help.
    #[error("producer {producer_id} sent sequence {found} where {expected} was next")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence that would have fitted.
        expected: Sequence,
        /// The sequence that came.
        found: Sequence,
    },
    /// A newer session of this producer exists. The old one has to stop.
    #[error("producer {producer_id} has epoch {current}, {found} is fenced")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The epoch in force.
        current: ProducerEpoch,
        /// The epoch that came.
        found: ProducerEpoch,
    },
    /// The disk has no room for it. Deleting records, or topics, makes room; then retry.
    #[error(
        "the disk is full: {available_bytes} bytes are free and {reserve_bytes} are kept in reserve; delete topics or records, or free space"
    )]
    DiskFull {
        /// What is free on the disk.
        available_bytes: u64,
        /// What the slot keeps for itself.
        reserve_bytes: u64,
    },
    /// A memory partition that refuses on overflow is full. Retry when something has been trimmed.
    #[error("partition {partition} is at its bound of {bound_bytes} bytes of memory")]
    MemoryFull {
        /// The partition.
        partition: PartitionId,
        /// Its bound.
        bound_bytes: u64,
    },
    /// The commit can never fit.
    #[error("the commit has {bytes} bytes, {max_bytes} is the most")]
    TooLarge {
        /// What it takes in the journal.
        bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// A trim beyond the partition's end.
    #[error("offset {offset} lies beyond the end of partition {partition}, {log_end}")]
    TrimBeyondEnd {
        /// The partition.
        partition: PartitionId,
        /// The offset asked for.
        offset: Offset,
        /// The partition's end.
        log_end: Offset,
    },
    /// A state key that is empty, too long or the store's own.
    #[error("a state key has 1 to {max_bytes} bytes, of which the first is not 0")]
    BadKey {
        /// The longest key.
        max_bytes: usize,
    },
    /// The slot has failed: nothing is acknowledged any more.
    #[error("the slot has failed and must be restarted: {0}")]
    Failed(SlotFailure),
    /// The slot is shutting down.
    #[error("the slot is shutting down")]
    ShuttingDown,
}

/// Why a read was refused.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Nothing is at that offset, nor will the next append be.
    #[error("offset is outside {log_start} to {high_watermark}")]
    OutOfRange {
        /// The first offset there is.
        log_start: Offset,
        /// Where reading ends at present.
        high_watermark: Offset,
    },
    /// The partition has been dropped.
    #[error("partition {0} does not exist")]
    Dropped(PartitionId),
    /// The stored bytes are not what was written. The rest of the partition can still be read.
    #[error("partition {partition} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The partition.
        partition: PartitionId,
        /// Where.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The disk refused.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// Why something inside the store that nobody waits for went wrong.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// What the system said.
        source: io::Error,
    },
    /// The state table failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The manifest failed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A pack could not be written or read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The slot has failed before.
    #[error("the slot has failed and must be restarted: {0}")]
    Failed(SlotFailure),
}

impl StoreError {
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    /// Whether it means that there is no room, on the disk or for one more open file, which passes, rather than that the
    /// disk is failing.
    pub fn is_want_of_room(&self) -> bool {
        self.io_error().is_some_and(is_want_of_room)
    }

    /// What the disk, or the system, has refused.
    pub(crate) fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::State(error) => error.io_error(),
            Self::Io { source, .. }
            | Self::Manifest(ManifestError::Io(source))
            | Self::Pack(PackError::Io(source)) => Some(source),
            _ => None,
        }
    }
}

/// Whether an I/O error means lack of room, on the disk or for one more open file: it passes.
pub(crate) fn is_want_of_room(error: &io::Error) -> bool {
    let disk_full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    disk_full.contains(&error.kind()) || is_out_of_files(error)
}
