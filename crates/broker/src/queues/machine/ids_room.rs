//! Room for the ids that queues remember: all queues of a broker share it, however many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_limits::QUEUE_DEDUP_IDS_MAX;

/// How many ids there may be, and how many there are.
#[derive(Debug)]
pub struct IdsRoom {
    ids_max: usize,
    taken: AtomicUsize,
}

impl IdsRoom {
    /// Room for so many ids.
    pub fn for_ids(ids_max: usize) -> Self {
        Self {
            ids_max,
            taken: AtomicUsize::new(0),
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

    /// Takes one. Whether there was one.
    pub(crate) fn take(&mut self) -> bool {
        let before = self.room.taken.fetch_add(1, Ordering::Relaxed);
        if before >= self.room.ids_max {
            self.room.taken.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.taken += 1;
        true
    }

    /// Takes so many, whether they are there or not: [`Self::are_too_many`] says it.
    pub(crate) fn take_anyway(&mut self, places: usize) {
        self.room.taken.fetch_add(places, Ordering::Relaxed);
        self.taken += places;
    }

    /// Whether more are taken than there are.
    pub(crate) fn are_too_many(&self) -> bool {
        self.room.taken.load(Ordering::Relaxed) > self.room.ids_max
    }

    pub(crate) fn give_back(&mut self, places: usize) {
        debug_assert!(places <= self.taken, "what is given back was taken");
        self.room.taken.fetch_sub(places, Ordering::Relaxed);
        self.taken -= places;
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.give_back(self.taken);
    }
}
