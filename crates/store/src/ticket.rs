//! Waiting for commits to become durable.
//!
//! Commits are numbered in the order in which they are sequenced, and become durable in that order. So one number per
//! slot says what is done, and a ticket is a number to wait for: no channel and no allocation per commit.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use parking_lot::Mutex;

use crate::error::{CommitError, SlotFailure};

/// A commit's place in the order of its slot, from 1. 0 is before all commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CommitNumber(pub(crate) u64);

/// How far a slot's commits are durable, and who waits for that.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    durable: AtomicU64,
    synced: AtomicU64,
    failure: OnceLock<SlotFailure>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By commit, then by a number that tells two waiters for one commit apart.
    wakers: BTreeMap<(CommitNumber, u64), Waker>,
    next_waiter: u64,
}

impl Progress {
    /// The last commit that is as durable as promised.
    pub(crate) fn durable(&self) -> CommitNumber {
        CommitNumber(self.durable.load(Ordering::Acquire))
    }

    /// The last commit that survives a power failure, whatever was promised.
    pub(crate) fn synced(&self) -> CommitNumber {
        CommitNumber(self.synced.load(Ordering::Acquire))
    }

    /// Declares every commit up to `number` as durable as promised, and with `synced` as durable as can be.
    pub(crate) fn advance(&self, number: CommitNumber, synced: bool) {
        if synced {
            self.synced.fetch_max(number.0, Ordering::AcqRel);
        }
        self.durable.fetch_max(number.0, Ordering::AcqRel);
        let done = {
            let mut waiting = self.waiting.lock();
            let later = waiting.wakers.split_off(&(CommitNumber(number.0 + 1), 0));
            std::mem::replace(&mut waiting.wakers, later)
        };
        done.into_values().for_each(Waker::wake);
    }

    /// Declares that nothing further will become durable. The first reason stays.
    pub(crate) fn fail(&self, failure: SlotFailure) {
        let _ = self.failure.set(failure);
        let all = std::mem::take(&mut self.waiting.lock().wakers);
        all.into_values().for_each(Waker::wake);
    }

    /// Why the slot failed, if it did.
    pub(crate) fn failure(&self) -> Option<&SlotFailure> {
        self.failure.get()
    }

    fn outcome(&self, number: CommitNumber) -> Option<Result<(), CommitError>> {
        if self.durable() >= number {
            return Some(Ok(()));
        }
        self.failure()
            .map(|failure| Err(CommitError::Failed(failure.clone())))
    }
}

/// Resolves when a commit is durable as promised and readers see it, or when the slot has failed.
///
/// Dropping it does not undo the commit.
#[derive(Debug)]
#[must_use = "a commit counts only when its ticket says so"]
pub struct Ticket {
    number: CommitNumber,
    progress: Arc<Progress>,
    waiter: Option<u64>,
}

impl Ticket {
    pub(crate) fn new(number: CommitNumber, progress: Arc<Progress>) -> Self {
        Self {
            number,
            progress,
            waiter: None,
        }
    }

    /// Whether waiting would end at once.
    pub fn is_ready(&self) -> bool {
        self.progress.outcome(self.number).is_some()
    }

    /// Blocks the thread until the ticket resolves.
    pub fn wait(mut self) -> Result<(), CommitError> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self).poll(&mut context) {
                return outcome;
            }
            thread::park();
        }
    }
}

impl Clone for Ticket {
    /// Another ticket for the same commit, to be waited for on its own.
    fn clone(&self) -> Self {
        Self::new(self.number, Arc::clone(&self.progress))
    }
}

impl Future for Ticket {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.progress.outcome(self.number) {
            return Poll::Ready(outcome);
        }
        let progress = Arc::clone(&self.progress);
        let mut waiting = progress.waiting.lock();
        // Once more under the lock: what `advance` and `fail` do between the look above and here is not missed.
        if let Some(outcome) = progress.outcome(self.number) {
            return Poll::Ready(outcome);
        }
        let waiter = *self.waiter.get_or_insert_with(|| {
            waiting.next_waiter += 1;
            waiting.next_waiter
        });
        waiting
            .wakers
            .insert((self.number, waiter), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            let mut waiting = self.progress.waiting.lock();
            waiting.wakers.remove(&(self.number, waiter));
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(progress: &Arc<Progress>, number: u64) -> Ticket {
        Ticket::new(CommitNumber(number), Arc::clone(progress))
    }

    #[test]
    fn resolves_in_order() {
        let progress = Arc::new(Progress::default());
        let (first, second) = (ticket(&progress, 1), ticket(&progress, 2));
        assert!(!first.is_ready());
        progress.advance(CommitNumber(1), true);
        assert!(first.is_ready() && !second.is_ready());
        first.wait().unwrap();
        progress.advance(CommitNumber(2), true);
        second.wait().unwrap();
    }

    #[test]
    fn wakes_a_thread_that_waits() {
        let progress = Arc::new(Progress::default());
        let waiting = ticket(&progress, 3);
        let thread = thread::spawn(|| waiting.wait());
        progress.advance(CommitNumber(2), true);
        progress.advance(CommitNumber(3), true);
        thread.join().unwrap().unwrap();
        assert!(progress.waiting.lock().wakers.is_empty());
    }

    #[test]
    fn failure_reaches_all_that_is_not_durable() {
        let progress = Arc::new(Progress::default());
        let (done, lost) = (ticket(&progress, 1), ticket(&progress, 2));
        progress.advance(CommitNumber(1), true);
        progress.fail(SlotFailure::new("syncing", "it broke"));
        done.wait().unwrap();
        assert!(matches!(lost.wait(), Err(CommitError::Failed(_))));
    }

    #[tokio::test]
    async fn a_dropped_ticket_leaves_no_waiter() {
        let progress = Arc::new(Progress::default());
        let mut waiting = ticket(&progress, 1);
        let pending = std::future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut waiting).poll(context).is_pending())
        });
        assert!(pending.await);
        drop(waiting);
        assert!(progress.waiting.lock().wakers.is_empty());
    }
}
