//! The memory that groups are encoded in, and that tails are slices of.
//!
//! A buffer of a few megabytes takes groups until it is full, then it is *retired*: it stays for as long as a tail
//! points into it. Retired buffers whose content has been settled are a cache, which gives way oldest first when a new
//! buffer would not fit the budget. A buffer that nobody points into any more is used again, its pages warm.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use millstream_env::{DIRECT_ALIGNMENT, aligned_buffer};
use parking_lot::Mutex;

use crate::budget::Budget;
use crate::ids::JournalPosition;
use crate::partition::Partition;

/// A buffer that takes no more groups.
struct Retired {
    /// The handle by which its memory is taken back; none for what recovery has read.
    memory: Option<BytesMut>,
    capacity: usize,
    /// The end of what it holds.
    end: JournalPosition,
    /// Who has batches in it.
    partitions: Vec<Arc<Partition>>,
}

/// Retired buffers, shared by the journal's writer, which takes them back, and the settler, which frees them to be taken.
pub(crate) struct Retirees {
    budget: Arc<Budget>,
    inner: Mutex<RetireesInner>,
}

#[derive(Default)]
struct RetireesInner {
    /// Oldest first.
    held: VecDeque<Retired>,
    /// No tail points into these any more; a reader may.
    released: Vec<(BytesMut, usize)>,
    /// Everything before this is in packs.
    settled: JournalPosition,
}

impl Retirees {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            inner: Mutex::default(),
        }
    }

    /// Says that everything before `position` is in packs.
    pub(crate) fn set_settled(&self, position: JournalPosition) {
        let mut inner = self.inner.lock();
        inner.settled = position;
        self.count_evictable(&inner);
    }

    /// Takes in a buffer that recovery has read and that ends at `end`.
    pub(crate) fn adopt(
        &self,
        capacity: usize,
        end: JournalPosition,
        partitions: Vec<Arc<Partition>>,
    ) {
        self.budget.add_buffer(capacity);
        self.retire(Retired {
            memory: None,
            capacity,
            end,
            partitions,
        });
    }

    /// Gives memory back to the system that nobody points into and that is beyond the budget.
    pub(crate) fn trim(&self) {
        let mut inner = self.inner.lock();
        let budget = &self.budget;
        inner.released.retain_mut(|(memory, capacity)| {
            let free = budget.is_exceeded() && memory.try_reclaim(*capacity);
            if free {
                budget.remove_buffer(*capacity);
            }
            !free
        });
    }

    fn retire(&self, retired: Retired) {
        let mut inner = self.inner.lock();
        match retired.memory {
            // No tail ever points into it.
            Some(memory) if retired.partitions.is_empty() => {
                inner.released.push((memory, retired.capacity));
            }
            _ => inner.held.push_back(retired),
        }
        self.count_evictable(&inner);
    }

    fn count_evictable(&self, inner: &RetireesInner) {
        let settled = inner.settled;
        let cache = inner
            .held
            .iter()
            .take_while(|retired| retired.end <= settled);
        self.budget
            .set_evictable(cache.map(|retired| retired.capacity).sum());
    }

    /// Memory of `capacity` bytes: taken back where possible, new otherwise.
    fn take(&self, capacity: usize) -> BytesMut {
        let whole = capacity + DIRECT_ALIGNMENT;
        let mut inner = self.inner.lock();
        if let Some(memory) = inner.take_released(whole) {
            return memory;
        }
        for retired in self.evict_for(&mut inner, whole) {
            for partition in &retired.partitions {
                partition.evict_before(retired.end);
            }
            match retired.memory {
                Some(memory) => inner.released.push((memory, retired.capacity)),
                None => self.budget.remove_buffer(retired.capacity),
            }
        }
        self.count_evictable(&inner);
        inner.take_released(whole).unwrap_or_else(|| {
            self.budget.add_buffer(whole);
            aligned_buffer(capacity)
        })
    }

    /// Picks the cached buffers that have to go for `bytes` more to fit.
    fn evict_for(&self, inner: &mut RetireesInner, bytes: usize) -> Vec<Retired> {
        let mut evicted = Vec::new();
        let mut freed = 0;
        while self.budget.held_bytes() + bytes > self.budget.limit_bytes() + freed {
            match inner.held.front() {
                Some(oldest) if oldest.end <= inner.settled => {
                    freed += oldest.capacity;
                    evicted.extend(inner.held.pop_front());
                }
                _ => break,
            }
        }
        evicted
    }
}

impl RetireesInner {
    /// Memory of `whole` bytes that nobody points into any more.
    fn take_released(&mut self, whole: usize) -> Option<BytesMut> {
        let at = self
            .released
            .iter_mut()
            .position(|(memory, capacity)| *capacity == whole && memory.try_reclaim(whole))?;
        Some(realign(self.released.swap_remove(at).0))
    }
}

/// Starts a buffer that was taken back at its first aligned byte again.
fn realign(mut memory: BytesMut) -> BytesMut {
    let skip = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
    memory.resize(skip, 0);
    memory.advance(skip);
    memory
}

/// Where the writer encodes groups.
pub(crate) struct Arena {
    retirees: Arc<Retirees>,
    buffer_bytes: usize,
    current: BytesMut,
    /// What `current` counts for in the budget; 0 before the first group.
    current_capacity: usize,
    partitions: Vec<Arc<Partition>>,
    end: JournalPosition,
    number: u64,
}

impl Arena {
    /// An arena of buffers of `buffer_bytes`, the first of which is taken by the first group. Buffers up to `number` have
    /// been used by recovery.
    pub(crate) fn new(retirees: Arc<Retirees>, buffer_bytes: usize, number: u64) -> Self {
        Self {
            retirees,
            buffer_bytes,
            current: BytesMut::new(),
            current_capacity: 0,
            partitions: Vec::new(),
            end: JournalPosition::ZERO,
            number,
        }
    }

    /// How much the next group may take without wasting the rest of a buffer, if `least` bytes of it are enough.
    pub(crate) fn room(&self, least: usize) -> usize {
        let left = self.left();
        if left >= least {
            left
        } else {
            self.buffer_bytes.max(least)
        }
    }

    /// An empty, aligned buffer that takes `bytes` without moving.
    pub(crate) fn start(&mut self, bytes: usize) -> &mut BytesMut {
        if self.left() < bytes {
            self.retire();
            let capacity = self.buffer_bytes.max(bytes);
            self.current = self.retirees.take(capacity);
            self.current_capacity = capacity + DIRECT_ALIGNMENT;
            self.number += 1;
        }
        &mut self.current
    }

    /// Takes the group that has been encoded, which ends at `end`.
    pub(crate) fn finish(&mut self, end: JournalPosition) -> Bytes {
        self.end = end;
        self.current.split().freeze()
    }

    /// The number of the buffer in use.
    pub(crate) fn buffer(&self) -> u64 {
        self.number
    }

    /// Notes that `partition` has a batch in the buffer in use.
    pub(crate) fn note(&mut self, partition: &Arc<Partition>) {
        self.partitions.push(Arc::clone(partition));
    }

    fn left(&self) -> usize {
        self.current.capacity() - self.current.len()
    }

    fn retire(&mut self) {
        if self.current_capacity == 0 {
            return;
        }
        self.retirees.retire(Retired {
            memory: Some(std::mem::take(&mut self.current)),
            capacity: self.current_capacity,
            end: self.end,
            partitions: std::mem::take(&mut self.partitions),
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use millstream_record::Offset;

    use super::*;
    use crate::epochs::Epochs;
    use crate::ids::PartitionId;
    use crate::media::MemoryBlobs;
    use crate::pack::PackSet;
    use crate::partition::PartitionOrigin;
    use crate::policy::Durability;

    fn fill(arena: &mut Arena, bytes: usize, end: u64) -> Bytes {
        let buffer = arena.start(bytes);
        buffer.put_bytes(1, bytes);
        arena.finish(JournalPosition(end))
    }

    /// The same, with a batch of a partition in it.
    fn fill_with_batch(arena: &mut Arena, bytes: usize, end: u64) -> Bytes {
        arena.start(bytes);
        arena.note(&partition(&arena.retirees.budget));
        fill(arena, bytes, end)
    }

    fn partition(budget: &Arc<Budget>) -> Arc<Partition> {
        let origin = PartitionOrigin {
            id: PartitionId(1),
            durability: Durability::Fsync,
            leader_epoch: Arc::default(),
            log_start: Offset::ZERO,
            next_offset: Offset::ZERO,
            settled: Offset::ZERO,
            epochs: Epochs::default(),
            policy: None,
        };
        let packs = PackSet::new(Arc::new(MemoryBlobs::default()), std::iter::empty());
        Arc::new(Partition::new(origin, Arc::new(packs), Arc::clone(budget)))
    }

    #[test]
    fn buffers_are_used_again_once_settled_and_dropped() {
        let budget = Arc::new(Budget::new(3 * (8192 + DIRECT_ALIGNMENT)));
        let retirees = Arc::new(Retirees::new(Arc::clone(&budget)));
        let mut arena = Arena::new(Arc::clone(&retirees), 8192, 0);
        let groups: Vec<_> = (1..=6)
            .map(|end| fill_with_batch(&mut arena, 4096, end))
            .collect();
        assert!(
            groups
                .iter()
                .all(|group| millstream_env::is_aligned(group, 0))
        );
        assert_eq!(arena.buffer(), 3);
        assert_eq!(budget.held_bytes(), budget.limit_bytes());
        let first = groups[0].as_ptr();

        retirees.set_settled(JournalPosition(2));
        drop(groups);
        let again = fill(&mut arena, 4096, 7);
        assert_eq!(again.as_ptr(), first);
        assert_eq!(arena.buffer(), 4);
        assert_eq!(budget.held_bytes(), budget.limit_bytes());
    }

    #[test]
    fn what_is_not_settled_stays() {
        let budget = Arc::new(Budget::new(8192 + DIRECT_ALIGNMENT));
        let retirees = Arc::new(Retirees::new(Arc::clone(&budget)));
        let mut arena = Arena::new(retirees, 8192, 0);
        drop(fill_with_batch(&mut arena, 8192, 1));
        drop(fill_with_batch(&mut arena, 8192, 2));
        assert!(budget.is_exceeded());
    }

    #[test]
    fn what_holds_no_batches_is_used_again_at_once() {
        let budget = Arc::new(Budget::new(2 * (8192 + DIRECT_ALIGNMENT)));
        let retirees = Arc::new(Retirees::new(Arc::clone(&budget)));
        let mut arena = Arena::new(retirees, 8192, 0);
        for end in 1..20 {
            // The writer has a group as long as it takes to write it, while the next is composed.
            let being_written = fill(&mut arena, 8192, 2 * end);
            drop(fill(&mut arena, 8192, 2 * end + 1));
            drop(being_written);
        }
        assert_eq!(budget.held_bytes(), budget.limit_bytes());
    }
}
