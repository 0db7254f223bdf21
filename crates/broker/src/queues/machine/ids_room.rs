//! Room for the ids that queues remember: all queues of a broker share it, however many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_limits::QUEUE_DEDUP_IDS_MAX;

/// How many ids there may be, how many there are, and of how many queues.
///
/// Where they are too many, each queue has a share, the same for all that remember any. One that has less takes a place all
/// the same, and those that have more give theirs up as they go on: no queue keeps the others from deduplicating. Until
/// then there may be more ids, at most twice as many.
#[derive(Debug)]
pub struct IdsRoom {
    ids_max: usize,
    taken: AtomicUsize,
    queues: AtomicUsize,
}

impl IdsRoom {
    /// Room for so many ids.
    pub fn for_ids(ids_max: usize) -> Self {
        Self {
            ids_max,
            taken: AtomicUsize::new(0),
            queues: AtomicUsize::new(0),
        }
    }
}

impl Default for IdsRoom {
    fn default() -> Self {
        Self::for_ids(QUEUE_DEDUP_IDS_MAX)
    }
}

/// What one queue has of it. It gives that back when it goes.
#[derive(Debug)]
pub(crate) struct Places {
    room: Arc<IdsRoom>,
    taken: usize,
}

impl Places {
    pub(crate) fn none_yet(room: Arc<IdsRoom>) -> Self {
        Self { room, taken: 0 }
    }

    /// Takes one. Whether there was one for this queue.
    pub(crate) fn take(&mut self) -> bool {
        let taken = self.room.taken.load(Ordering::Relaxed);
        let ids_max = self.room.ids_max;
        let is_free = taken < ids_max || (taken < 2 * ids_max && self.taken < self.share());
        if is_free {
            self.take_anyway(1);
        }
        is_free
    }

    /// Takes so many, whether they are there or not: [`Self::are_too_many`] says it.
    pub(crate) fn take_anyway(&mut self, places: usize) {
        if self.taken == 0 && places > 0 {
            self.room.queues.fetch_add(1, Ordering::Relaxed);
        }
        self.room.taken.fetch_add(places, Ordering::Relaxed);
        self.taken += places;
    }

    /// Whether more are taken than there are, and this queue has more than its share.
    pub(crate) fn are_too_many(&self) -> bool {
        self.room.taken.load(Ordering::Relaxed) > self.room.ids_max && self.taken > self.share()
    }

    pub(crate) fn give_back(&mut self, places: usize) {
        debug_assert!(places <= self.taken, "what is given back was taken");
        if self.taken == places && places > 0 {
            self.room.queues.fetch_sub(1, Ordering::Relaxed);
        }
        self.room.taken.fetch_sub(places, Ordering::Relaxed);
        self.taken -= places;
    }

    fn share(&self) -> usize {
        let others = self.room.queues.load(Ordering::Relaxed) - usize::from(self.taken > 0);
        self.room.ids_max / (others + 1)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.give_back(self.taken);
    }
}
