//! A partition's progress: the low-water mark, what is written down of it, and what retention may drop.

use std::collections::VecDeque;
use std::ops::Range;

use millstream_record::Offset;

use super::bits::{BLOCK, BLOCK_WORDS, BlockBits, CHUNK, ones, stretches, words_of};
use super::chunk::{Chunk, ChunkSlot, blocks_before};
use super::partition::{Partition, slot_in};
use super::run::{bit_of, chunk_of, chunks_of, offset_at};
use super::write::Write;
use crate::queues::ids::PartitionIndex;

impl Partition {
    /// Takes over what is written down of finished blocks.
    pub(crate) fn load_block(&mut self, block: i64, bits: &BlockBits) {
        let from = Offset(block * i64::from(BLOCK));
        if from >= self.end {
            return;
        }
        let chunk = chunk_of(from);
        let index = (bit_of(from) / BLOCK) as usize;
        for (position, mask) in bits.iter().enumerate() {
            let word = index * BLOCK_WORDS + position;
            self.finish(chunk, word, *mask & self.within_end(chunk, word));
        }
        if let Some(slot) = self.open_chunk(chunk) {
            slot.stored |= 1 << index;
        }
    }

    /// The offsets of a word that are before the end. What is written down of others cannot be meant.
    pub(crate) fn within_end(&self, chunk: i64, word: usize) -> u64 {
        let first = offset_at(chunk, word as u32 * 64);
        match self.end - first {
            i64::MIN..=0 => 0,
            offsets @ 1..64 => u64::MAX >> (64 - offsets),
            _ => u64::MAX,
        }
    }

    /// Takes over that a chunk was written down as finished.
    pub(crate) fn load_finished(&mut self, chunk: i64) {
        if offset_at(chunk + 1, 0) > self.end {
            return;
        }
        if self.open_chunk(chunk).is_some() {
            self.set_finished(chunk);
            self.done_beyond_low += u64::from(CHUNK);
        }
    }

    /// All was loaded. It is not to be written again, except what no longer matters.
    pub(crate) fn loaded(&mut self, writes: &mut Vec<Write>) {
        for chunk in std::mem::take(&mut self.dirty_chunks) {
            if let Some(ChunkSlot::Open(slot)) = slot_in(&mut self.chunks, self.first_chunk, chunk)
            {
                slot.dirty = 0;
            }
        }
        self.advance_low(writes);
    }

    /// Moves the low-water mark and says what has to be written down since the last time. An event calls it once.
    pub(crate) fn flush(&mut self, writes: &mut Vec<Write>) {
        if self.dirty_chunks.is_empty() {
            return;
        }
        self.advance_low(writes);
        for chunk in std::mem::take(&mut self.dirty_chunks) {
            self.flush_chunk(chunk, writes);
        }
        if self.low.get() / i64::from(BLOCK) != self.stored_low.get() / i64::from(BLOCK) {
            self.write_low(writes);
        }
    }

    /// Writes the low-water mark down.
    pub(crate) fn write_low(&mut self, writes: &mut Vec<Write>) {
        self.stored_low = self.low;
        writes.push(Write::Cursor {
            partition: self.index,
            low: self.low,
        });
    }

    /// Raises the low-water mark to `to`, whatever was open below. Says how many records that were.
    pub(crate) fn cut(&mut self, to: Offset, writes: &mut Vec<Write>) -> u64 {
        if to <= self.low {
            return 0;
        }
        self.end = self.end.max(to);
        let mut lost = 0;
        // Chunks that were never touched are not made just to be dropped.
        let touched = offset_at(self.first_chunk + self.chunks.len() as i64, 0);
        for (chunk, first, last) in chunks_of(self.low, to.min(touched)) {
            for (word, mask) in words_of(first, last) {
                lost += u64::from(self.finish(chunk, word, mask).count_ones());
            }
        }
        if touched < to {
            let untouched = to - self.low.max(touched);
            lost += untouched as u64;
            self.drop_chunks_below(i64::MAX, writes);
            self.done_beyond_low = 0;
            self.first_chunk = chunk_of(to);
            self.low = to;
        }
        self.scan = self.scan.max(to);
        self.advance_low(writes);
        self.history.forget_below(self.index, self.low, writes);
        self.write_low(writes);
        self.flush(writes);
        lost
    }

    /// Gives back the memory of a partition in which everything is finished.
    pub(crate) fn rest(&mut self) {
        if self.low == self.end && self.scan == self.end && self.dirty_chunks.is_empty() {
            self.chunks = VecDeque::new();
            self.first_chunk = chunk_of(self.low);
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let open = self.chunks.iter().map(|slot| match slot {
            ChunkSlot::Finished => 0,
            ChunkSlot::Open(chunk) => chunk.heap_bytes(),
        });
        self.chunks.capacity() * size_of::<ChunkSlot>()
            + open.sum::<usize>()
            + self.history.heap_bytes()
            + self.keys.heap_bytes()
    }

    /// Ranges of finished records from `from` on, as they lie, up to `to`.
    pub(crate) fn finished_ranges(&self, from: Offset, to: Offset) -> Vec<Range<Offset>> {
        let mut ranges: Vec<Range<Offset>> = Vec::new();
        let mut add = |start: Offset, end: Offset| match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        };
        if from < self.low.min(to) {
            add(from, self.low.min(to));
        }
        for (chunk, first, last) in chunks_of(from.max(self.low), to) {
            match self.slot(chunk) {
                None => break,
                Some(ChunkSlot::Finished) => add(offset_at(chunk, first), offset_at(chunk, last)),
                Some(ChunkSlot::Open(slot)) => {
                    for (word, mask) in words_of(first, last) {
                        for (from, to) in stretches(slot.done.word(word) & mask) {
                            let first = word as u32 * 64;
                            add(offset_at(chunk, first + from), offset_at(chunk, first + to));
                        }
                    }
                }
            }
        }
        ranges
    }

    fn advance_low(&mut self, writes: &mut Vec<Write>) {
        loop {
            let chunk = chunk_of(self.low);
            let next = match self.slot(chunk) {
                None => break,
                Some(ChunkSlot::Finished) => None,
                Some(ChunkSlot::Open(slot)) => slot.done.first_absent(bit_of(self.low)),
            };
            let next = next.map_or(offset_at(chunk + 1, 0), |bit| offset_at(chunk, bit));
            if next == self.low {
                break;
            }
            self.done_beyond_low -= (next - self.low) as u64;
            self.low = next;
            self.drop_chunks_below(chunk_of(next), writes);
        }
        self.scan = self.scan.max(self.low);
        let low = bit_of(self.low);
        let index = self.index;
        if let Some(ChunkSlot::Open(slot)) = self.chunks.front_mut() {
            let passed = blocks_before(low);
            slot.dirty &= !passed;
            drop_blocks(index, self.first_chunk, slot, passed, writes);
        }
        self.history.forget_below(index, self.low, writes);
    }

    fn drop_chunks_below(&mut self, chunk: i64, writes: &mut Vec<Write>) {
        while self.first_chunk < chunk {
            match self.chunks.pop_front() {
                None => break,
                Some(ChunkSlot::Finished) => writes.push(Write::DropFinished {
                    partition: self.index,
                    chunk: self.first_chunk,
                }),
                Some(ChunkSlot::Open(mut slot)) => {
                    drop_blocks(self.index, self.first_chunk, &mut slot, u64::MAX, writes);
                }
            }
            self.first_chunk += 1;
        }
    }

    fn flush_chunk(&mut self, chunk: i64, writes: &mut Vec<Write>) {
        let partition = self.index;
        let Some(ChunkSlot::Open(slot)) = slot_in(&mut self.chunks, self.first_chunk, chunk) else {
            return;
        };
        let dirty = std::mem::take(&mut slot.dirty);
        if slot.done.is_full() {
            drop_blocks(partition, chunk, slot, u64::MAX, writes);
            writes.push(Write::Finished { partition, chunk });
            self.set_finished(chunk);
            return;
        }
        for index in ones(dirty) {
            slot.stored |= 1 << index;
            writes.push(Write::Block {
                partition,
                block: chunk * i64::from(CHUNK / BLOCK) + i64::from(index),
                done: slot.done.block(index as usize),
            });
        }
    }
}

fn drop_blocks(
    partition: PartitionIndex,
    chunk: i64,
    slot: &mut Chunk,
    blocks: u64,
    writes: &mut Vec<Write>,
) {
    for index in ones(slot.stored & blocks) {
        writes.push(Write::DropBlock {
            partition,
            block: chunk * i64::from(CHUNK / BLOCK) + i64::from(index),
        });
    }
    slot.stored &= !blocks;
}
