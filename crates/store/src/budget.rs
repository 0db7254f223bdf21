//! The memory that a slot may use for records.
//!
//! Counted is what is really held: batches that wait for the journal, the capacity of the buffers that tails point into,
//! however little of one is still needed, and the batches of memory partitions. Buffers whose content has been settled are a cache that gives way
//! when room is needed. Against the rest producers are admitted, and wait while it is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use tokio::sync::Notify;

/// One slot's memory.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: usize,
    /// Buffers of the journal.
    buffers: AtomicUsize,
    /// The part of `buffers` that can be given up at any time.
    evictable: AtomicUsize,
    /// Batches of memory partitions, those that wait for the journal among them.
    memory_partitions: AtomicUsize,
    /// Batches that are sequenced and not yet in a buffer.
    queued: AtomicUsize,
    /// What producers were admitted with and have not committed yet.
    admitted: AtomicUsize,
    /// Nobody waits, because waiting would not help: the slot is failed, stopped or out of disk.
    open: AtomicBool,
    waiters: AtomicUsize,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            buffers: AtomicUsize::new(0),
            evictable: AtomicUsize::new(0),
            memory_partitions: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            admitted: AtomicUsize::new(0),
            open: AtomicBool::new(false),
            waiters: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// What it is set to.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// What is held, cache included.
    pub(crate) fn held_bytes(&self) -> usize {
        self.buffers.load(Ordering::Relaxed) + self.memory_partitions.load(Ordering::Relaxed)
    }

    /// The part of what is held that is cache.
    pub(crate) fn evictable_bytes(&self) -> usize {
        self.evictable.load(Ordering::Relaxed)
    }

    /// Producers that wait at this moment.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    /// Whether more is held than should be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.held_bytes() > self.limit_bytes
    }

    /// Counts a new buffer.
    pub(crate) fn add_buffer(&self, bytes: usize) {
        self.buffers.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A buffer is gone.
    pub(crate) fn remove_buffer(&self, bytes: usize) {
        self.buffers.fetch_sub(bytes, Ordering::Relaxed);
        self.notify();
    }

    /// Says how much of the buffers is cache.
    pub(crate) fn set_evictable(&self, bytes: usize) {
        self.evictable.store(bytes, Ordering::Relaxed);
        self.notify();
    }

    /// Batches that wait for the journal.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Counts what a memory partition holds more.
    pub(crate) fn add_memory(&self, bytes: usize) {
        self.memory_partitions.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what a memory partition holds less.
    pub(crate) fn remove_memory(&self, bytes: usize) {
        self.memory_partitions.fetch_sub(bytes, Ordering::Relaxed);
        self.notify();
    }

    /// Counts batches that wait for the journal.
    pub(crate) fn add_queued(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They are in a buffer now.
    pub(crate) fn remove_queued(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.notify();
    }

    /// Whether memory partitions together hold as much as they may: half of the whole, so that there is always room for
    /// what the journal has to move.
    pub(crate) fn memory_partitions_full(&self, more_bytes: usize) -> bool {
        self.memory_partitions.load(Ordering::Relaxed) + more_bytes > self.limit_bytes / 2
    }

    /// Whether a producer waits at this moment.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// With `true`, admits everybody from now on.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
        self.notify();
    }

    /// Waits until `bytes` fit. What is larger than the whole budget fits when nothing else is admitted. Before it waits
    /// it tells whoever can free memory.
    pub(crate) async fn admit(self: Arc<Self>, bytes: usize, ask: impl FnOnce()) -> Admission {
        if !self.try_admit(bytes) {
            let _waiting = Waiting::new(&self);
            ask();
            loop {
                let freed = self.freed.notified();
                if self.try_admit(bytes) {
                    break;
                }
                freed.await;
            }
        }
        Admission {
            bytes,
            budget: self,
        }
    }

    fn try_admit(&self, bytes: usize) -> bool {
        let mut admitted = self.admitted.load(Ordering::Relaxed);
        loop {
            let held = self.held_bytes() + self.queued.load(Ordering::Relaxed);
            let pinned = held.saturating_sub(self.evictable.load(Ordering::Relaxed));
            let fits = pinned + admitted + bytes <= self.limit_bytes
                || (admitted == 0 && pinned < self.limit_bytes / 2)
                || self.open.load(Ordering::Relaxed);
            if !fits {
                return false;
            }
            match self.admitted.compare_exchange_weak(
                admitted,
                admitted + bytes,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => admitted = now,
            }
        }
    }

    fn notify(&self) {
        // With the fence in `Waiting::new`: either this sees the waiter, or the waiter sees the room.
        fence(Ordering::SeqCst);
        if self.has_waiters() {
            self.freed.notify_waiters();
        }
    }
}

struct Waiting<'a>(&'a Budget);

impl<'a> Waiting<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Leave to bring some bytes into the slot's memory; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    bytes: usize,
    budget: Arc<Budget>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.budget.admitted.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn producers_wait_for_room() {
        let budget = Arc::new(Budget::new(100));
        let first = Arc::clone(&budget).admit(60, || ()).await;
        let asked = Arc::new(AtomicBool::new(false));
        let ask = {
            let asked = Arc::clone(&asked);
            move || asked.store(true, Ordering::Relaxed)
        };
        let second = tokio::spawn(Arc::clone(&budget).admit(60, ask));
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        assert!(
            asked.load(Ordering::Relaxed),
            "somebody is told that it waits"
        );
        drop(first);
        drop(second.await.unwrap());
    }

    #[tokio::test]
    async fn cache_is_no_reason_to_wait() {
        let budget = Arc::new(Budget::new(100));
        budget.add_buffer(100);
        let waiting = tokio::spawn(Arc::clone(&budget).admit(60, || ()));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        budget.set_evictable(70);
        drop(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn what_can_never_fit_goes_alone() {
        let budget = Arc::new(Budget::new(100));
        drop(Arc::clone(&budget).admit(1000, || ()).await);
    }
}
