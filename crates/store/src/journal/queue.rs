//! What has been sequenced and waits to be written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_record::{Offset, TimestampMs};
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;

use super::entry::{Frame, Kind};
use crate::budget::Budget;
use crate::partition::Partition;
use crate::policy::PartitionPolicy;
use crate::tail::TailBatch;
use crate::ticket::CommitNumber;

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
    /// Bytes of batches that it keeps in memory.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.appends.iter().map(|append| append.batch.len()).sum()
    }
}

/// The queue between the sequencer, which fills it in order, and the journal's writer.
pub(crate) struct Queue {
    budget: Arc<Budget>,
    inner: Mutex<Inner>,
    ready: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Queued>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            inner: Mutex::default(),
            ready: Condvar::new(),
        }
    }

    /// Adds a commit at the end.
    pub(crate) fn push(&self, queued: Queued) {
        self.budget.add_queued(queued.batch_bytes());
        let was_empty = {
            let mut inner = self.inner.lock();
            inner.waiting.push_back(queued);
            inner.waiting.len() == 1
        };
        if was_empty {
            self.ready.notify_one();
        }
    }

    /// What the first commit will take in the journal.
    pub(crate) fn first_bytes(&self) -> Option<usize> {
        let inner = self.inner.lock();
        inner.waiting.front().map(|first| first.entry_bytes)
    }

    /// Moves commits from the front into `group`: the first, and as many more as fit `bytes` with it. Nothing follows a
    /// seal.
    pub(crate) fn take(&self, bytes: usize, group: &mut Vec<Queued>) {
        let mut inner = self.inner.lock();
        let mut left = bytes;
        while let Some(next) = inner.waiting.front() {
            if !group.is_empty() && next.entry_bytes > left {
                break;
            }
            left = left.saturating_sub(next.entry_bytes);
            let sealed = next.kind == Kind::Seal;
            group.extend(inner.waiting.pop_front());
            if sealed {
                break;
            }
        }
    }

    /// Blocks until there is something, the queue is closed, or `timeout` is over. `false` once it is closed and empty.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        let mut inner = self.inner.lock();
        if inner.waiting.is_empty() && !inner.closed {
            match timeout {
                Some(timeout) => {
                    self.ready.wait_for(&mut inner, timeout);
                }
                None => self.ready.wait(&mut inner),
            }
        }
        !(inner.closed && inner.waiting.is_empty())
    }

    /// Ends the waiting: nothing more will come.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.ready.notify_all();
    }

    /// Forgets what waits: the slot has failed.
    pub(crate) fn clear(&self) {
        let forgotten = std::mem::take(&mut self.inner.lock().waiting);
        for queued in forgotten {
            self.budget.remove_queued(queued.batch_bytes());
        }
    }

    /// Says that a group that was taken has been written.
    pub(crate) fn done(&self, batch_bytes: usize) {
        self.budget.remove_queued(batch_bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().waiting.is_empty()
    }
}
