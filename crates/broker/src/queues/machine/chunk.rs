//! What is known of the records of one chunk.

use smallvec::SmallVec;

use super::bits::{BLOCK, BLOCKS, Bits, CHUNK};

/// Sets that never share an offset: an open record that has been looked at is in exactly one of ready, leased and
/// parked, a finished one only in done. In none of them is what has not been looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Finished: acknowledged, expired, dead, dropped or never there.
    pub(crate) done: Bits,
    /// Delivered, and the lease has not ended; or held for its burial.
    pub(crate) leased: Bits,
    /// Waiting for a time, or for its key.
    pub(crate) parked: Bits,
    /// Ready to be delivered, for each priority from 0 as far as any was needed.
    pub(crate) ready: SmallVec<[Bits; 1]>,
    /// Those that are leased because they wait for their burial.
    pub(crate) dying: Bits,
    /// Beside one of the above: its time to live ended while it could not be touched.
    pub(crate) overdue: Bits,
    /// Blocks in which `done` changed since it was written down.
    pub(crate) dirty: u64,
    /// Blocks that are written down.
    pub(crate) stored: u64,
}

/// A chunk, or that nothing in it matters any more.
#[derive(Debug)]
pub(crate) enum ChunkSlot {
    /// All of it is finished, and that is written down.
    Finished,
    Open(Box<Chunk>),
}

impl Chunk {
    /// A chunk whose first offsets are finished.
    pub(crate) fn finished_up_to(bit: u32) -> Self {
        Self {
            done: Bits::first(bit),
            // What an earlier life of this chunk wrote of the block that `bit` is in may still be there.
            stored: if bit.is_multiple_of(BLOCK) {
                0
            } else {
                1 << (bit / BLOCK)
            },
            ..Self::default()
        }
    }

    pub(crate) fn ready_mut(&mut self, priority: u8) -> &mut Bits {
        let level = usize::from(priority);
        if self.ready.len() <= level {
            self.ready.resize_with(level + 1, Bits::default);
        }
        &mut self.ready[level]
    }

    /// The offsets of a word that are in one of the sets.
    pub(crate) fn known_word(&self, word: usize) -> u64 {
        let ready = self
            .ready
            .iter()
            .fold(0, |mask, bits| mask | bits.word(word));
        ready | self.done.word(word) | self.leased.word(word) | self.parked.word(word)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let spilled = if self.ready.spilled() {
            self.ready.capacity() * size_of::<Bits>()
        } else {
            0
        };
        let bits = [
            &self.done,
            &self.leased,
            &self.parked,
            &self.dying,
            &self.overdue,
        ];
        let bits = bits.into_iter().chain(&self.ready);
        size_of::<Self>() + spilled + bits.map(Bits::heap_bytes).sum::<usize>()
    }
}

/// The blocks of a chunk that lie whole before an offset of it.
pub(crate) fn blocks_before(bit: u32) -> u64 {
    match bit / BLOCK {
        blocks if blocks as usize >= BLOCKS => u64::MAX,
        blocks => (1 << blocks) - 1,
    }
}

const _: () = assert!(BLOCK as usize * BLOCKS == CHUNK as usize);
