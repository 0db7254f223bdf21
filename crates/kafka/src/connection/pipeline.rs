//! The requests of one connection between being read and being answered.
//!
//! The reading half pushes in the order of arrival, the writing half takes in the same order. An entry that is still
//! to be worked on is a future nobody has polled: it begins when it reaches the front, so two requests of a connection
//! never overlap unless the second of them was started before it was queued, as appends are. What is started so may
//! overtake what is before it, but never a fence.

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

/// How a request stands to the others of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// It begins when those before it are answered.
    InTurn,
    /// The same, and nothing behind it begins before it is answered.
    Fence,
    /// It begins as soon as it is read and no fence is before it.
    AtOnce,
}

/// One queued request.
pub(crate) struct Entry {
    pub(crate) answering: Answering,
    /// What the request is, for those who count, and since when it is under way.
    pub(crate) operation: Option<usize>,
    pub(crate) begun: Instant,
    pub(crate) order: Order,
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
    /// Fences among them.
    fences: usize,
    ended: bool,
}

impl Pipeline {
    /// Queues `entry`. Waiting for [`room`](Self::room) first is the caller's part.
    pub(crate) fn push(&self, entry: Entry) {
        let mut state = self.state.lock();
        state.requests += 1;
        state.bytes += entry.bytes;
        state.fences += usize::from(entry.order == Order::Fence);
        state.entries.push_back(entry);
        drop(state);
        self.arrived.notify_one();
    }

    /// Waits until one more request may be read.
    pub(crate) async fn room(&self) {
        self.until(State::has_room).await;
    }

    /// Waits until a request of that order may be started.
    pub(crate) async fn place(&self, order: Order) {
        self.until(|state| state.has_room() && (order != Order::AtOnce || state.fences == 0))
            .await;
    }

    /// Waits until enough has been answered for `holds`.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        while !holds(&self.state.lock()) {
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

    /// An entry of that order and of `bytes` has been answered.
    pub(crate) fn answered(&self, order: Order, bytes: usize) {
        let mut state = self.state.lock();
        state.requests -= 1;
        state.bytes -= bytes;
        state.fences -= usize::from(order == Order::Fence);
        drop(state);
        self.left.notify_one();
    }

    /// Whether nothing is queued or being answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().requests == 0
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.requests < limits::KAFKA_PIPELINE_REQUESTS_MAX
            && self.bytes < limits::KAFKA_PIPELINE_BYTES_MAX
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
