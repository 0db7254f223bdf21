//! How far the queue is in one partition.
//!
//! ```text
//!      finished         looked at: chunks                only counted         not to be read yet
//!  ─────────────────┬──────────────────────────────────┬───────────────────┬────────────────────
//!                  low                                scan                end
//! ```
//!
//! Everything below the low-water mark is finished. From there to the scan position the chunks know each record; what
//! has been leased or put off before a restart may lie beyond. Up to `end`, the last stable offset, records are only
//! counted.

use std::collections::VecDeque;

use millstream_limits::QUEUE_PRIORITIES;
use millstream_record::Offset;
use smallvec::SmallVec;

use super::Sums;
use super::bits::{BLOCK, Bits};
use super::chunk::{Chunk, ChunkSlot};
use super::flow::Word;
use super::history::History;
use super::keys::KeyOrder;
use super::run::{Part, Run, bit_of, chunk_of, chunks_of, offset_at};
use super::write::Write;
use crate::queues::ids::PartitionIndex;

/// Where a record is between its arrival and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// Not looked at yet.
    Waiting,
    /// Next in line, with its priority.
    Ready(u8),
    /// Delivered.
    Leased,
    /// Waiting for a time, for its key, or for its way to the dead letters.
    Parked,
    /// Nothing more will happen to it.
    Finished,
}

/// The queue's state in one partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) index: PartitionIndex,
    pub(crate) low: Offset,
    pub(crate) scan: Offset,
    pub(crate) end: Offset,
    /// A scan has been asked for and not been answered.
    pub(crate) scanning: bool,
    /// It is listed as having something to look at.
    pub(crate) hungry: bool,
    /// The event under way has changed it.
    pub(crate) touched: bool,
    /// What the queue's sums hold of it.
    pub(crate) summed: Sums,
    /// What was delivered and came back.
    pub(crate) history: History,
    pub(crate) keys: KeyOrder,
    /// The timestamp of the last record that the scan has met.
    pub(crate) scanned_time: millstream_record::TimestampMs,
    pub(crate) ready: [u32; QUEUE_PRIORITIES],
    /// Leased, those that wait for their burial included.
    pub(crate) leased: u64,
    /// Those that wait for their burial.
    pub(crate) dying: u64,
    pub(crate) parked: u64,
    /// Finished beyond the low-water mark.
    pub(crate) done_beyond_low: u64,
    /// The chunk that `low` is in, and those after it.
    pub(super) chunks: VecDeque<ChunkSlot>,
    pub(super) first_chunk: i64,
    /// No chunk before this one has anything ready.
    pub(super) ready_chunk: i64,
    pub(super) dirty_chunks: SmallVec<[i64; 2]>,
    /// The low-water mark that is written down.
    pub(super) stored_low: Offset,
}

impl Partition {
    /// Everything below `low` is finished; nothing beyond it has been looked at.
    pub(crate) fn starting_at(index: PartitionIndex, low: Offset, end: Offset) -> Self {
        Self {
            index,
            low,
            scan: low,
            end: end.max(low),
            scanning: false,
            hungry: false,
            touched: false,
            summed: Sums::default(),
            history: History::default(),
            keys: KeyOrder::default(),
            scanned_time: millstream_record::TimestampMs::NONE,
            ready: [0; QUEUE_PRIORITIES],
            leased: 0,
            dying: 0,
            parked: 0,
            done_beyond_low: 0,
            chunks: VecDeque::new(),
            first_chunk: chunk_of(low),
            ready_chunk: chunk_of(low),
            dirty_chunks: SmallVec::new(),
            stored_low: low,
        }
    }

    /// Records that are not finished.
    pub(crate) fn open(&self) -> u64 {
        (self.end - self.low) as u64 - self.done_beyond_low
    }

    /// Those of them that a scan or a delivery has met.
    pub(crate) fn met(&self) -> u64 {
        let ready: u64 = self.ready.iter().map(|count| u64::from(*count)).sum();
        ready + self.leased + self.parked
    }

    /// No record from here on has been met.
    pub(crate) fn met_end(&self) -> Offset {
        let touched = offset_at(self.first_chunk + self.chunks.len() as i64, 0);
        touched.min(self.end)
    }

    /// Records that were looked at and wait for nothing but a consumer or their key: what the window bounds.
    pub(crate) fn ahead(&self) -> usize {
        self.ready
            .iter()
            .map(|count| *count as usize)
            .sum::<usize>()
            + self.keys.waiting()
    }

    pub(crate) fn state(&self, offset: Offset) -> RecordState {
        if offset < self.low {
            return RecordState::Finished;
        }
        let Some(chunk) = self.slot(chunk_of(offset)) else {
            return RecordState::Waiting;
        };
        let ChunkSlot::Open(chunk) = chunk else {
            return RecordState::Finished;
        };
        let bit = bit_of(offset);
        if chunk.done.contains(bit) {
            RecordState::Finished
        } else if chunk.leased.contains(bit) {
            RecordState::Leased
        } else if chunk.parked.contains(bit) {
            RecordState::Parked
        } else {
            let ready = chunk.ready.iter().position(|bits| bits.contains(bit));
            ready.map_or(RecordState::Waiting, |level| {
                RecordState::Ready(level as u8)
            })
        }
    }

    /// Takes records out of the set they are in, wherever that is. `mask` holds no finished ones.
    pub(crate) fn take_out(&mut self, chunk: i64, word: usize, mask: u64) {
        let Some(ChunkSlot::Open(slot)) = slot_in(&mut self.chunks, self.first_chunk, chunk) else {
            return;
        };
        for (level, bits) in slot.ready.iter_mut().enumerate() {
            let taken = bits.word(word) & mask;
            if taken != 0 {
                bits.remove_word(word, taken);
                self.ready[level] -= taken.count_ones();
            }
        }
        let leased = take(&mut slot.leased, word, mask);
        if leased > 0 {
            self.leased -= leased;
            self.dying -= take(&mut slot.dying, word, mask);
        }
        self.parked -= take(&mut slot.parked, word, mask);
    }

    /// Makes records ready.
    pub(crate) fn make_ready(&mut self, chunk: i64, word: usize, mask: u64, priority: u8) {
        self.take_out(chunk, word, mask);
        self.ready_chunk = self.ready_chunk.min(chunk);
        if let Some(slot) = self.open_chunk(chunk) {
            slot.ready_mut(priority).insert_word(word, mask);
            self.ready[usize::from(priority)] += mask.count_ones();
        }
    }

    /// Parks records.
    pub(crate) fn park(&mut self, chunk: i64, word: usize, mask: u64) {
        self.take_out(chunk, word, mask);
        if let Some(slot) = self.open_chunk(chunk) {
            slot.parked.insert_word(word, mask);
            self.parked += u64::from(mask.count_ones());
        }
    }

    /// Marks records as leased.
    pub(crate) fn lease(&mut self, chunk: i64, word: usize, mask: u64) {
        self.take_out(chunk, word, mask);
        if let Some(slot) = self.open_chunk(chunk) {
            slot.leased.insert_word(word, mask);
            self.leased += u64::from(mask.count_ones());
        }
    }

    /// Holds records until they are buried.
    pub(crate) fn hold_dying(&mut self, chunk: i64, word: usize, mask: u64) {
        self.lease(chunk, word, mask);
        if let Some(slot) = self.open_chunk(chunk) {
            slot.dying.insert_word(word, mask);
            self.dying += u64::from(mask.count_ones());
        }
    }

    pub(crate) fn is_dying(&self, offset: Offset) -> bool {
        self.look(
            chunk_of(offset),
            |slot| slot.dying.contains(bit_of(offset)),
            false,
        )
    }

    /// Marks a record whose time to live is over.
    pub(crate) fn mark_overdue(&mut self, chunk: i64, word: usize, mask: u64) {
        if let Some(slot) = self.open_chunk(chunk) {
            slot.overdue.insert_word(word, mask);
        }
    }

    pub(crate) fn overdue(&self, chunk: i64, word: usize) -> u64 {
        self.look(chunk, |slot| slot.overdue.word(word), 0)
    }

    /// Those of `mask` that are finished.
    pub(crate) fn done(&self, chunk: i64, word: usize) -> u64 {
        self.look(chunk, |slot| slot.done.word(word), u64::MAX)
    }

    /// Those that are leased.
    pub(crate) fn leased_word(&self, chunk: i64, word: usize) -> u64 {
        self.look(chunk, |slot| slot.leased.word(word), 0)
    }

    /// Those that are parked.
    pub(crate) fn parked_word(&self, chunk: i64, word: usize) -> u64 {
        self.look(chunk, |slot| slot.parked.word(word), 0)
    }

    /// Those that are finished or that something is known of.
    pub(crate) fn known(&self, chunk: i64, word: usize) -> u64 {
        self.look(chunk, |slot| slot.known_word(word), u64::MAX)
    }

    /// Finishes records; says which of them were open.
    pub(crate) fn finish(&mut self, chunk: i64, word: usize, mask: u64) -> u64 {
        let newly = mask & !self.done(chunk, word);
        if newly == 0 {
            return 0;
        }
        self.take_out(chunk, word, newly);
        let Some(slot) = self.open_chunk(chunk) else {
            return 0;
        };
        slot.done.insert_word(word, newly);
        slot.overdue.remove_word(word, newly);
        let was_clean = slot.dirty == 0;
        slot.dirty |= 1 << (word as u32 * 64 / BLOCK);
        if was_clean {
            self.dirty_chunks.push(chunk);
        }
        self.done_beyond_low += u64::from(newly.count_ones());
        newly
    }

    /// Whether everything in `from..to` is finished.
    pub(crate) fn is_finished(&self, from: Offset, to: Offset) -> bool {
        chunks_of(from.max(self.low), to).all(|(chunk, first, last)| match self.slot(chunk) {
            None => false,
            Some(ChunkSlot::Finished) => true,
            Some(ChunkSlot::Open(slot)) => slot.done.contains_range(first, last),
        })
    }

    /// Forgets what was found out about records that are neither leased nor finished, so that they are looked at again.
    /// What `keeps` names stays parked.
    pub(crate) fn forget_looks<'a>(&mut self, keeps: impl Iterator<Item = &'a Part>) {
        for slot in &mut self.chunks {
            if let ChunkSlot::Open(slot) = slot {
                slot.ready.clear();
                slot.parked = Bits::default();
                slot.overdue = Bits::default();
            }
        }
        self.ready = [0; QUEUE_PRIORITIES];
        self.parked = 0;
        self.keys = KeyOrder::default();
        self.scan = self.low;
        self.scanning = false;
        let index = self.index;
        for part in keeps.filter(|part| part.partition == index) {
            for (word, mask) in part.run.words() {
                let chunk = part.run.chunk();
                let taken = self.done(chunk, word) | self.leased_word(chunk, word);
                self.park(chunk, word, mask & !taken);
            }
        }
    }

    /// Forgets what is known of the past of records that are finished.
    pub(crate) fn forget_history(&mut self, word: Word, writes: &mut Vec<Write>) {
        let run = Run::of_word(word.0, word.1, word.2);
        let mut history = std::mem::take(&mut self.history);
        let is_finished = |from, to| self.is_finished(from, to);
        history.forget_finished(self.index, &run, is_finished, writes);
        self.history = history;
    }

    fn look<T>(&self, chunk: i64, look: impl FnOnce(&Chunk) -> T, finished: T) -> T
    where
        T: Default,
    {
        if chunk < self.first_chunk {
            return finished;
        }
        match self.slot(chunk) {
            Some(ChunkSlot::Open(slot)) => look(slot),
            Some(ChunkSlot::Finished) => finished,
            None if chunk == self.first_chunk => look(&self.first_of_all()),
            None => T::default(),
        }
    }

    /// What the chunk that `low` is in would look like, were it there.
    fn first_of_all(&self) -> Chunk {
        Chunk::finished_up_to(bit_of(self.low))
    }

    pub(super) fn slot(&self, chunk: i64) -> Option<&ChunkSlot> {
        let index = usize::try_from(chunk - self.first_chunk).ok()?;
        self.chunks.get(index)
    }

    /// The chunk, made if need be; none if all of it is finished.
    pub(super) fn open_chunk(&mut self, chunk: i64) -> Option<&mut Chunk> {
        let index = usize::try_from(chunk - self.first_chunk).ok()?;
        if self.chunks.is_empty() {
            let first = Box::new(self.first_of_all());
            self.chunks.push_back(ChunkSlot::Open(first));
        }
        while self.chunks.len() <= index {
            self.chunks.push_back(ChunkSlot::Open(Box::default()));
        }
        match &mut self.chunks[index] {
            ChunkSlot::Open(slot) => Some(slot),
            ChunkSlot::Finished => None,
        }
    }

    pub(super) fn set_finished(&mut self, chunk: i64) {
        if let Some(slot) = slot_in(&mut self.chunks, self.first_chunk, chunk) {
            *slot = ChunkSlot::Finished;
        }
    }
}

pub(super) fn slot_in(
    chunks: &mut VecDeque<ChunkSlot>,
    first_chunk: i64,
    chunk: i64,
) -> Option<&mut ChunkSlot> {
    chunks.get_mut(usize::try_from(chunk - first_chunk).ok()?)
}

/// Removes those of `mask` that are in; how many that were.
fn take(bits: &mut Bits, word: usize, mask: u64) -> u64 {
    let taken = bits.word(word) & mask;
    if taken != 0 {
        bits.remove_word(word, taken);
    }
    taken.count_ones().into()
}
