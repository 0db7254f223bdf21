//! What a queue's parts are called.

use std::fmt;

use millstream_record::Offset;

/// A queue on this server, by the number that the catalogue gave it. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// A partition of the queue's topic: its index, counted from 0.
pub type PartitionIndex = u32;

/// Somebody who receives. The caller's number: of a connection's channel, or a hash of a name that outlives connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// Stands for a receive that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// Stands for records on their way to the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Which life of the queue this is: it rises with every load, so that no lease number is given out twice although the
/// last ones before a crash may not have been written down. The store's epoch serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// A lease: the incarnation in the upper 24 bits, a count in the lower 40, so that later leases have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseNumber(pub u64);

impl LeaseNumber {
    const COUNT_BITS: u32 = 40;

    /// The number before the first of an incarnation.
    pub(crate) const fn before_first(incarnation: Incarnation) -> Self {
        Self((incarnation.0 as u64) << Self::COUNT_BITS)
    }

    /// The number after this one.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Which life of the queue gave it out.
    pub const fn incarnation(self) -> Incarnation {
        Incarnation((self.0 >> Self::COUNT_BITS) as u32)
    }
}

impl fmt::Display for LeaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0 & ((1 << Self::COUNT_BITS) - 1);
        write!(f, "{}.{count}", self.incarnation().0)
    }
}

/// What a consumer shows to say which delivery of which record it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// The lease that the record was delivered under.
    pub lease: LeaseNumber,
    /// Where the record is.
    pub partition: PartitionIndex,
    /// Where the record is in there.
    pub offset: Offset,
}
