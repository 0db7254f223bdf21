//! The one place where the broker's errors become HTTP's statuses and this API's codes.

use millstream_broker::BrokerError;
use millstream_broker::groups::GroupError;
use millstream_record::ErrorKind;

use crate::problem::{KeyPosition, Kind, Problem};

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Problem {
        let kind = broker_kind(&error);
        if kind == Kind::INTERNAL || kind == Kind::DAMAGED {
            tracing::error!(%error, "an http request failed");
        }
        let mut problem = Problem::new(kind, error.to_string());
        if let BrokerError::PositionMismatch { actual, record, .. } = error {
            let at = actual.map(|offset| KeyPosition::At(offset.get()));
            problem.position = Some(at.unwrap_or(KeyPosition::Nowhere));
            problem.record = Some(record);
        }
        problem
    }
}

#[allow(
    clippy::match_same_arms,
    reason = "the arms stand by what the errors are about"
)]
fn broker_kind(error: &BrokerError) -> Kind {
    match error {
        BrokerError::UnknownTopic => Kind::UNKNOWN_TOPIC,
        BrokerError::UnknownPartition => Kind::UNKNOWN_PARTITION,
        BrokerError::TopicExists(_) => Kind::EXISTS,
        BrokerError::InvalidTopicName(_) => Kind::INVALID_NAME,
        BrokerError::InvalidPartitionCount(_) => Kind::INVALID_PARTITIONS,
        BrokerError::InvalidSetting(_) => Kind::INVALID_SETTING,
        BrokerError::CompactedTopic => Kind::COMPACTED_TOPIC,

        BrokerError::InvalidBatch(error) if error.kind() == ErrorKind::TooLarge => Kind::TOO_LARGE,
        BrokerError::InvalidBatch(_) => Kind::INVALID_RECORD,
        BrokerError::TooLarge { .. } => Kind::TOO_LARGE,
        BrokerError::DiskFull { .. } => Kind::DISK_FULL,
        BrokerError::MemoryFull { .. } => Kind::MEMORY_FULL,
        BrokerError::QueueFull { .. } => Kind::QUEUE_FULL,
        BrokerError::TooManyForQueue { .. } => Kind::TOO_LARGE,
        BrokerError::OffsetOutOfRange { .. } => Kind::OFFSET_OUT_OF_RANGE,

        BrokerError::PositionMismatch { .. } => Kind::PRECONDITION_FAILED,
        BrokerError::NoKeyIndex | BrokerError::KeyNeeded | BrokerError::KeyTooLong { .. } => {
            Kind::INVALID_RECORD
        }
        BrokerError::IdempotencyKeyReused => Kind::IDEMPOTENCY_KEY_REUSED,
        BrokerError::IdempotencyKeyLength(_) => Kind::BAD_HEADER,
        BrokerError::TooManyPublishes => Kind::OVERLOADED,
        BrokerError::UnknownRoute(_) => Kind::UNKNOWN_ROUTE,
        BrokerError::RouteExists(_) => Kind::EXISTS,
        BrokerError::InvalidRoute(_) => Kind::INVALID_ROUTE,
        BrokerError::RefusedByTarget { error, .. } => broker_kind(error),

        BrokerError::Damaged(_) => Kind::DAMAGED,
        // Reading may succeed at another time; the store has its own word on whether it can go on.
        BrokerError::Io(_) => Kind::FAILED,
        BrokerError::Failed(_) => Kind::FAILED,
        BrokerError::ShuttingDown => Kind::SHUTTING_DOWN,

        // What only idempotent producers and fetch sessions can meet, and none of them speaks HTTP.
        BrokerError::TransactionalBatch
        | BrokerError::OutOfOrderSequence { .. }
        | BrokerError::InvalidProducerEpoch { .. }
        | BrokerError::FencedLeaderEpoch { .. }
        | BrokerError::UnknownLeaderEpoch { .. } => Kind::INTERNAL,
        BrokerError::Internal(_) => Kind::INTERNAL,
    }
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Problem {
        let kind = match error {
            GroupError::GroupNotFound => Kind::UNKNOWN_GROUP,
            GroupError::NonEmptyGroup | GroupError::SubscribedToTopic => Kind::GROUP_NOT_EMPTY,
            GroupError::DiskFull => Kind::DISK_FULL,
            GroupError::Unavailable => Kind::OVERLOADED,
            GroupError::OffsetMetadataTooLarge | GroupError::TooLarge => Kind::TOO_LARGE,
            GroupError::InvalidGroupId => Kind::INVALID_NAME,
            // Only members meet these, and a member is never told over HTTP.
            GroupError::InvalidSessionTimeout
            | GroupError::UnknownMember
            | GroupError::IllegalGeneration
            | GroupError::RebalanceInProgress
            | GroupError::InconsistentProtocol
            | GroupError::FencedInstance
            | GroupError::MemberIdRequired
            | GroupError::GroupFull => Kind::CONFLICT,
        };
        Problem::new(kind, error.to_string())
    }
}
