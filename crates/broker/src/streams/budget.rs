//! The memory that answers to readers may hold together.
//!
//! What a fetch has read stays in memory until the reader has taken it, and a reader may take its time over that, or
//! never do it. Every answer therefore claims its bytes from one budget before it reads them. As the budget runs low
//! answers get smaller; when it is spent, fetches wait in the order they came, holding nothing meanwhile. Whoever
//! hands answers to readers learns from [`Broker::readers_wait`](crate::Broker::readers_wait) that slow ones are in the
//! way.
//!
//! Batches that a log has in memory count as if they were copies: an answer may outlive the log's own reference.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_limits::ANSWER_BYTES_MIN;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// One permit stands for this many bytes, so that a semaphore's `u32` counts reach any budget.
const UNIT_BYTES: usize = 1 << 10;

/// No answer takes more than this part of what is free, so that there is always something left for the next.
const SHARE_PART: usize = 4;

/// The budget of all readers; cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct ReadBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    units: Arc<Semaphore>,
    units_max: usize,
    waiting: AtomicUsize,
    short: Notify,
}

/// The memory that an answer holds, nothing by default; given back when it is dropped, so keep it for as long as the
/// bytes.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl ReadBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = (bytes / UNIT_BYTES).clamp(1, u32::MAX as usize >> 3);
        Self {
            inner: Arc::new(Inner {
                units: Arc::new(Semaphore::new(units_max)),
                units_max,
                waiting: AtomicUsize::new(0),
                short: Notify::new(),
            }),
        }
    }

    /// What is held, and the whole budget.
    pub(crate) fn use_bytes(&self) -> (usize, usize) {
        let free = self.inner.units.available_permits();
        let held = self.inner.units_max.saturating_sub(free);
        (held * UNIT_BYTES, self.inner.units_max * UNIT_BYTES)
    }

    /// What one more answer may take of what is free.
    pub(crate) fn share_bytes(&self) -> usize {
        let free_bytes = self.inner.units.available_permits() * UNIT_BYTES;
        (free_bytes / SHARE_PART).max(ANSWER_BYTES_MIN)
    }

    /// Waits until `bytes` are free. More than the whole budget counts as all of it.
    pub(crate) async fn wait(&self, bytes: usize) -> Held {
        let _waiting = Waiting::new(&self.inner);
        let units = self.units_of(bytes);
        let permit = Arc::clone(&self.inner.units).acquire_many_owned(units as u32);
        Held(Some(permit.await.expect("the budget is never closed")))
    }

    /// Whether a fetch waits for memory that others hold.
    pub(crate) fn is_short(&self) -> bool {
        self.inner.waiting.load(Ordering::SeqCst) > 0
    }

    /// Resolves when it is.
    pub(crate) async fn short(&self) {
        loop {
            let short = self.inner.short.notified();
            tokio::pin!(short);
            // Registered before the look, so that who begins to wait after it is not missed.
            short.as_mut().enable();
            if self.is_short() {
                return;
            }
            short.await;
        }
    }

    /// Makes `held` at least `bytes`, if that much is free. More than the whole budget counts as all of it.
    pub(crate) fn grow(&self, held: &mut Held, bytes: usize) -> bool {
        let lacking = self.units_of(bytes).saturating_sub(held.units());
        if lacking == 0 {
            return true;
        }
        let more = Arc::clone(&self.inner.units).try_acquire_many_owned(lacking as u32);
        more.map(|more| held.merge(Held(Some(more)))).is_ok()
    }

    fn units_of(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT_BYTES).min(self.inner.units_max)
    }
}

impl Held {
    /// How much it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.units() * UNIT_BYTES
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(units) = &mut self.0 {
            let excess = units
                .num_permits()
                .saturating_sub(bytes.div_ceil(UNIT_BYTES));
            drop(units.split(excess));
        }
    }

    /// Adds what another part of the same answer holds.
    pub fn merge(&mut self, other: Held) {
        match (&mut self.0, other.0) {
            (Some(units), Some(more)) => units.merge(more),
            (None, more) => self.0 = more,
            (Some(_), None) => {}
        }
    }

    fn units(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// A fetch that waits, counted for as long as it does.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.waiting.fetch_add(1, Ordering::SeqCst);
        inner.short.notify_waiters();
        Self(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;

    const KIB: usize = 1 << 10;

    fn is_done<F: Future>(future: &mut Pin<Box<F>>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn what_is_held_can_grow_and_shrink_and_comes_back() {
        let budget = ReadBudget::new(100 * KIB);
        let mut held = Held::default();
        assert!(budget.grow(&mut held, 60 * KIB));
        assert!(budget.grow(&mut held, 10), "it holds as much already");
        let mut other = Held::default();
        assert!(!budget.grow(&mut other, 41 * KIB));
        assert_eq!(other.bytes(), 0);
        held.shrink_to(59 * KIB + 1);
        assert!(!budget.grow(&mut other, 41 * KIB), "what is begun counts");
        held.shrink_to(59 * KIB);
        assert!(budget.grow(&mut other, 41 * KIB));
        held.merge(other);
        assert_eq!(held.bytes(), 100 * KIB);
        drop(held);
        assert!(budget.grow(&mut Held::default(), 100 * KIB));
    }

    #[test]
    fn each_answer_leaves_something_to_the_next() {
        let budget = ReadBudget::new(64 << 20);
        let mut answers = Vec::new();
        for _ in 0..8 {
            let mut held = Held::default();
            assert!(budget.grow(&mut held, budget.share_bytes()));
            answers.push(held);
        }
        assert_eq!(answers[0].bytes(), 16 << 20);
        assert!(budget.share_bytes() > ANSWER_BYTES_MIN);
        assert!(answers.iter().map(Held::bytes).sum::<usize>() < 60 << 20);
    }

    #[test]
    fn what_is_larger_than_the_budget_takes_all_of_it() {
        let budget = ReadBudget::new(100 * KIB);
        let mut large = Held::default();
        assert!(budget.grow(&mut large, 1 << 30));
        assert!(!budget.grow(&mut Held::default(), 1));
        assert_eq!(large.bytes(), 100 * KIB);
    }

    #[tokio::test]
    async fn who_finds_nothing_waits_and_is_seen_waiting() {
        let budget = ReadBudget::new(100 * KIB);
        let mut held = Held::default();
        assert!(budget.grow(&mut held, 100 * KIB));
        let mut short = Box::pin(budget.short());
        assert!(!is_done(&mut short));
        {
            let mut waiting = Box::pin(budget.wait(1 << 30));
            assert!(!is_done(&mut waiting));
            assert!(budget.is_short());
            assert!(is_done(&mut short));
            held.shrink_to(1);
            assert!(!is_done(&mut waiting));
            drop(held);
            assert_eq!(waiting.await.bytes(), 100 * KIB);
        }
        assert!(!budget.is_short());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_not_seen_any_more() {
        let budget = ReadBudget::new(100 * KIB);
        let mut held = Held::default();
        assert!(budget.grow(&mut held, 100 * KIB));
        {
            let mut waiting = Box::pin(budget.wait(1));
            assert!(!is_done(&mut waiting));
        }
        assert!(!budget.is_short());
    }
}
