//! One queue as a pure state machine over the partitions of a topic.
//!
//! ```text
//!                       ┌───────────── comes back: nacked, or its lease ran out ─────────────┐
//!                       ▼                                                                    │
//!   counted ──scan──► ready ◄──── its time has come, its key is free ──── parked             │
//!             │         │                                                   ▲                │
//!             │         └──────────── receive ─────────────────────────────────► leased ─────┤
//!             │                                                             │     │          │
//!             └─ delayed, or behind others of its key ──────────────────────┘     │ ack      │ too often,
//!                                                                                 ▼          ▼ or rejected
//!        gaps, duplicates, expired, dropped, purged ────────────────────────► finished ◄── dead letters
//! ```
//!
//! Every event is a method: what happened and when in, [`Effects`] out. There is no clock, no lock and no I/O here, and no
//! knowledge of topics, protocols or records' bytes; chance comes from a seed. Work is done on words of 64 offsets, and
//! memory is taken for what is leased, delayed or retried, never for what merely lies in the log.
//!
//! Start with [`partition`], which knows the state of each record, then [`scan`] and [`sort`] (how records come in), [`receive`] and
//! [`settle`] (how they go out), [`comeback`] (what happens to those that fail) and [`clock`]. [`flow`] is what all events
//! share: moving records between states, and what follows from it; [`sweep`] tidies up behind them. [`write`] is what is
//! written down, [`restore`] the way back.

mod access;
mod admin;
mod bits;
mod bury;
mod chunk;
mod clock;
mod comeback;
mod dedup;
mod effect;
mod flow;
mod history;
mod ids_room;
mod keys;
mod leases;
mod length;
mod partition;
mod pick;
mod progress;
mod rate;
mod receipts;
mod receive;
mod restore;
mod retention;
mod run;
mod scan;
mod settle;
mod slab;
mod sort;
mod stats;
mod sweep;
mod waiting;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use millstream_limits::QUEUE_PRIORITIES;
use millstream_record::{Offset, TimestampMs};
use smallvec::SmallVec;

use self::access::Active;
use self::dedup::Dedup;
use self::leases::Leases;
use self::partition::Partition;
use self::rate::Bucket;
use self::slab::Slab;
use self::waiting::Waiting;
use super::ids::{JobId, LeaseNumber, PartitionIndex, RequestToken};
use super::policy::QueuePolicy;
use super::wheel::{TimerId, Wheel};

pub use self::admin::Browsed;
pub(crate) use self::bits::BlockBits;
pub use self::effect::{DeadLetter, DeathReason, Delivery, Effects, Redelivered, ScanRequest};
pub use self::history::Span;
pub use self::ids_room::IdsRoom;
pub use self::partition::RecordState;
pub use self::receipts::ReceiptError;
pub use self::receive::ReceiveRefused;
pub(crate) use self::receive::VISIBILITY_MS_TO_BE_LATE;
pub use self::restore::{PartitionBounds, Setup};
pub use self::run::{Part, Run};
pub use self::scan::{Content, ScannedBatch, ScannedRecord};
pub use self::settle::{Answers, Retry};
pub use self::stats::{Depth, Totals};
pub use self::waiting::{Patience, Receive};
pub use self::write::{IdsImage, LeaseImage, QueueImage, SeenId, Write};

/// One queue.
#[derive(Debug)]
pub struct Queue {
    policy: QueuePolicy,
    partitions: Vec<Partition>,
    sums: Sums,
    /// Partitions that an event has changed.
    touched: Vec<PartitionIndex>,
    /// Partitions with something to look at that no scan was asked for.
    hungry: VecDeque<PartitionIndex>,
    /// Where the next receive looks first.
    rotor: usize,
    /// How often the records had to be sorted anew: scans of an earlier round do not count.
    round: u32,
    leases: Leases,
    last_lease: LeaseNumber,
    /// Records that came back and are not due yet.
    resting: Slab<Part>,
    /// Records on their way to the dead letters.
    dying: BTreeMap<JobId, DeadLetter>,
    last_job: JobId,
    wheel: Wheel<Timer>,
    /// Timers of records that wait for their first delivery, those that have ended since included: see [`sweep`].
    scheduled: usize,
    /// Timers of records' times to live, likewise.
    expiring: usize,
    waiting: Waiting,
    active: Option<Active>,
    bucket: Bucket,
    dedup: Dedup,
    paused: bool,
    random: u64,
    totals: Totals,
    /// The timers that are set at most once, as far as they are.
    once: SmallVec<[Once; 4]>,
}

/// A timer that is set at most once.
#[derive(Clone, Copy, Debug)]
struct Once {
    timer: Timer,
    due: TimestampMs,
    id: TimerId,
}

/// What all partitions together have.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    ready: [u64; QUEUE_PRIORITIES],
    ahead: usize,
    leased: u64,
    dying: u64,
    parked: u64,
}

/// What happens when a time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// A lease ends.
    Lease(u32),
    /// Records that came back are due.
    Resting(u32),
    /// A record may be delivered.
    Due {
        partition: PartitionIndex,
        priority: u8,
        offset: Offset,
    },
    /// A record's time to live ends.
    Expiry {
        partition: PartitionIndex,
        offset: Offset,
    },
    /// A receive has waited long enough.
    Patience(RequestToken),
    /// The rate allows another record.
    Rate,
    /// The active consumer may be gone.
    Idle,
    /// Ids may be older than the window.
    Ids,
    /// The queue is too long still.
    Length,
}

const _: () = assert!(
    size_of::<Option<Timer>>() == 16,
    "a timer and its links take 32 bytes"
);

/// So much later, stopping at the end of time.
fn later(time: TimestampMs, by_ms: u64) -> TimestampMs {
    time.saturating_add(i64::try_from(by_ms).unwrap_or(i64::MAX))
}

impl Queue {
    /// What the queue is told to do.
    pub fn policy(&self) -> &QueuePolicy {
        &self.policy
    }

    /// How many partitions it reads.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Everything below is finished.
    pub fn low_water_mark(&self, partition: PartitionIndex) -> Option<Offset> {
        Some(self.partitions.get(partition as usize)?.low)
    }

    /// Where a partition ends, as far as the queue was told.
    pub fn end(&self, partition: PartitionIndex) -> Option<Offset> {
        Some(self.partitions.get(partition as usize)?.end)
    }

    /// The first record of a partition that is not finished, as far as is known.
    pub fn first_open(&self, partition: PartitionIndex) -> Option<Offset> {
        let partition = self.partitions.get(partition as usize)?;
        (partition.open() > 0).then_some(partition.low)
    }

    /// What happened to one record so far.
    pub fn state(&self, partition: PartitionIndex, offset: Offset) -> Option<RecordState> {
        let partition = self.partitions.get(partition as usize)?;
        (offset < partition.end).then(|| partition.state(offset))
    }

    /// The memory that the queue's state takes beyond itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let partitions: usize = self.partitions.iter().map(Partition::heap_bytes).sum();
        let resting: usize = self.resting.iter().map(|part| part.run.heap_bytes()).sum();
        self.partitions.capacity() * size_of::<Partition>()
            + partitions
            + self.leases.heap_bytes()
            + self.resting.heap_bytes()
            + resting
            + self.wheel.heap_bytes()
            + self.dedup.heap_bytes()
    }

    /// Gives back memory that nothing needs at the moment. For a queue that has been quiet for a while.
    pub fn rest(&mut self) {
        for partition in &mut self.partitions {
            partition.rest();
        }
    }

    /// Sets a timer of which there is at most one: of two times the earlier counts.
    fn set_once(&mut self, due: TimestampMs, timer: Timer) {
        let set = self.once.iter().position(|once| once.timer == timer);
        if let Some(at) = set {
            if self.once[at].due <= due {
                return;
            }
            let later = self.once.swap_remove(at);
            self.wheel.cancel(later.id);
        }
        let id = self.wheel.insert(due, timer);
        self.once.push(Once { timer, due, id });
    }

    fn number(&mut self, now: TimestampMs) -> u64 {
        // SplitMix64: any seed will do, and each number depends on all before.
        self.random = self
            .random
            .wrapping_add(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(now.get() as u64);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
