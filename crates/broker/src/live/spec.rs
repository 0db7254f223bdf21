//! What a subscription is to be.

use millstream_limits::{LIVE_BUFFER_BYTES_DEFAULT, LIVE_BUFFER_RECORDS_DEFAULT};
use millstream_record::{Offset, TimestampMs};

use super::token::ResumeToken;
use crate::filter::{Filter, TopicPattern};

/// What a subscription is to be.
#[derive(Debug, Clone)]
pub struct SubscribeSpec {
    /// Which topics: those of any of these.
    pub topics: Vec<Topics>,
    /// Which of their records; all without one.
    pub filter: Option<Filter>,
    /// From where on.
    pub start: Start,
    /// What happens when the reader is slower than its topics.
    pub slow: SlowPolicy,
    /// How many records wait for the reader at most before it counts as slow.
    pub buffer_records: usize,
    /// How many bytes of them; but a record that is alone may be larger.
    pub buffer_bytes: usize,
    /// How many records may be delivered before [`Subscription::add_credit`](super::Subscription::add_credit) allows
    /// more. `u64::MAX` never runs out.
    pub credit: u64,
}

impl SubscribeSpec {
    /// Everything from now on, blocking when the reader is slow, without a bound to credit.
    pub fn to(topics: Topics) -> Self {
        Self {
            topics: vec![topics],
            filter: None,
            start: Start::Now,
            slow: SlowPolicy::Block,
            buffer_records: LIVE_BUFFER_RECORDS_DEFAULT,
            buffer_bytes: LIVE_BUFFER_BYTES_DEFAULT,
            credit: u64::MAX,
        }
    }
}

/// Topics that a subscription is to.
#[derive(Debug, Clone)]
pub enum Topics {
    /// The one of that name, which has to exist. The subscription ends with the topic.
    Named(String),
    /// All whose names match, those created later included, from their first record.
    Matching(TopicPattern),
}

/// Where a subscription begins. Partitions that come later are read from their first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With what is published after the subscription was made.
    Now,
    /// With the first record there is.
    Earliest,
    /// With the first record in each partition that is not earlier than this.
    Since(TimestampMs),
    /// With these offsets in these partitions of every topic, and now in others.
    Offsets(Vec<(u32, Offset)>),
    /// With the latest record of each key that matches the filter, unless it is a deletion, then everything from there
    /// on. Records without a key have no latest, and are left out of the first part.
    LatestPerKey,
    /// Where another subscription to the same topics stood.
    Resume(ResumeToken),
}

/// What happens to a subscription whose buffer is full because its reader is slower than its topics. It never applies to
/// what a subscription reads from the log, which happens at its reader's pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowPolicy {
    /// It stops listening and goes on from the log when its reader has caught up: nothing is lost that is retained.
    #[default]
    Block,
    /// The oldest record in the buffer makes room.
    DropOldest,
    /// What comes is dropped.
    DropNewest,
    /// A record takes the place of one with the same key that has not been delivered, whether the buffer is full or not;
    /// if it is full, the oldest makes room.
    KeepLatest,
    /// The subscription ends, after what is in the buffer.
    Disconnect,
}
