//! Makes groups of what is queued: finds their place, and encodes them.
//!
//! This is the one place where a batch is copied. A group can be composed while the one before it is being written.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use millstream_env::DIRECT_ALIGNMENT;
use millstream_limits::JOURNAL_GROUP_BYTES_MAX;
use millstream_record::LeaderEpoch;
use smallvec::SmallVec;

use super::arena::Arena;
use super::entry::{self, EntryHeader};
use super::queue::{Queue, Queued};
use crate::error::{SlotFailure, is_want_of_room};
use crate::ids::JournalPosition;
use crate::media::{Claim, JournalMedium};

/// The end of a journal, and what its entries have to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JournalEnd {
    pub(crate) slot: u64,
    pub(crate) epoch: LeaderEpoch,
    /// Where the last entry ended.
    pub(crate) end: JournalPosition,
    /// Everything before this is durable.
    pub(crate) synced: JournalPosition,
}

/// What came of composing.
pub(crate) enum Composed {
    /// Nothing is queued that could be composed now.
    Idle,
    /// There is no room on the disk for what is queued, or none that may be claimed for it; it stays queued.
    NoRoom,
    /// A group, to be written next.
    Group(Group),
}

/// Commits that are written in one piece.
pub(crate) struct Group {
    pub(crate) start: JournalPosition,
    pub(crate) end: JournalPosition,
    pub(crate) bytes: Bytes,
    pub(crate) commits: Vec<Queued>,
    /// Where each commit lies, in their order.
    pub(crate) layout: Vec<Placed>,
}

/// A commit's place in its group.
pub(crate) struct Placed {
    pub(crate) position: JournalPosition,
    /// Its batches, from the start of the group.
    pub(crate) batches: SmallVec<[Range<usize>; 1]>,
}

/// Composes the journal's groups, in order.
pub(crate) struct Composer {
    medium: Arc<dyn JournalMedium>,
    queue: Arc<Queue>,
    arena: Arena,
    at: JournalEnd,
}

impl Composer {
    pub(crate) fn new(
        medium: Arc<dyn JournalMedium>,
        queue: Arc<Queue>,
        arena: Arena,
        at: JournalEnd,
    ) -> Self {
        Self {
            medium,
            queue,
            arena,
            at,
        }
    }

    /// Takes what fits into one group from the queue and encodes it. Its entries say that everything before `synced` is
    /// durable.
    pub(crate) fn compose(
        &mut self,
        synced: JournalPosition,
        claim: Claim,
    ) -> Result<Composed, SlotFailure> {
        let Some(first_bytes) = self.queue.first_bytes() else {
            return Ok(Composed::Idle);
        };
        let (start, mut bytes) = self.place(first_bytes);
        if claim != Claim::Ahead {
            let waiting = self.queue.waiting_bytes().max(first_bytes);
            bytes = bytes.min(waiting.next_multiple_of(DIRECT_ALIGNMENT));
        }
        match self.medium.claim(start.advance(bytes as u64), claim) {
            Ok(true) => {}
            Ok(false) => return Ok(Composed::NoRoom),
            Err(error) if is_want_of_room(&error) => return Ok(Composed::NoRoom),
            Err(error) => return Err(SlotFailure::new("claiming room for the journal", error)),
        }
        self.at.synced = synced;
        let commits = self.queue.take(bytes);
        Ok(Composed::Group(self.encode(start, bytes, commits)))
    }

    /// Where the next group goes, and how large it may be, if its first entry has `first_bytes`.
    fn place(&self, first_bytes: usize) -> (JournalPosition, usize) {
        let least = first_bytes.next_multiple_of(DIRECT_ALIGNMENT);
        // After a recovery the journal may end in the middle of a group.
        let mut start = JournalPosition(self.at.end.0.next_multiple_of(DIRECT_ALIGNMENT as u64));
        let mut room = self.medium.room(start);
        if room < least as u64 {
            start = start.advance(room);
            room = self.medium.room(start);
        }
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let bytes = self
            .arena
            .room(least)
            .min(JOURNAL_GROUP_BYTES_MAX.max(least))
            .min(room);
        (start, bytes - bytes % DIRECT_ALIGNMENT)
    }

    fn encode(&mut self, start: JournalPosition, bytes: usize, commits: Vec<Queued>) -> Group {
        let mut layout = Vec::with_capacity(commits.len());
        let out = self.arena.start(bytes);
        let base = out.len();
        let mut follows = self.at.end;
        for (index, queued) in commits.iter().enumerate() {
            let header = EntryHeader {
                slot: self.at.slot,
                position: start.advance((out.len() - base) as u64),
                synced: self.at.synced,
                follows,
                length: 0,
                framing_length: 0,
                epoch: self.at.epoch,
                kind: queued.kind,
                last_of_group: index + 1 == commits.len(),
                wall: queued.wall,
            };
            let batches = queued.appends.iter().map(|append| &append.batch);
            let mut batches = entry::encode(out, &header, &queued.frame, batches);
            for range in &mut batches {
                *range = range.start - base..range.end - base;
            }
            follows = start.advance((out.len() - base) as u64);
            layout.push(Placed {
                position: header.position,
                batches,
            });
        }
        let padding = (out.len() - base).next_multiple_of(DIRECT_ALIGNMENT) - (out.len() - base);
        out.put_bytes(0, padding);
        debug_assert!(
            out.len() - base <= bytes,
            "a group keeps to the room it was given"
        );
        let end = start.advance((out.len() - base) as u64);
        self.at.end = end;
        self.note_partitions(&commits);
        Group {
            start,
            end,
            bytes: self.arena.finish(end),
            commits,
            layout,
        }
    }

    /// Tells the buffer whose batches are in it.
    fn note_partitions(&mut self, commits: &[Queued]) {
        let buffer = self.arena.buffer();
        let appends = commits.iter().flat_map(|queued| &queued.appends);
        for partition in appends.flat_map(|append| &append.targets) {
            if partition.note_buffer(buffer) {
                self.arena.note(partition);
            }
        }
    }

    /// Where the next group goes, if it starts at once.
    pub(crate) fn end(&self) -> JournalPosition {
        self.at.end
    }
}
