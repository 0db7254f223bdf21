//! The one place where the broker's errors become Kafka's codes.
//!
//! What clients make of a code decides which one is right: a code that is retriable makes them send the same request
//! again for minutes, a fatal one ends the producer. Each arm that is not obvious says what it relies on.

use millstream_broker::BrokerError;
use millstream_broker::groups::GroupError;
use millstream_kafka_wire::{ErrorCode, Str};
use millstream_record::{BatchError, ErrorKind};

use crate::api::producers::TRANSACTIONS_REFUSED;

/// An error as a response carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    /// For people; sent where the version has a place for it.
    pub(crate) message: Option<String>,
}

impl Refusal {
    /// A refusal that says why.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: Some(message.into()),
        }
    }

    /// The message as the wire has it.
    pub(crate) fn text(&self) -> Option<Str> {
        self.message.as_deref().map(Str::from)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal {
            code,
            message: None,
        }
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Refusal {
        let message = match &error {
            // Kafka's words: scripts look for them to tell this from what is really wrong.
            BrokerError::TopicExists(name) => format!("Topic '{name}' already exists."),
            error => error.to_string(),
        };
        Refusal::new(code_of(&error), message)
    }
}

/// Kafka's code for an error of the broker.
#[allow(
    clippy::match_same_arms,
    reason = "the arms stand by what the errors are about"
)]
fn code_of(error: &BrokerError) -> ErrorCode {
    match error {
        BrokerError::UnknownTopic | BrokerError::UnknownPartition => {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        }
        BrokerError::TopicExists(_) => ErrorCode::TOPIC_ALREADY_EXISTS,
        BrokerError::InvalidTopicName(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        BrokerError::InvalidPartitionCount(_) => ErrorCode::INVALID_PARTITIONS,
        BrokerError::InvalidSetting(_) => ErrorCode::INVALID_CONFIG,
        BrokerError::CompactedTopic => ErrorCode::POLICY_VIOLATION,

        BrokerError::InvalidBatch(error) => batch_code(error),
        BrokerError::TransactionalBatch => TRANSACTIONS_REFUSED,
        BrokerError::OutOfOrderSequence { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        BrokerError::InvalidProducerEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
        // Java's producers split the batch then; others give it up at once instead of sending it for minutes.
        BrokerError::TooLarge { .. } | BrokerError::TooManyForQueue { .. } => {
            ErrorCode::MESSAGE_TOO_LARGE
        }
        // Retriable: producers keep their records and try again until there is room, or until their own
        // delivery.timeout.ms is over. Java's, librdkafka's and the other libraries' all do for this code, and know that
        // nothing was written; of what else says "not now", librdkafka gives up at THROTTLING_QUOTA_EXCEEDED, and
        // NOT_ENOUGH_REPLICAS would have operators look for replicas.
        BrokerError::DiskFull { .. }
        | BrokerError::MemoryFull { .. }
        | BrokerError::QueueFull { .. } => ErrorCode::KAFKA_STORAGE_ERROR,

        // Asked for by other protocols only.
        BrokerError::PositionMismatch { .. }
        | BrokerError::NoKeyIndex
        | BrokerError::KeyNeeded
        | BrokerError::IdempotencyKeyReused
        | BrokerError::IdempotencyKeyLength(_) => ErrorCode::INVALID_REQUEST,
        BrokerError::TooManyPublishes => ErrorCode::THROTTLING_QUOTA_EXCEEDED,
        BrokerError::KeyTooLong { .. } => ErrorCode::INVALID_RECORD,
        BrokerError::UnknownRoute(_)
        | BrokerError::RouteExists(_)
        | BrokerError::InvalidRoute(_) => ErrorCode::INVALID_REQUEST,
        BrokerError::RefusedByTarget { error, .. } => code_of(error),

        BrokerError::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        BrokerError::FencedLeaderEpoch { .. } => ErrorCode::FENCED_LEADER_EPOCH,
        BrokerError::UnknownLeaderEpoch { .. } => ErrorCode::UNKNOWN_LEADER_EPOCH,
        // Consumers report it and stop there, as they should: going on would skip records.
        BrokerError::Damaged(_) => ErrorCode::CORRUPT_MESSAGE,
        BrokerError::Io(_) | BrokerError::Failed(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        // Retriable after asking for the topics anew, which finds the server that is there next.
        BrokerError::ShuttingDown => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        BrokerError::Internal(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}

/// Kafka's code for an error of a group.
pub(crate) fn group_code(error: GroupError) -> ErrorCode {
    match error {
        GroupError::InvalidGroupId => ErrorCode::INVALID_GROUP_ID,
        GroupError::InvalidSessionTimeout => ErrorCode::INVALID_SESSION_TIMEOUT,
        GroupError::UnknownMember => ErrorCode::UNKNOWN_MEMBER_ID,
        GroupError::IllegalGeneration => ErrorCode::ILLEGAL_GENERATION,
        GroupError::RebalanceInProgress => ErrorCode::REBALANCE_IN_PROGRESS,
        GroupError::InconsistentProtocol => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        GroupError::FencedInstance => ErrorCode::FENCED_INSTANCE_ID,
        GroupError::MemberIdRequired => ErrorCode::MEMBER_ID_REQUIRED,
        GroupError::GroupFull => ErrorCode::GROUP_MAX_SIZE_REACHED,
        GroupError::GroupNotFound => ErrorCode::GROUP_ID_NOT_FOUND,
        GroupError::NonEmptyGroup => ErrorCode::NON_EMPTY_GROUP,
        GroupError::SubscribedToTopic => ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OFFSET_METADATA_TOO_LARGE,
        // Members give up on it, as they should: what they ask for will never fit.
        GroupError::TooLarge => ErrorCode::INVALID_REQUEST,
        // Retriable after asking for the coordinator anew, which finds the server that is there next. For members a full
        // disk is no reason to give up either, as they do on codes that a group does not have: Kafka answers alike.
        GroupError::DiskFull | GroupError::Unavailable => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

fn batch_code(error: &BatchError) -> ErrorCode {
    match error.kind() {
        ErrorKind::Corrupt => ErrorCode::CORRUPT_MESSAGE,
        ErrorKind::Invalid => ErrorCode::INVALID_RECORD,
        ErrorKind::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        ErrorKind::UnsupportedCompression => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        ErrorKind::InvalidTimestamp => ErrorCode::INVALID_TIMESTAMP,
    }
}
