//! The requests of one connection between being read and being answered.
//!
//! The reading half pushes in the order of arrival, the writing half takes in the same order. An entry that is still
//! to be worked on is a future nobody has polled: it begins when it reaches the front, so two requests of a connection
//! never overlap unless the first of them was started before it was queued, as appends are.

use std::collections::VecDeque;
use std::fmt;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::Answer;
use super::budget::Room;
use millstream_limits as limits;

/// A request's answer, or the work that leads to it.
pub(crate) enum Answering {
    /// Known already.
    Now(Answer),
    /// Known when the future is done.
    Later(BoxFuture<'static, Answer>),
}

/// One queued request.
pub(crate) struct Entry {
    pub(crate) answering: Answering,
    /// What the request is, for those who count, and since when it is under way.
    pub(crate) operation: Option<usize>,
    pub(crate) begun: Instant,
    /// The size of the request's frame, which counts against the connection until the answer is there.
    pub(crate) bytes: usize,
    /// The frame's share of the listener's receive budget.
    pub(crate) room: Option<Room>,
}

/// An ordered queue with a bound on entries and bytes, and an end.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    state: Mutex<State>,
    arrived: Notify,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Entries that are queued or being answered.
    requests: usize,
    bytes: usize,
    ended: bool,
}

impl Pipeline {
    /// Queues `entry`. Waiting for [`room`](Self::room) first is the caller's part.
    pub(crate) fn push(&self, entry: Entry) {
        let mut state = self.state.lock();
        state.requests += 1;
        state.bytes += entry.bytes;
        state.entries.push_back(entry);
        drop(state);
        self.arrived.notify_one();
    }

    /// Waits until one more request may be read.
    pub(crate) async fn room(&self) {
        loop {
            {
                let state = self.state.lock();
                if state.requests < limits::KAFKA_PIPELINE_REQUESTS_MAX
                    && state.bytes < limits::KAFKA_PIPELINE_BYTES_MAX
                {
                    return;
                }
            }
            self.left.notified().await;
        }
    }

    /// No more entries will come.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.arrived.notify_one();
    }

    /// The next entry in order, or `None` when all are taken and no more will come.
    pub(crate) async fn next(&self) -> Option<Entry> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(entry) = state.entries.pop_front() {
                    return Some(entry);
                }
                if state.ended {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// The next entry if one is queued.
    pub(crate) fn try_next(&self) -> Option<Entry> {
        self.state.lock().entries.pop_front()
    }

    /// An entry of `bytes` has been answered.
    pub(crate) fn answered(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.requests -= 1;
        state.bytes -= bytes;
        drop(state);
        self.left.notify_one();
    }

    /// Whether nothing is queued or being answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().requests == 0
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
