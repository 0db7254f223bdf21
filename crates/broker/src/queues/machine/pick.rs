//! Finding the records that are next: for a lease, or because the queue is too long.

use millstream_record::Offset;
use smallvec::SmallVec;

use super::bits::{lowest, words_of};
use super::chunk::{Chunk, ChunkSlot};
use super::flow::Word;
use super::partition::{Partition, slot_in};
use super::run::{Part, chunks_of, gather};

impl Partition {
    /// Moves up to `count` ready records of a priority, the oldest first, into a lease.
    pub(crate) fn take_ready<A: smallvec::Array<Item = Part>>(
        &mut self,
        priority: u8,
        mut count: u32,
        parts: &mut SmallVec<A>,
    ) {
        let mut chunk = self.ready_chunk.max(self.first_chunk);
        while count > 0 && self.ready[usize::from(priority)] > 0 {
            let Some(slot) = slot_in(&mut self.chunks, self.first_chunk, chunk) else {
                break;
            };
            if let ChunkSlot::Open(slot) = slot
                && slot.ready.len() > usize::from(priority)
            {
                let taken = move_to_lease(slot, priority, count, |word, mask| {
                    gather(parts, (self.index, priority), (chunk, word, mask));
                });
                self.ready[usize::from(priority)] -= taken;
                self.leased += u64::from(taken);
                count -= taken;
            }
            chunk += 1;
        }
        self.ready_chunk = self.first_ready_chunk();
    }

    fn first_ready_chunk(&self) -> i64 {
        if self.ready.iter().all(|count| *count == 0) {
            return i64::MAX;
        }
        let mut chunk = self.ready_chunk.max(self.first_chunk);
        while let Some(slot) = self.slot(chunk) {
            if matches!(slot, ChunkSlot::Open(slot) if slot.ready.iter().any(|bits| !bits.is_empty()))
            {
                break;
            }
            chunk += 1;
        }
        chunk
    }

    /// Words with records that are neither finished nor leased, the oldest first, up to `to`.
    pub(crate) fn idle_words(&self, to: Offset) -> impl Iterator<Item = Word> + '_ {
        chunks_of(self.low, to).flat_map(move |(chunk, first, last)| {
            let is_finished = matches!(self.slot(chunk), Some(ChunkSlot::Finished));
            words_of(first, if is_finished { first } else { last }).filter_map(
                move |(word, mask)| {
                    let taken = match self.slot(chunk) {
                        Some(ChunkSlot::Open(slot)) => {
                            slot.done.word(word) | slot.leased.word(word)
                        }
                        _ => 0,
                    };
                    (mask & !taken != 0).then_some((chunk, word, mask & !taken))
                },
            )
        })
    }
}

fn move_to_lease(
    slot: &mut Chunk,
    priority: u8,
    mut count: u32,
    mut each: impl FnMut(usize, u64),
) -> u32 {
    let mut taken = 0;
    let mut from = 0;
    while count > 0 {
        let ready = &mut slot.ready[usize::from(priority)];
        let next = ready.words_from(from).next();
        let Some((word, mask)) = next else { break };
        let mask = lowest(mask, count);
        ready.remove_word(word, mask);
        slot.leased.insert_word(word, mask);
        each(word, mask);
        count -= mask.count_ones();
        taken += mask.count_ones();
        from = word + 1;
    }
    taken
}
