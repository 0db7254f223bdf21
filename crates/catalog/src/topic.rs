//! A topic as the catalogue knows it.

use std::fmt;

use millstream_record::TimestampMs;
use millstream_store::PartitionId;
use uuid::Uuid;

use crate::name::TopicName;
use crate::settings::TopicSettings;

/// Names one topic for ever: a topic that is deleted and created again under its old name has another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// Makes an id (UUID version 4) of 16 random bytes.
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic at one moment: changing one makes a new value.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// What everything but people calls it.
    pub id: TopicId,
    /// What people call it.
    pub name: TopicName,
    /// Where each partition lives in the slot, in the order of their indexes.
    pub partitions: Vec<PartitionId>,
    /// How it is configured.
    pub settings: TopicSettings,
    /// When it was created.
    pub created_ms: TimestampMs,
}
