//! The memory of what live readers have not taken, all of them together.
//!
//! A message counts from when it is made until nobody has it any more, once however many share it, and so does its
//! rendering. That is one addition for each message and none for each delivery.
//!
//! What hubs have made and what subscriptions have read from the log by themselves have a half each. The first half is let
//! to buffers, which readers without credit may keep full for as long as they like: none takes more than a part of what is
//! free, so that there is always something left for the next. The second half is claimed before the log is read, and waited
//! for in the order of arrival. A reading brings no more than its reader has credit for, so what holds that half is on its way
//! to clients, who can be told to hurry or to go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Mutex, Notify};

/// No buffer takes more than this part of what is free.
const SHARE_PART: usize = 2;

/// No reading of the log claims more than this part of its half.
const CLAIM_PART: usize = 4;

/// Memory that live readers share.
#[derive(Debug)]
pub(super) struct LiveMemory {
    half_bytes: usize,
    offered_bytes: AtomicUsize,
    read_bytes: AtomicUsize,
    /// Those that wait to claim, and whose turn it is.
    waiting: AtomicUsize,
    turn: Mutex<()>,
    freed: Notify,
    /// Hubs have let go of what they only kept for later.
    is_relieved: AtomicBool,
}

/// What a message was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// By a hub, for all its subscribers.
    Offered,
    /// For the one that has read the log.
    Read,
}

/// Memory that is counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    memory: Arc<LiveMemory>,
    half: Half,
    bytes: usize,
}

impl LiveMemory {
    /// For `bytes` altogether.
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            half_bytes: bytes / 2,
            offered_bytes: AtomicUsize::new(0),
            read_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            freed: Notify::new(),
            is_relieved: AtomicBool::new(false),
        })
    }

    /// What is held.
    pub(super) fn bytes(&self) -> usize {
        self.offered_bytes.load(Ordering::Relaxed) + self.read_bytes.load(Ordering::Relaxed)
    }

    /// Counts what is there already, whether there is room or not.
    pub(super) fn count(self: &Arc<Self>, half: Half, bytes: usize) -> Counted {
        self.of(half).fetch_add(bytes, Ordering::SeqCst);
        Counted {
            memory: Arc::clone(self),
            half,
            bytes,
        }
    }

    /// How much a buffer may hold of what hubs have made.
    pub(super) fn share_bytes(&self) -> usize {
        let offered_bytes = self.offered_bytes.load(Ordering::Relaxed);
        self.half_bytes.saturating_sub(offered_bytes) / SHARE_PART
    }

    /// Whether hubs should keep nothing that nobody waits for.
    pub(super) fn is_tight(&self) -> bool {
        self.offered_bytes.load(Ordering::Relaxed) > self.half_bytes / 2
    }

    /// Whether what hubs keep has to be let go of: once each time that memory gets tight.
    pub(super) fn has_to_relieve(&self) -> bool {
        if self.is_tight() {
            return !self.is_relieved.swap(true, Ordering::Relaxed);
        }
        if self.is_relieved.load(Ordering::Relaxed) {
            self.is_relieved.store(false, Ordering::Relaxed);
        }
        false
    }

    /// What a claim of `bytes` comes to.
    pub(super) fn claimable(&self, bytes: usize) -> usize {
        bytes.min(self.half_bytes / CLAIM_PART)
    }

    /// Memory to read the log into, if there is some and nobody waits for it.
    pub(super) fn claim_at_once(self: &Arc<Self>, bytes: usize) -> Option<Counted> {
        if self.is_short() {
            return None;
        }
        self.try_claim(self.claimable(bytes))
    }

    /// The same, waited for.
    pub(super) async fn claim(self: &Arc<Self>, bytes: usize) -> Counted {
        let bytes = self.claimable(bytes);
        let _waiting = Waiting::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that what is given back after it is not missed.
            freed.as_mut().enable();
            if let Some(claimed) = self.try_claim(bytes) {
                return claimed;
            }
            freed.await;
        }
    }

    /// Whether somebody waits to read the log.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    fn try_claim(self: &Arc<Self>, bytes: usize) -> Option<Counted> {
        let more = |held: usize| (held + bytes <= self.half_bytes).then_some(held + bytes);
        let claimed = self
            .read_bytes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        claimed.ok().map(|_| Counted {
            memory: Arc::clone(self),
            half: Half::Read,
            bytes,
        })
    }

    fn of(&self, half: Half) -> &AtomicUsize {
        match half {
            Half::Offered => &self.offered_bytes,
            Half::Read => &self.read_bytes,
        }
    }

    fn give_back(&self, half: Half, bytes: usize) {
        self.of(half).fetch_sub(bytes, Ordering::SeqCst);
        if half == Half::Read && self.is_short() {
            self.freed.notify_one();
        }
    }
}

impl Counted {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes` of it for something; what it lacks is counted anew.
    pub(super) fn take(&mut self, bytes: usize) -> Counted {
        if bytes > self.bytes {
            return self.memory.count(self.half, bytes);
        }
        self.bytes -= bytes;
        Counted {
            memory: Arc::clone(&self.memory),
            half: self.half,
            bytes,
        }
    }

    /// Counts something else in the same half.
    pub(super) fn beside(&self, bytes: usize) -> Counted {
        self.memory.count(self.half, bytes)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.give_back(self.half, self.bytes);
        }
    }
}

/// Somebody who waits, counted for as long as he does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_done<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        future.poll(&mut context).is_ready()
    }

    #[test]
    fn buffers_always_leave_something_to_the_next() {
        let memory = LiveMemory::new(2_000);
        let mut held = Vec::new();
        for _ in 0..5 {
            let share_bytes = memory.share_bytes();
            held.push(memory.count(Half::Offered, share_bytes));
        }
        assert_eq!(held[0].bytes(), 500);
        assert!(memory.share_bytes() > 10);
        assert!(memory.has_to_relieve());
        assert!(!memory.has_to_relieve(), "once is enough");
        let more = memory.count(Half::Offered, 1_000);
        assert_eq!(memory.share_bytes(), 0);
        assert!(
            memory.claim_at_once(250).is_some(),
            "that is the other half"
        );
        drop((held, more));
        assert_eq!(memory.bytes(), 0);
        assert!(!memory.has_to_relieve());
    }

    #[test]
    fn a_claim_is_parted_and_no_more_than_a_part_of_all() {
        let memory = LiveMemory::new(2_000);
        let mut claim = memory.claim_at_once(1 << 30).unwrap();
        assert_eq!(claim.bytes(), 250);
        let part = claim.take(200);
        assert_eq!((claim.bytes(), memory.bytes()), (50, 250));
        let more = claim.take(100);
        assert_eq!((claim.bytes(), memory.bytes()), (50, 350));
        let beside = part.beside(7);
        drop((claim, part, more));
        assert_eq!(memory.bytes(), 7);
        drop(beside);
        assert_eq!(memory.bytes(), 0);
    }

    #[tokio::test]
    async fn claims_wait_in_the_order_of_arrival() {
        let memory = LiveMemory::new(2_000);
        let mut held: Vec<_> = (0..4).map(|_| memory.claim_at_once(250).unwrap()).collect();
        assert!(memory.claim_at_once(1).is_none());
        let mut first = pin!(memory.claim(250));
        assert!(!is_done(first.as_mut()));
        assert!(memory.is_short());
        {
            let mut impatient = pin!(memory.claim(1));
            assert!(!is_done(impatient.as_mut()));
        }
        let mut second = pin!(memory.claim(1));
        assert!(!is_done(second.as_mut()));
        drop(held[0].take(200));
        assert!(!is_done(first.as_mut()), "that is not enough");
        assert!(!is_done(second.as_mut()), "it is not its turn");
        assert!(memory.claim_at_once(1).is_none());
        held.remove(0);
        let first = first.await;
        drop(held.pop());
        second.await;
        drop(first);
        assert!(!memory.is_short());
    }
}
