//! A partition's hub: reads what is new, decodes it once, and offers it to all subscribers that have caught up.
//!
//! It keeps the last messages for a moment, so that who is a little behind can join without reading the log.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_limits::{LIVE_RECENT_BYTES, LIVE_RECENT_RECORDS, LIVE_STEP_RECORDS};
use millstream_record::{BatchError, Offset};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::decode::{Found, takes_long, walk};
use super::error::Disconnected;
use super::memory::{Half, LiveMemory};
use super::message::{LiveMessage, Lost, LostReason, Source};
use super::shared::{Shared, source_of};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::streams::{Alarm, FetchSpec, Fetched, Isolation, after_damage};
use crate::topics::PartitionHandle;

#[derive(Debug)]
pub(super) struct Hub {
    partition: PartitionHandle,
    source: Source,
    memory: Arc<LiveMemory>,
    state: Mutex<State>,
    /// Notified when nobody is left.
    deserted: Notify,
}

#[derive(Debug)]
struct State {
    /// The next record to be offered.
    next: Offset,
    /// The last ones that were: everything from `recent_from` up to `next`.
    recent: VecDeque<Arc<LiveMessage>>,
    recent_from: Offset,
    recent_bytes: usize,
    /// Shared with the offer that is under way, so that it needs no lock.
    members: Arc<Vec<Arc<Shared>>>,
    closed: bool,
}

impl Hub {
    pub(super) fn new(
        partition: PartitionHandle,
        next: Offset,
        memory: Arc<LiveMemory>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source: source_of(&partition),
            memory,
            partition,
            state: Mutex::new(State {
                next,
                recent: VecDeque::new(),
                recent_from: next,
                recent_bytes: 0,
                members: Arc::default(),
                closed: false,
            }),
            deserted: Notify::new(),
        })
    }

    /// Takes a subscriber in that has everything up to `from`, if what it lacks is still at hand and it has room for it.
    ///
    /// What is offered is decided under the same lock, so that it gets each message from here or by the next offer, and
    /// an offer under way brings it nothing twice, since it knows what it has.
    pub(super) fn join(&self, subscriber: &Arc<Shared>, from: Offset) -> bool {
        let mut state = self.state.lock();
        if state.closed || from < state.recent_from {
            return false;
        }
        let start = state
            .recent
            .partition_point(|message| message.offset < from);
        let next = state.next.max(from);
        if !subscriber.join(self.source, state.recent.range(start..), next) {
            return false;
        }
        if state
            .members
            .iter()
            .all(|member| member.id != subscriber.id)
        {
            Arc::make_mut(&mut state.members).push(Arc::clone(subscriber));
        }
        true
    }

    /// Lets a subscriber go. Returns whether nobody is left: then nobody can join any more.
    pub(super) fn leave(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        if let Some(index) = state.members.iter().position(|member| member.id == id) {
            Arc::make_mut(&mut state.members).swap_remove(index);
        }
        if state.members.is_empty() {
            state.closed = true;
            self.deserted.notify_one();
        }
        state.closed
    }

    /// The partition it reads.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// Lets everybody go.
    pub(super) fn stop(&self) {
        self.close();
        self.deserted.notify_one();
    }

    /// Lets go of what is only kept for who may join.
    pub(super) fn relieve(&self) {
        self.state.lock().forget();
    }

    /// Whether it reads no more.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Reads until nobody listens any more, or nothing can be read.
    pub(super) async fn run(self: &Arc<Self>, broker: &Broker) {
        loop {
            let from = {
                let state = self.state.lock();
                if state.closed {
                    return;
                }
                state.next
            };
            // Registered before the look, so that nothing which comes after it is missed.
            let alarm = Alarm::new();
            self.partition.log.wake_on_append(alarm.wake());
            let spec = FetchSpec {
                isolation: Isolation::ReadCommitted,
                ..FetchSpec::of(&self.partition, from)
            };
            let fetched = broker.fetch(spec).await.pop();
            match fetched.map(|part| part.result) {
                Some(Ok(fetched)) if fetched.slices.is_empty() => {
                    tokio::select! {
                        () = alarm.wake().wait() => {}
                        () = self.deserted.notified() => return,
                    }
                }
                Some(Ok(fetched)) => {
                    if let Err(error) = self.take(broker, fetched, from).await {
                        let reason = BrokerError::from(error).to_string();
                        return self.end(&Disconnected::Failed(reason.into()));
                    }
                    if self.memory.has_to_relieve() {
                        broker.inner.live.relieve();
                    }
                    // Subscribers have a turn, and meanwhile more may come to be offered together.
                    tokio::task::yield_now().await;
                }
                Some(Err(BrokerError::OffsetOutOfRange { log_start, .. })) if from < log_start => {
                    self.publish_lost(from, log_start, LostReason::Retention);
                }
                Some(Err(BrokerError::UnknownPartition)) | None => return self.gone(),
                Some(Err(BrokerError::Damaged(why))) => {
                    match after_damage(broker, &self.partition, from, &why).await {
                        Some(after) => self.publish_lost(from, after, LostReason::Damaged),
                        None => {
                            let reason = BrokerError::Damaged(why).to_string();
                            return self.end(&Disconnected::Failed(reason.into()));
                        }
                    }
                }
                Some(Err(error)) => {
                    return self.end(&Disconnected::Failed(error.to_string().into()));
                }
            }
        }
    }

    /// Decodes and offers what was fetched.
    async fn take(
        self: &Arc<Self>,
        broker: &Broker,
        fetched: Fetched,
        from: Offset,
    ) -> Result<(), BatchError> {
        if !takes_long(&fetched) {
            return self.unpack(&fetched, from);
        }
        let hub = Arc::clone(self);
        let unpacking = &broker.inner.unpacking;
        unpacking.run(move || hub.unpack(&fetched, from)).await
    }

    fn unpack(&self, fetched: &Fetched, from: Offset) -> Result<(), BatchError> {
        let topic = self.partition.topic().name();
        let index = self.partition.index();
        let mut messages = Vec::new();
        let end = walk(fetched, from, |found| {
            match found {
                Found::Record(record) => {
                    let record = record.detached();
                    let count = |bytes| self.memory.count(Half::Offered, bytes);
                    let topic = topic.clone();
                    let message = LiveMessage::new(topic, index, self.source, record, count);
                    messages.push(Arc::new(message));
                }
                Found::Undecodable(from, to) => {
                    self.publish(&std::mem::take(&mut messages), from);
                    self.publish_lost(from, to, LostReason::Undecodable);
                }
            }
            if let Some(last) = messages.last()
                && messages.len() >= LIVE_STEP_RECORDS
            {
                let end = last.offset.next();
                self.publish(&std::mem::take(&mut messages), end);
            }
            ControlFlow::Continue(())
        })?;
        self.publish(&messages, end);
        Ok(())
    }

    /// Offers `messages`, which are all there is up to `end`.
    fn publish(&self, messages: &[Arc<LiveMessage>], end: Offset) {
        let members = {
            let mut state = self.state.lock();
            state.next = end;
            if self.memory.is_tight() {
                state.forget();
            } else {
                state.keep(messages);
            }
            Arc::clone(&state.members)
        };
        for member in members.iter() {
            member.offer(self.source, messages, end);
        }
    }

    fn publish_lost(&self, from: Offset, to: Offset, reason: LostReason) {
        let members = {
            let mut state = self.state.lock();
            state.next = to;
            // A subscriber from before has to be told, which only its own look at the log can.
            state.forget();
            Arc::clone(&state.members)
        };
        let lost = Lost::of(&self.partition, from, to, reason);
        for member in members.iter() {
            member.offer_lost(self.source, lost.clone());
        }
    }

    fn gone(&self) {
        for member in self.close().iter() {
            member.gone(self.source);
        }
    }

    fn end(&self, reason: &Disconnected) {
        tracing::warn!(partition = ?self.partition, %reason, "a live feed has ended");
        for member in self.close().iter() {
            member.end(reason.clone());
        }
    }

    fn close(&self) -> Arc<Vec<Arc<Shared>>> {
        let mut state = self.state.lock();
        state.closed = true;
        state.forget();
        std::mem::take(&mut state.members)
    }
}

impl State {
    /// Keeps `messages` at hand, and lets go of the oldest.
    fn keep(&mut self, messages: &[Arc<LiveMessage>]) {
        for message in messages {
            self.recent_bytes += message.size_bytes();
            self.recent.push_back(Arc::clone(message));
        }
        while self.recent.len() > LIVE_RECENT_RECORDS || self.recent_bytes > LIVE_RECENT_BYTES {
            let Some(oldest) = self.recent.pop_front() else {
                break;
            };
            self.recent_bytes -= oldest.size_bytes();
            self.recent_from = oldest.offset.next();
        }
    }

    fn forget(&mut self) {
        self.recent.clear();
        self.recent_bytes = 0;
        self.recent_from = self.next;
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
