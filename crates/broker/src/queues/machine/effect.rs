//! What a queue wants done.

use millstream_record::{Offset, TimestampMs};
use smallvec::SmallVec;

use super::run::Part;
use super::write::Write;
use crate::queues::ids::{ConsumerId, JobId, LeaseNumber, PartitionIndex, RequestToken};
use crate::queues::policy::Look;

/// What is to be done outside the machine after an event. Handed in empty or with what earlier events left; the
/// machine only adds.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be committed, in this order: of two that concern one key, the later counts.
    pub writes: Vec<Write>,
    /// Records to hand to consumers. They need not wait for the writes to be durable.
    pub deliveries: Vec<Delivery>,
    /// Receives that waited for nothing.
    pub unanswered: Vec<RequestToken>,
    /// Records to append to the dead-letter topic.
    pub dead_letters: Vec<DeadLetter>,
    /// Parts of the log to look at.
    pub scans: Vec<ScanRequest>,
}

/// Records for a consumer, in the order in which they are to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The receive that this answers, or the standing one that it serves.
    pub token: RequestToken,
    /// Who receives.
    pub consumer: ConsumerId,
    /// The lease. Each record's receipt consists of it and the record's place.
    pub lease: LeaseNumber,
    /// When the lease ends unless it is extended.
    pub deadline: TimestampMs,
    /// The records.
    pub parts: SmallVec<[Part; 1]>,
    /// Those that were delivered before, each with how often that makes now. All others are delivered for the first
    /// time.
    pub redelivered: Vec<Redelivered>,
}

/// A record that was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redelivered {
    /// Where it is.
    pub partition: PartitionIndex,
    /// Where it is in there.
    pub offset: Offset,
    /// How often it was delivered, this time included.
    pub attempts: u16,
}

/// Records of one partition to append to the dead-letter topic.
///
/// They are held until the caller says that they are [buried](super::Queue::buried), in the same commit that appends
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names them.
    pub job: JobId,
    /// The records.
    pub part: Part,
    /// Why.
    pub reason: DeathReason,
    /// How often they were delivered.
    pub attempts: u16,
    /// When they were first delivered; none if never.
    pub first_delivered: Option<TimestampMs>,
    /// When they were last delivered; none if never.
    pub last_delivered: Option<TimestampMs>,
}

/// Why a record is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathReason {
    /// It failed as often as it may.
    Attempts,
    /// A consumer rejected it.
    Rejected,
    /// Its time to live ended.
    Expired,
    /// The queue was too long.
    Overflow,
    /// Its batch cannot be decoded.
    Undecodable,
}

/// A part of the log to look at; the answer is [`super::Queue::scanned`]. Each partition has at most one open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanRequest {
    /// Where.
    pub partition: PartitionIndex,
    /// From where on.
    pub from: Offset,
    /// About how many records are wanted. Batches are given whole, so it may be more.
    pub records: usize,
    /// What it has to know of them.
    pub look: Look,
    /// For the queue: answers to requests of an earlier round are void.
    pub round: u32,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
            && self.deliveries.is_empty()
            && self.unanswered.is_empty()
            && self.dead_letters.is_empty()
            && self.scans.is_empty()
    }
}

impl Delivery {
    /// How many records.
    pub fn count(&self) -> u32 {
        self.parts.iter().map(|part| part.run.count()).sum()
    }
}
