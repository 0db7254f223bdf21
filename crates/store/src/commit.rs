//! The one atomic write, and what comes back from it.

use bytes::Bytes;
use millstream_record::{BatchHeader, Offset, TimestampMs};
use smallvec::SmallVec;

use crate::ids::PartitionId;
use crate::policy::{Durability, PartitionPolicy};
use crate::ticket::Ticket;

/// Everything that happens together or not at all, also across a crash: one journal entry.
///
/// Its parts take effect in the order of the fields. It is as durable as the strongest partition it appends to, or as
/// `promise` if that is more. With neither it is fsynced, and so is one that opens, trims or drops partitions.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Partitions that start to exist.
    pub opens: Vec<PartitionOpen>,
    /// Batches to append.
    pub appends: SmallVec<[Append; 1]>,
    /// Log starts to move up.
    pub trims: Vec<Trim>,
    /// Partitions that cease to exist, with everything in them.
    pub drops: Vec<PartitionId>,
    /// State to set: key and value.
    pub puts: Vec<(Bytes, Bytes)>,
    /// State to remove, after the puts.
    pub deletes: Vec<Bytes>,
    /// What has to be so, before anything of the commit: otherwise it is refused.
    pub requires: Vec<Require>,
    /// A promise for the whole commit; `None` leaves it to its parts. For state changes alone it may be a weaker one.
    pub promise: Option<Durability>,
}

impl Commit {
    /// A commit of one batch.
    pub fn append(append: Append) -> Self {
        Self {
            appends: smallvec::smallvec![append],
            ..Self::default()
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.opens.is_empty()
            && self.appends.is_empty()
            && self.trims.is_empty()
            && self.drops.is_empty()
            && self.puts.is_empty()
            && self.deletes.is_empty()
    }
}

/// State changes that are found out when a commit is taken: see [`crate::Slot::commit_prepared`].
#[derive(Debug, Default)]
pub struct StateChanges {
    /// State to set: key and value.
    pub puts: Vec<(Bytes, Bytes)>,
    /// State to remove, after the puts.
    pub deletes: Vec<Bytes>,
}

/// A partition that starts to exist.
#[derive(Debug, Clone)]
pub struct PartitionOpen {
    /// A number from [`crate::Slot::next_partition_id`].
    pub id: PartitionId,
    /// What an acknowledgement of its appends promises. It never changes.
    pub durability: Durability,
    /// How its records are kept. Not persisted: see [`crate::Slot::set_policy`].
    pub policy: PartitionPolicy,
}

/// One batch for one or more partitions; it is stored once for all of them.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where it goes: at least one, no partition twice. An idempotent producer is the first one's alone: that partition
    /// checks and remembers it, and a batch that it has already is appended to none of them.
    pub targets: SmallVec<[PartitionId; 1]>,
    /// Exactly one valid batch; its checksum has been looked at. Base offset and leader epoch are set on the way.
    pub batch: Bytes,
    /// The batch's header.
    pub header: BatchHeader,
    /// The log append time that was written into the batch, where the topic wants that.
    pub stamp: Option<TimestampMs>,
    /// An earlier append of the commit, by its place, that this one belongs to: if a producer has sent that one again,
    /// this one is not appended either.
    pub after: Option<usize>,
    /// State to set that says where records of the batch went, in the order given. Nothing is set for a batch that was
    /// sent again.
    pub marks: Vec<Mark>,
    /// What has to be so, as [`Commit::requires`].
    pub requires: Vec<Require>,
}

impl Append {
    /// A batch of that header for those partitions, and no more to it.
    pub fn new(
        targets: impl IntoIterator<Item = PartitionId>,
        batch: Bytes,
        header: BatchHeader,
    ) -> Self {
        Self {
            targets: targets.into_iter().collect(),
            batch,
            header,
            stamp: None,
            after: None,
            marks: Vec::new(),
            requires: Vec::new(),
        }
    }
}

/// A state entry that holds an offset which is known only once the batch has its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which record of the batch: its distance from the first one.
    pub delta: u32,
    /// Whose offset: the place of a partition among the append's targets.
    pub target: usize,
    /// The entry's key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// What the offset is written behind, as 8 bytes, big-endian.
    pub behind: Behind,
}

/// An offset that a state entry has to hold, as a [`Mark`] wrote it behind the entry's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Require {
    /// The partition that it is an offset of. One before its log start counts as none.
    pub partition: PartitionId,
    /// The entry's key.
    pub key: Bytes,
    /// The offset; `None` for an entry that is not there, or holds one that counts as none.
    pub expected: Option<Offset>,
    /// What whoever asks for it tells it by, when it is not so.
    pub number: u32,
}

impl Require {
    /// The offset that an entry with this value holds.
    pub(crate) fn offset_in(value: &[u8]) -> Option<Offset> {
        value
            .last_chunk()
            .map(|end| Offset(i64::from_be_bytes(*end)))
    }
}

/// The part of a state entry that ends with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

impl Mark {
    /// The most that it takes of a commit, beside what any entry takes.
    pub(crate) const OFFSET_BYTES: usize = 8;

    /// The entry, for a record at `offset`.
    pub(crate) fn entry(&self, offset: Offset) -> (Bytes, Bytes) {
        let end = offset.0.to_be_bytes();
        let joined = |start: &Bytes| Bytes::from([&start[..], &end[..]].concat());
        match self.behind {
            Behind::Key => (joined(&self.key), self.value.clone()),
            Behind::Value => (self.key.clone(), joined(&self.value)),
        }
    }
}

/// A log start that moves up. One that is not beyond the present log start changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Trim {
    /// The partition.
    pub partition: PartitionId,
    /// The new first offset, at most the log end.
    pub log_start: Offset,
}

/// A commit that has its place in the order of things. It can no longer be refused, only lost with the whole slot.
#[derive(Debug)]
pub struct Sequenced {
    /// Where the appends went: for each append in order, for each of its targets in order.
    pub appends: SmallVec<[Appended; 1]>,
    /// Done when the commit is as durable as promised, and readers see it.
    pub durable: Ticket,
}

/// Where a batch went in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its first record's offset.
    pub base_offset: Offset,
    /// Its last record's offset.
    pub last_offset: Offset,
    /// The log append time, where the topic wants that.
    pub log_append_time: Option<TimestampMs>,
    /// The partition's first offset.
    pub log_start: Offset,
    /// The batch had been appended before: the offsets are those it got then. Only the append's first target knows them;
    /// for the others, and for appends that came after that one, they are [`Offset::NONE`].
    pub duplicate: bool,
}
