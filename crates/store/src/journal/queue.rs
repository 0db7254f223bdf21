//! What has been sequenced and waits to be written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_env::yield_briefly;
use millstream_record::{Offset, TimestampMs};
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;

use super::entry::{Frame, Kind};
use crate::budget::Budget;
use crate::partition::Partition;
use crate::policy::PartitionPolicy;
use crate::tail::TailBatch;
use crate::ticket::CommitNumber;

/// Before it sleeps, a thread looks for the next group for so long: putting it to sleep and waking it takes about as long,
/// and more of the processor.
const LINGER: Duration = Duration::from_micros(30);

/// A commit on its way into the journal.
pub(crate) struct Queued {
    pub(crate) number: CommitNumber,
    pub(crate) kind: Kind,
    /// It promises more than the operating system's page cache.
    pub(crate) sync: bool,
    pub(crate) wall: TimestampMs,
    /// What the entry says.
    pub(crate) frame: Frame,
    /// What it will take in the journal.
    pub(crate) entry_bytes: usize,
    /// The batches of the frame's appends.
    pub(crate) appends: SmallVec<[QueuedAppend; 1]>,
    /// What happens when it is durable, besides the appends.
    pub(crate) effects: Effects,
}

/// A batch and the partitions that its targets are, in the frame's order.
pub(crate) struct QueuedAppend {
    pub(crate) batch: Bytes,
    pub(crate) targets: SmallVec<[Arc<Partition>; 1]>,
}

/// What readers see change once the commit is durable.
#[derive(Default)]
pub(crate) struct Effects {
    /// Batches for memory partitions.
    pub(crate) memory: Vec<(Arc<Partition>, TailBatch, PartitionPolicy)>,
    /// Log starts that move up.
    pub(crate) trims: Vec<(Arc<Partition>, Offset)>,
    /// Partitions that end.
    pub(crate) drops: Vec<Arc<Partition>>,
}

impl Queued {
    /// The mark that a new run begins. It is not a commit and is shown to nobody.
    pub(crate) fn start(wall: TimestampMs) -> Self {
        Self::mark(Kind::Start, CommitNumber::default(), wall)
    }

    /// An entry that says nothing but that it is there. It is synced.
    pub(crate) fn mark(kind: Kind, number: CommitNumber, wall: TimestampMs) -> Self {
        let frame = Frame::default();
        Self {
            number,
            kind,
            sync: true,
            wall,
            entry_bytes: frame.entry_bytes(),
            frame,
            appends: SmallVec::new(),
            effects: Effects::default(),
        }
    }

    /// Bytes of batches that it keeps in memory.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.appends.iter().map(|append| append.batch.len()).sum()
    }

    /// Whether there is more room on the disk some time after it has been written: what lies before a boundary can leave
    /// the journal, and what is trimmed or dropped the packs.
    fn makes_room(&self) -> bool {
        self.kind != Kind::Commit || !self.frame.trims.is_empty() || !self.frame.drops.is_empty()
    }
}

impl Effects {
    /// Shows them to readers.
    pub(crate) fn publish(self) {
        for (partition, batch, policy) in self.memory {
            partition.publish_in_memory(batch, &policy);
        }
        for (partition, log_start) in self.trims {
            partition.publish_trim(log_start);
        }
        for partition in self.drops {
            partition.publish_drop();
        }
    }
}

/// The queue between the sequencer, which fills it in order, and the journal's threads.
///
/// While one group is being written, the next may be taken once it is worth it: a group that is taken early is one that
/// nothing joins any more.
pub(crate) struct Queue {
    budget: Arc<Budget>,
    /// While a group is being written, another is taken if it has so many bytes.
    ahead_bytes: usize,
    inner: Mutex<Inner>,
    /// Where the journal's first thread sleeps. It is the one that is woken for a group by itself, so that it and what
    /// it needs stay on one processor.
    first: Condvar,
    /// Where the second sleeps, for a group that is worth composing while another is written.
    second: Condvar,
    /// Where both sleep while what is queued waits for room.
    room: Condvar,
}

/// Which of the journal's two threads it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    Second,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Queued>,
    /// What they will take in the journal.
    waiting_bytes: usize,
    /// How many of them make room on the disk.
    making_room: usize,
    /// How many such there have been.
    makers_of_room: u64,
    /// Groups that were taken and are not written yet.
    groups_taken: usize,
    /// Somebody looks for the next group, or is about to: nobody else need be woken for it.
    looking: bool,
    closed: bool,
}

impl Inner {
    /// Whether a group should be taken now.
    fn is_ready(&self, ahead_bytes: usize) -> bool {
        !self.waiting.is_empty()
            && match self.groups_taken {
                0 => true,
                1 => self.waiting_bytes >= ahead_bytes,
                _ => false,
            }
    }

    /// Whether there is no reason to wait any more.
    fn is_over(&self, ahead_bytes: usize) -> bool {
        self.closed || self.is_ready(ahead_bytes)
    }
}

impl Queue {
    pub(crate) fn new(budget: Arc<Budget>, ahead_bytes: usize) -> Self {
        Self {
            budget,
            ahead_bytes,
            inner: Mutex::default(),
            first: Condvar::new(),
            second: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Adds a commit at the end.
    pub(crate) fn push(&self, queued: Queued) {
        self.budget.add_queued(queued.batch_bytes());
        let makes_room = queued.makes_room();
        let (becomes_ready, ahead) = {
            let mut inner = self.inner.lock();
            let was_ready = inner.is_ready(self.ahead_bytes);
            inner.waiting_bytes += queued.entry_bytes;
            inner.making_room += usize::from(makes_room);
            inner.makers_of_room += u64::from(makes_room);
            inner.waiting.push_back(queued);
            let becomes_ready = !was_ready && inner.is_ready(self.ahead_bytes) && !inner.looking;
            (becomes_ready, inner.groups_taken > 0)
        };
        if becomes_ready {
            self.wake(ahead);
        }
        if makes_room {
            self.room.notify_all();
        }
    }

    /// What the first commit will take in the journal; `None` when no group should be taken now.
    pub(crate) fn first_bytes(&self) -> Option<usize> {
        let mut inner = self.inner.lock();
        inner.looking = false;
        let first = inner.waiting.front();
        first
            .filter(|_| inner.is_ready(self.ahead_bytes))
            .map(|first| first.entry_bytes)
    }

    /// What all that waits will take in the journal.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.inner.lock().waiting_bytes
    }

    /// Whether something waits that makes room on the disk.
    pub(crate) fn makes_room(&self) -> bool {
        self.inner.lock().making_room > 0
    }

    /// How often something has come that makes room on the disk.
    pub(crate) fn makers_of_room(&self) -> u64 {
        self.inner.lock().makers_of_room
    }

    /// Blocks until more has come that makes room than `seen`, the queue is closed, or `timeout` is over.
    pub(crate) fn wait_for_room(&self, seen: u64, timeout: Duration) {
        let waits = |inner: &mut Inner| inner.makers_of_room == seen && !inner.closed;
        let mut inner = self.inner.lock();
        self.room.wait_while_for(&mut inner, waits, timeout);
    }

    /// Takes a group from the front: the first commit, and as many more as fit `bytes` with it. Nothing follows a seal.
    pub(crate) fn take(&self, bytes: usize) -> Vec<Queued> {
        let mut inner = self.inner.lock();
        let mut group = Vec::new();
        let mut left = bytes;
        while let Some(next) = inner.waiting.front() {
            if !group.is_empty() && next.entry_bytes > left {
                break;
            }
            let (entry_bytes, sealed) = (next.entry_bytes, next.kind == Kind::Seal);
            let next_makes_room = next.makes_room();
            left = left.saturating_sub(entry_bytes);
            inner.waiting_bytes -= entry_bytes;
            inner.making_room -= usize::from(next_makes_room);
            group.extend(inner.waiting.pop_front());
            if sealed {
                break;
            }
        }
        inner.groups_taken += 1;
        let more = inner.is_ready(self.ahead_bytes);
        drop(inner);
        if more {
            // Enough for another one already, for whoever is not about to write.
            self.wake(true);
        }
        group
    }

    /// Wakes whoever sleeps and can take a group; `ahead` of one that is being written.
    fn wake(&self, ahead: bool) {
        self.first.notify_one();
        if ahead {
            self.second.notify_one();
        }
    }

    /// Blocks until a group should be taken, the queue is closed, or `timeout` is over. `false` once it is closed and
    /// empty.
    pub(crate) fn wait(&self, turn: Turn, timeout: Option<Duration>) -> bool {
        self.linger();
        let mut inner = self.inner.lock();
        inner.looking = false;
        if !inner.is_over(self.ahead_bytes) {
            let condition = match turn {
                Turn::First => &self.first,
                Turn::Second => &self.second,
            };
            match timeout {
                Some(timeout) => {
                    condition.wait_for(&mut inner, timeout);
                }
                None => condition.wait(&mut inner),
            }
        }
        !(inner.closed && inner.waiting.is_empty())
    }

    /// Looks for the next group for a moment, in which nobody has to wake anybody, and lets others have the processor
    /// meanwhile. One thread does so at a time.
    fn linger(&self) {
        {
            let mut inner = self.inner.lock();
            if inner.looking || inner.is_over(self.ahead_bytes) {
                return;
            }
            inner.looking = true;
        }
        let begun = Instant::now();
        while begun.elapsed() < LINGER && yield_briefly() {
            if self.inner.lock().is_over(self.ahead_bytes) {
                return;
            }
        }
    }

    /// Ends the waiting: nothing more will come.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.first.notify_one();
        self.second.notify_one();
        self.room.notify_all();
    }

    /// Forgets what waits: the slot has failed.
    pub(crate) fn clear(&self) {
        let forgotten = {
            let mut inner = self.inner.lock();
            inner.waiting_bytes = 0;
            inner.making_room = 0;
            std::mem::take(&mut inner.waiting)
        };
        for queued in forgotten {
            self.budget.remove_queued(queued.batch_bytes());
        }
    }

    /// Says that a group that was taken has been written. The caller looks for the next one.
    pub(crate) fn done(&self, batch_bytes: usize) {
        self.budget.remove_queued(batch_bytes);
        let mut inner = self.inner.lock();
        inner.groups_taken -= 1;
        inner.looking = true;
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.inner.lock().waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const AHEAD_BYTES: usize = 1000;

    fn queue() -> Queue {
        Queue::new(Arc::new(Budget::new(1 << 20)), AHEAD_BYTES)
    }

    fn push(queue: &Queue, entry_bytes: usize) {
        queue.push(Queued {
            entry_bytes,
            ..Queued::start(TimestampMs(0))
        });
    }

    #[test]
    fn while_a_group_is_written_only_a_large_one_is_taken() {
        let queue = queue();
        assert_eq!(queue.first_bytes(), None);
        push(&queue, 10);
        assert_eq!(queue.take(usize::MAX).len(), 1);

        push(&queue, AHEAD_BYTES - 1);
        assert_eq!(queue.first_bytes(), None, "it had better grow");
        push(&queue, 1);
        assert_eq!(queue.first_bytes(), Some(AHEAD_BYTES - 1));
        assert_eq!(queue.take(usize::MAX).len(), 2);

        push(&queue, 10 * AHEAD_BYTES);
        assert_eq!(queue.first_bytes(), None, "two are under way");
        queue.done(0);
        assert_eq!(queue.first_bytes(), Some(10 * AHEAD_BYTES));
        queue.done(0);
        assert_eq!(queue.first_bytes(), Some(10 * AHEAD_BYTES));
    }

    #[test]
    fn what_comes_while_a_thread_looks_for_more_is_not_slept_over() {
        for turn in [Turn::First, Turn::Second] {
            let queue = queue();
            push(&queue, 10);
            assert_eq!(queue.take(usize::MAX).len(), 1);
            queue.done(0);
            // Nobody is woken for this: whoever has just written a group sees it.
            push(&queue, 10);
            assert!(queue.wait(turn, None), "it does not wait");
            assert_eq!(queue.first_bytes(), Some(10));
        }
    }

    #[test]
    fn who_waits_for_room_goes_on_with_what_makes_some() {
        const NEVER: Duration = Duration::from_secs(3600);
        let queue = Arc::new(queue());
        let seen = queue.makers_of_room();
        let waiting = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.wait_for_room(seen, NEVER))
        });
        push(&queue, 10);
        for thread in waiting {
            thread.join().unwrap();
        }
        queue.wait_for_room(seen, NEVER);
        queue.close();
        queue.wait_for_room(queue.makers_of_room(), NEVER);
    }

    #[test]
    fn both_threads_wake_for_what_they_are_there_for() {
        let queue = Arc::new(queue());
        let waiting = [Turn::First, Turn::Second].map(|turn| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let mut taken = 0;
                while queue.wait(turn, None) {
                    while queue.first_bytes().is_some() {
                        taken += queue.take(AHEAD_BYTES).len();
                        thread::yield_now();
                        queue.done(0);
                    }
                }
                taken
            })
        });
        for bytes in 0..2000 {
            push(&queue, bytes % 400);
        }
        while !queue.is_empty() {
            thread::yield_now();
        }
        queue.close();
        let taken = waiting.map(|thread| thread.join().unwrap());
        assert_eq!(taken.iter().sum::<usize>(), 2000);
    }
}
