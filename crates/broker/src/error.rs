//! What can go wrong, as the broker's users see it.

use std::sync::Arc;

use millstream_catalog::entry::EntryError;
use millstream_catalog::{CatalogError, InvalidName, SettingError, TopicName};
use millstream_limits::{
    IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_WINDOW_MS, IDEMPOTENT_PUBLISHES_MAX,
};
use millstream_record::{BatchError, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use millstream_store::state::StateError;
use millstream_store::{CommitError, PartitionId, ReadError, SlotFailure};
use thiserror::Error;

use crate::groups::GroupsLoadError;
use crate::queues::QueuesLoadError;
use crate::routes::{RouteEntryError, RouteProblem};

/// Why a broker could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] millstream_store::OpenError),
    /// A setting that cannot work.
    #[error("setting {setting}: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it has to be.
        reason: String,
    },
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] EntryError),
    /// The state table cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The groups cannot be read.
    #[error(transparent)]
    Groups(#[from] GroupsLoadError),
    /// The queues cannot be read.
    #[error(transparent)]
    Queues(#[from] QueuesLoadError),
    /// The routes cannot be read.
    #[error(transparent)]
    Routes(#[from] RouteEntryError),
    /// The catalogue names a partition that the store does not have.
    #[error(
        "partition {index} of topic {topic} should be log {id}, which is not there; nothing was changed, run `millstream doctor` on the data directory"
    )]
    MissingPartition {
        /// The topic.
        topic: TopicName,
        /// The partition.
        index: u32,
        /// Where it should be.
        id: PartitionId,
    },
    /// The recorded cluster id is not text.
    #[error(
        "the cluster id is damaged; nothing was changed, run `millstream doctor` on the data directory"
    )]
    ClusterId,
    /// The recorded producer id is not a number.
    #[error(
        "the next producer id is damaged; nothing was changed, run `millstream doctor` on the data directory"
    )]
    ProducerIds,
    /// The first entries could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why the broker refuses. Nothing of what was asked has happened, unless the variant says otherwise.
#[derive(Debug, Clone, Error)]
pub enum BrokerError {
    /// There is no such topic, or no longer.
    #[error("there is no such topic; create it first")]
    UnknownTopic,
    /// The topic has no such partition, or the topic has been deleted.
    #[error("there is no such partition; look the topic up again")]
    UnknownPartition,
    /// A topic of that name is there.
    #[error("topic {0} exists already")]
    TopicExists(TopicName),
    /// The name cannot be a topic's.
    #[error(transparent)]
    InvalidTopicName(#[from] InvalidName),
    /// That number of partitions cannot be: the error says which could.
    #[error("{0}")]
    InvalidPartitionCount(CatalogError),
    /// A topic's setting was refused.
    #[error(transparent)]
    InvalidSetting(#[from] SettingError),
    /// Only compaction removes records of this topic.
    #[error(
        "records of a compacted topic are not deleted by offset; add delete to its cleanup.policy first"
    )]
    CompactedTopic,

    /// The batch is not one the topic takes.
    #[error(transparent)]
    InvalidBatch(#[from] BatchError),
    /// The batch belongs to a transaction.
    #[error("transactions are not supported; produce without a transactional id")]
    TransactionalBatch,
    /// The batch does not follow the producer's last one.
    #[error(
        "producer {producer_id} sent sequence {found} where {expected} was next; send the batches before it first"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence that would have fitted.
        expected: Sequence,
        /// The sequence that came.
        found: Sequence,
    },
    /// A newer session of this producer exists.
    #[error(
        "producer {producer_id} has epoch {current} by now; epoch {found} is fenced and has to stop"
    )]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The epoch in force.
        current: ProducerEpoch,
        /// The epoch that came.
        found: ProducerEpoch,
    },
    /// What should be written at once can never fit.
    #[error(
        "{bytes} bytes are more than the {max_bytes} that fit into one commit; send less at once"
    )]
    TooLarge {
        /// What was asked for.
        bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// A queue on the topic is full, and refuses more. To be tried again when messages are done.
    #[error(
        "queue {queue} is full: it holds {records_max} messages at most; try again when some are done"
    )]
    QueueFull {
        /// The queue.
        queue: Arc<str>,
        /// Its bound.
        records_max: u64,
    },
    /// These are more records than a queue on the topic, which refuses what does not fit, would hold if it were empty.
    #[error(
        "queue {queue} holds {records_max} messages at most, and these are {records}; send fewer at once"
    )]
    TooManyForQueue {
        /// The queue.
        queue: Arc<str>,
        /// How many.
        records: u64,
        /// Its bound.
        records_max: u64,
    },
    /// The disk has no room for it. To be tried again once there is.
    #[error(
        "the disk is full: {available_bytes} bytes are free, {reserve_bytes} are kept in reserve; delete records or topics, or free space, and try again"
    )]
    DiskFull {
        /// What is free on the disk.
        available_bytes: u64,
        /// What is kept in reserve.
        reserve_bytes: u64,
    },
    /// A memory topic that refuses on overflow is full. To be tried again once records have gone.
    #[error(
        "the partition is at its bound of {bound_bytes} bytes (millstream.memory.bytes); try again when records have gone"
    )]
    MemoryFull {
        /// Its bound.
        bound_bytes: u64,
    },

    /// The key is not where it was expected to be: somebody else was first. Nothing was written.
    #[error(
        "the last record of the key is {}, not {}; read it and decide anew",
        place(*actual),
        place(*expected)
    )]
    PositionMismatch {
        /// Where its last record should have been; `None` for a key without records.
        expected: Option<Offset>,
        /// Where it is.
        actual: Option<Offset>,
        /// Which record expected it: [`Expectation::number`](crate::produce::Expectation::number).
        record: u32,
    },
    /// Positions of keys are known only where the topic keeps them.
    #[error("the topic has no key index; create it with millstream.key.index=true")]
    NoKeyIndex,
    /// Nothing can be expected of a record without a key.
    #[error("an expected position needs a key")]
    KeyNeeded,
    /// The key is too long for the topic's index.
    #[error(
        "a key of {bytes} bytes is too long for the topic's key index, which takes {max_bytes}"
    )]
    KeyTooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },

    /// An idempotency key came with another request than before.
    #[error(
        "the idempotency key was used for another request within the last {} minutes; use a new key for each request, and an old one only to send the same again",
        IDEMPOTENCY_WINDOW_MS / 60_000
    )]
    IdempotencyKeyReused,
    /// The idempotency key is empty or too long.
    #[error("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes, not {0}")]
    IdempotencyKeyLength(usize),
    /// Too many publishes with idempotency keys have not come to their end.
    #[error(
        "{IDEMPOTENT_PUBLISHES_MAX} publishes with idempotency keys are under way, as many as may be; try again"
    )]
    TooManyPublishes,

    /// There is no such route.
    #[error("there is no route {0}; list the routes to see which there are")]
    UnknownRoute(Arc<str>),
    /// A route of that name is there.
    #[error("route {0} exists already; delete it first, or choose another name")]
    RouteExists(Arc<str>),
    /// The route cannot be made, or no longer followed.
    #[error(transparent)]
    InvalidRoute(#[from] RouteProblem),
    /// A topic that a route leads to does not take the records, so nothing was written to any.
    #[error("route {route} leads to topic {target}, which refuses: {error}")]
    RefusedByTarget {
        /// The route.
        route: Arc<str>,
        /// The topic.
        target: TopicName,
        /// Why it refuses.
        error: Box<BrokerError>,
    },

    /// Nothing is at that offset.
    #[error("the offset is outside {log_start} to {high_watermark}, what the partition holds")]
    OffsetOutOfRange {
        /// The first offset there is.
        log_start: Offset,
        /// Where reading ends at present.
        high_watermark: Offset,
    },
    /// The reader knows an earlier leadership than is in force; it should check whether what it read survived.
    #[error("the leader epoch is {current} by now; look the topic up again")]
    FencedLeaderEpoch {
        /// The epoch in force.
        current: LeaderEpoch,
    },
    /// The reader knows a later leadership than is in force.
    #[error("the leader epoch is only {current}; look the topic up again")]
    UnknownLeaderEpoch {
        /// The epoch in force.
        current: LeaderEpoch,
    },
    /// Stored records are not what was written.
    #[error("stored records are damaged: {0}; run `millstream doctor` on the data directory")]
    Damaged(Arc<str>),
    /// The disk refused to be read.
    #[error("reading failed: {0}")]
    Io(Arc<str>),

    /// The broker cannot go on, and the process should end. It is not known whether what was asked has happened.
    #[error("the server has failed and must be restarted: {0}")]
    Failed(SlotFailure),
    /// The broker is shutting down. To be tried again elsewhere, or later.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// A rule of the broker's own was broken. Nothing a caller could do differently.
    #[error("internal error: {0}")]
    Internal(Arc<str>),
}

fn place(position: Option<Offset>) -> String {
    position.map_or_else(
        || "nowhere".to_owned(),
        |offset| format!("at offset {offset}"),
    )
}

impl From<StateError> for BrokerError {
    fn from(error: StateError) -> Self {
        Self::Damaged(error.to_string().into())
    }
}

impl From<CatalogError> for BrokerError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Exists(name) => Self::TopicExists(name),
            CatalogError::Unknown(_) => Self::UnknownTopic,
            CatalogError::Name(error) => Self::InvalidTopicName(error),
            CatalogError::Setting(error) => Self::InvalidSetting(error),
            CatalogError::PartitionCount(_)
            | CatalogError::FewerPartitions { .. }
            | CatalogError::TooManyPartitions => Self::InvalidPartitionCount(error),
        }
    }
}

impl From<CommitError> for BrokerError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::UnknownPartition(_) => Self::UnknownPartition,
            CommitError::PositionMismatch {
                expected,
                actual,
                number,
            } => Self::PositionMismatch {
                expected,
                actual,
                record: number,
            },
            CommitError::State(why) => Self::Damaged(why),
            CommitError::OutOfOrderSequence {
                producer_id,
                expected,
                found,
            } => Self::OutOfOrderSequence {
                producer_id,
                expected,
                found,
            },
            CommitError::InvalidProducerEpoch {
                producer_id,
                current,
                found,
            } => Self::InvalidProducerEpoch {
                producer_id,
                current,
                found,
            },
            CommitError::DiskFull {
                available_bytes,
                reserve_bytes,
            } => Self::DiskFull {
                available_bytes,
                reserve_bytes,
            },
            CommitError::MemoryFull { bound_bytes, .. } => Self::MemoryFull { bound_bytes },
            CommitError::TooLarge { bytes, max_bytes } => Self::TooLarge { bytes, max_bytes },
            CommitError::Failed(failure) => Self::Failed(failure),
            CommitError::ShuttingDown => Self::ShuttingDown,
            CommitError::PartitionExists(_)
            | CommitError::TrimBeyondEnd { .. }
            | CommitError::BadKey { .. } => Self::Internal(error.to_string().into()),
        }
    }
}

impl From<ReadError> for BrokerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::OutOfRange {
                log_start,
                high_watermark,
            } => Self::OffsetOutOfRange {
                log_start,
                high_watermark,
            },
            ReadError::Dropped(_) => Self::UnknownPartition,
            ReadError::Damaged { .. } => Self::Damaged(error.to_string().into()),
            ReadError::Io(error) => Self::Io(error.to_string().into()),
        }
    }
}
