//! Why the catalogue refuses a change.

use millstream_limits::{PARTITIONS_MAX, TOPIC_PARTITIONS_MAX};
use thiserror::Error;

use crate::name::{InvalidName, TopicName};
use crate::settings::SettingError;
use crate::topic::TopicId;

/// Why the catalogue refuses a change. Nothing has changed, and asking again will not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CatalogError {
    /// A topic of that name is there.
    #[error("topic {0} exists already")]
    Exists(TopicName),
    /// There is no topic of that id; it may have been deleted.
    #[error("there is no topic with id {0}")]
    Unknown(TopicId),
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A topic has at least one partition and at most so many.
    #[error("{0} partitions are not between 1 and {TOPIC_PARTITIONS_MAX}")]
    PartitionCount(u32),
    /// The number of partitions can only grow.
    #[error("the topic has {current} partitions already; ask for more than that, not {wanted}")]
    FewerPartitions {
        /// How many there are.
        current: u32,
        /// How many were asked for.
        wanted: u32,
    },
    /// All topics together would have too many partitions.
    #[error("one server keeps at most {PARTITIONS_MAX} partitions; delete some topics first")]
    TooManyPartitions,
    /// A setting was refused.
    #[error(transparent)]
    Setting(#[from] SettingError),
}
