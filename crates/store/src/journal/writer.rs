//! Writes what is queued, a group at a time, and publishes it.
//!
//! A step takes what fits into one group, encodes it (the one place where a batch is copied), writes it in one piece,
//! syncs if anything in it asks for that, and only then shows it to readers and resolves tickets, in the order of the
//! journal. While it runs, the next group queues up: that is the whole of group commit.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use millstream_env::{Clock, DIRECT_ALIGNMENT};
use millstream_limits::JOURNAL_GROUP_BYTES_MAX;
use millstream_record::{LeaderEpoch, TimestampMs};
use smallvec::SmallVec;

use super::arena::Arena;
use super::entry::{self, EntryHeader, Frame, Kind};
use super::queue::{Effects, Queue, Queued};
use crate::error::{SlotFailure, is_disk_full};
use crate::ids::JournalPosition;
use crate::media::JournalMedium;
use crate::stats::Counters;
use crate::tail::TailBatch;
use crate::ticket::{CommitNumber, Progress};

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing was queued.
    Idle,
    /// A group was written and published.
    Wrote {
        /// The end of the group, if it was sealed.
        sealed: Option<JournalPosition>,
    },
    /// There is no room on the disk for what is queued; it stays queued.
    NoRoom,
}

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

/// The journal's one writer.
pub(crate) struct JournalWriter {
    medium: Arc<dyn JournalMedium>,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    counters: Arc<Counters>,
    arena: Arena,
    at: JournalEnd,
    group: Vec<Queued>,
    layout: Vec<Written>,
}

/// A queued commit's place in its group.
struct Written {
    position: JournalPosition,
    batches: SmallVec<[std::ops::Range<usize>; 1]>,
}

impl JournalWriter {
    pub(crate) fn new(
        medium: Arc<dyn JournalMedium>,
        clock: Arc<dyn Clock>,
        queue: Arc<Queue>,
        progress: Arc<Progress>,
        counters: Arc<Counters>,
        arena: Arena,
        at: JournalEnd,
    ) -> Self {
        Self {
            medium,
            clock,
            queue,
            progress,
            counters,
            arena,
            at,
            group: Vec::new(),
            layout: Vec::new(),
        }
    }

    /// Writes and publishes one group. After an error the slot has failed: nothing that was in the group is acknowledged,
    /// and nothing may be written again.
    pub(crate) fn step(&mut self) -> Result<Step, SlotFailure> {
        let Some(first_bytes) = self.queue.first_bytes() else {
            return Ok(Step::Idle);
        };
        let (start, bytes) = self.place(first_bytes);
        match self.medium.claim(start.advance(bytes as u64)) {
            Ok(true) => {}
            Ok(false) => return Ok(Step::NoRoom),
            Err(error) if is_disk_full(&error) => return Ok(Step::NoRoom),
            Err(error) => return Err(SlotFailure::new("claiming room for the journal", error)),
        }
        self.queue.take(bytes, &mut self.group);
        let group = self.encode(start, bytes);
        self.write(start, &group)?;
        let sealed = self.publish(&group);
        Ok(Step::Wrote { sealed })
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

    fn encode(&mut self, start: JournalPosition, bytes: usize) -> Bytes {
        self.layout.clear();
        let out = self.arena.start(bytes);
        let base = out.len();
        let mut follows = self.at.end;
        let count = self.group.len();
        for (index, queued) in self.group.iter().enumerate() {
            let header = EntryHeader {
                slot: self.at.slot,
                position: start.advance((out.len() - base) as u64),
                synced: self.at.synced,
                follows,
                length: 0,
                framing_length: 0,
                epoch: self.at.epoch,
                kind: queued.kind,
                last_of_group: index + 1 == count,
                wall: queued.wall,
            };
            let batches = queued.appends.iter().map(|append| &append.batch);
            let mut batches = entry::encode(out, &header, &queued.frame, batches);
            for range in &mut batches {
                *range = range.start - base..range.end - base;
            }
            follows = start.advance((out.len() - base) as u64);
            self.layout.push(Written {
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
        self.arena.finish(end)
    }

    fn write(&mut self, start: JournalPosition, group: &Bytes) -> Result<(), SlotFailure> {
        let sync = self.group.iter().any(|queued| queued.sync);
        let before = self.clock.monotonic();
        self.medium
            .append(start, group, sync)
            .map_err(|error| SlotFailure::new("writing the journal", error))?;
        let took = self.clock.monotonic().saturating_sub(before);
        if sync {
            self.at.synced = self.at.end;
        }
        self.counters
            .wrote_group(self.group.len(), group.len(), sync, took);
        Ok(())
    }

    /// Shows the group to readers and resolves its tickets.
    fn publish(&mut self, group: &Bytes) -> Option<JournalPosition> {
        let buffer = self.arena.buffer();
        let batch_bytes = self.group.iter().map(Queued::batch_bytes).sum();
        let mut last = CommitNumber::default();
        let mut sealed = None;
        for (queued, written) in self.group.drain(..).zip(&self.layout) {
            let frames = queued.frame.appends.iter().zip(&queued.appends);
            for ((frame, append), range) in frames.zip(&written.batches) {
                let stored = group.slice(range.clone());
                for (target, partition) in frame.targets.iter().zip(&append.targets) {
                    let batch = TailBatch::new(
                        target.1,
                        frame.targets[0].1,
                        frame.last_offset_delta,
                        frame.max_timestamp,
                        written.position,
                        stored.clone(),
                    );
                    if partition.publish(batch, buffer) {
                        self.arena.note(partition);
                    }
                }
            }
            queued.effects.publish();
            if queued.kind == Kind::Seal {
                sealed = Some(self.at.end);
            }
            last = queued.number;
        }
        self.queue.done(batch_bytes);
        self.progress.advance(last);
        sealed
    }

    /// The end of the journal now.
    pub(crate) fn end(&self) -> JournalPosition {
        self.at.end
    }

    /// Writes an entry that is not a commit, by itself and durably, and shows it to nobody.
    pub(crate) fn mark_start(&mut self, wall: TimestampMs) -> Result<bool, SlotFailure> {
        let frame = Frame::default();
        self.queue.push(Queued {
            number: CommitNumber::default(),
            kind: Kind::Start,
            sync: true,
            wall,
            entry_bytes: frame.entry_bytes(),
            frame,
            appends: SmallVec::new(),
            effects: Effects::default(),
        });
        Ok(self.step()? != Step::NoRoom)
    }
}
