//! Why there is no subscription, or no longer.

use std::sync::Arc;

use millstream_catalog::TopicName;
use millstream_limits::{
    LIVE_BUFFER_BYTES_MAX, LIVE_BUFFER_RECORDS_MAX, LIVE_LATEST_BYTES_MAX, LIVE_LATEST_KEYS_MAX,
    LIVE_PARTITIONS_MAX, LIVE_SUBSCRIPTIONS_MAX, LIVE_TOPICS_MAX,
};
use thiserror::Error;

use crate::error::BrokerError;

/// Why a subscription is refused.
#[derive(Debug, Clone, Error)]
pub enum LiveError {
    /// The log says no.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// There are too many already. To be tried again later.
    #[error(
        "there are {LIVE_SUBSCRIPTIONS_MAX} live subscriptions, which is the most; try again later"
    )]
    TooManySubscriptions,
    /// It names no topics, or too many.
    #[error("a subscription is to 1 to {LIVE_TOPICS_MAX} topics and patterns")]
    Topics,
    /// It would be to too many partitions.
    #[error(
        "the subscription would be to {0} partitions; at most {LIVE_PARTITIONS_MAX} are allowed, use a narrower pattern"
    )]
    TooManyPartitions(usize),
    /// The buffer is too small or too large.
    #[error(
        "a live buffer holds 1 to {LIVE_BUFFER_RECORDS_MAX} records and 1 to {LIVE_BUFFER_BYTES_MAX} bytes"
    )]
    Buffer,
    /// There are more keys than can be held to find the latest of each.
    #[error(
        "topic {0} has more than {LIVE_LATEST_KEYS_MAX} keys or {LIVE_LATEST_BYTES_MAX} bytes of latest records for this subscription; use a filter, or start at earliest"
    )]
    TooManyKeys(TopicName),
    /// Others look for the latest of their keys. To be tried again.
    #[error(
        "the latest records of other subscriptions fill the memory for them; try again in a moment"
    )]
    LatestMemory,
}

/// Why a subscription has ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Disconnected {
    /// The reader was too slow, and the subscription was not to wait for it.
    #[error("the reader was too slow; subscribe again from the last position")]
    TooSlow,
    /// The topic has been deleted.
    #[error("the topic has been deleted")]
    TopicDeleted,
    /// The pattern matches too much by now.
    #[error(
        "the pattern matches more than {LIVE_PARTITIONS_MAX} partitions by now; use a narrower one"
    )]
    TooManyPartitions,
    /// The server is shutting down.
    #[error("the server is shutting down; subscribe again from the last position")]
    ShuttingDown,
    /// The log cannot be read.
    #[error("{0}")]
    Failed(Arc<str>),
}
