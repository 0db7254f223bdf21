//! What a subscription's reader and the hubs share of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use millstream_catalog::TopicId;
use millstream_limits::LIVE_PARTITIONS_MAX;
use millstream_record::{LeaderEpoch, Offset};
use parking_lot::Mutex;

use super::error::Disconnected;
use super::machine::{Effect, Entry, Machine, Place, Step};
use super::memory::LiveMemory;
use super::message::{LiveItem, LiveMessage, Lost, Source};
use super::registry::Counters;
use super::token::{ResumeToken, Stand};
use crate::filter::{Filter, TopicPattern};
use crate::topics::{PartitionHandle, TopicHandle};

/// Which topics a subscription listens to.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Those that were named: it ends with any of them.
    pub(super) topics: Vec<TopicId>,
    pub(super) patterns: Vec<TopicPattern>,
}

/// One subscription, for its reader and for hubs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: u64,
    watch: Watch,
    filter: Option<Filter>,
    counters: Arc<Counters>,
    memory: Arc<LiveMemory>,
    /// Held for moments only, and no other lock is taken meanwhile.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    feeds: BTreeMap<Source, Feed>,
    waker: Option<Waker>,
}

/// A partition the subscription is to.
#[derive(Debug)]
struct Feed {
    partition: PartitionHandle,
    /// The leadership that is read under.
    epoch: LeaderEpoch,
    /// The first record that was neither delivered nor passed over.
    next: Offset,
}

pub(super) fn source_of(partition: &PartitionHandle) -> Source {
    partition.log.id().get()
}

impl Shared {
    pub(super) fn new(
        id: u64,
        watch: Watch,
        filter: Option<Filter>,
        machine: Machine,
        counters: Arc<Counters>,
        memory: Arc<LiveMemory>,
    ) -> Self {
        Self {
            id,
            watch,
            filter,
            counters,
            memory,
            state: Mutex::new(State {
                machine,
                feeds: BTreeMap::new(),
                waker: None,
            }),
        }
    }

    /// Lets an event happen, and wakes the reader if it has something to do then.
    fn act(&self, event: impl FnOnce(&mut State) -> Effect) {
        let (effect, waker) = {
            let mut state = self.state.lock();
            let effect = event(&mut state);
            let waker = if effect.wake {
                state.waker.take()
            } else {
                None
            };
            (effect, waker)
        };
        if effect.dropped > 0 {
            let dropped = &self.counters.dropped;
            dropped.fetch_add(effect.dropped, Ordering::Relaxed);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the reader does next; pending while that is to wait.
    pub(super) fn poll_step(&self, context: &mut Context<'_>) -> Poll<Step> {
        let mut state = self.state.lock();
        let step = state.step();
        if !matches!(step, Step::Wait) {
            return Poll::Ready(step);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// The same without waiting.
    pub(super) fn step(&self) -> Step {
        self.state.lock().step()
    }

    pub(super) fn add_credit(&self, records: u64) {
        self.act(|state| state.machine.add_credit(records));
    }

    pub(super) fn end(&self, reason: Disconnected) {
        self.act(|state| state.machine.end(reason));
    }

    /// A hub has decoded these, and knows everything up to `end`.
    pub(super) fn offer(&self, source: Source, messages: &[Arc<LiveMessage>], end: Offset) {
        let share_bytes = self.memory.share_bytes();
        self.act(|state| {
            let machine = &mut state.machine;
            machine.let_have(share_bytes);
            machine.offer(source, messages, end, |message| self.wants(message))
        });
    }

    pub(super) fn offer_lost(&self, source: Source, lost: Lost) {
        self.act(|state| state.machine.offer_lost(source, lost));
    }

    /// Takes up with a hub that goes on at `next`, and still has the `recent` messages from `from` on: not if those are more
    /// than it may hold.
    pub(super) fn join<'a>(
        &self,
        source: Source,
        recent: impl Iterator<Item = &'a Arc<LiveMessage>>,
        next: Offset,
    ) -> bool {
        let mut state = self.state.lock();
        let wanted = recent.filter(|message| self.wants(message));
        let entries: Vec<_> = wanted.cloned().map(Entry::Message).collect();
        let bytes: usize = entries.iter().map(Entry::size_bytes).sum();
        if bytes > 0 && bytes > self.memory.share_bytes() {
            return false;
        }
        state.machine.joined(source, entries, next);
        true
    }

    /// How many records may be read from the log for it.
    pub(super) fn step_records(&self) -> usize {
        self.state.lock().machine.step_records()
    }

    /// Lets what is buffered have its turn before the log is read. Returns whether there is something.
    pub(super) fn put_off_reading(&self) -> bool {
        self.state.lock().machine.put_off_reading()
    }

    /// What was read from the log.
    pub(super) fn replayed(&self, source: Source, entries: Vec<Entry>, next: Offset) {
        let mut state = self.state.lock();
        state.machine.replayed(source, entries, next);
    }

    /// Adds a partition that is to be read from `next`.
    pub(super) fn add(&self, partition: &PartitionHandle, next: Offset) {
        self.act(|state| {
            if state.machine.source_count() >= LIVE_PARTITIONS_MAX {
                return state.machine.end(Disconnected::TooManyPartitions);
            }
            let source = source_of(partition);
            state.feeds.entry(source).or_insert_with(|| Feed {
                partition: partition.clone(),
                epoch: partition.offsets().leader_epoch,
                next,
            });
            state.machine.add(source, next)
        });
    }

    /// A partition is gone with its topic.
    pub(super) fn gone(&self, source: Source) {
        self.act(|state| {
            state.machine.remove(source);
            let feed = state.feeds.remove(&source);
            let topic = feed.map(|feed| feed.partition.topic().id());
            if topic.is_some_and(|id| self.watch.topics.contains(&id)) {
                return state.machine.end(Disconnected::TopicDeleted);
            }
            Effect::default()
        });
    }

    pub(super) fn partition(&self, source: Source) -> Option<PartitionHandle> {
        let state = self.state.lock();
        state.feeds.get(&source).map(|feed| feed.partition.clone())
    }

    /// Every partition it is to.
    pub(super) fn partitions(&self) -> Vec<PartitionHandle> {
        let state = self.state.lock();
        let feeds = state.feeds.values();
        feeds.map(|feed| feed.partition.clone()).collect()
    }

    /// The partitions in which it is behind, and where it stands there.
    pub(super) fn behind(&self) -> Vec<(PartitionHandle, Offset)> {
        let state = self.state.lock();
        let behind = |(source, feed): (&Source, &Feed)| match state.machine.place(*source) {
            Some(Place::Behind(next)) => Some((feed.partition.clone(), next)),
            _ => None,
        };
        state.feeds.iter().filter_map(behind).collect()
    }

    /// What is delivered before everything else.
    pub(super) fn begin_with(&self, entries: Vec<Entry>) {
        self.act(|state| state.machine.begin_with(entries));
    }

    pub(super) fn watches(&self, topic: &TopicHandle) -> bool {
        let name = topic.name().as_str();
        let mut patterns = self.watch.patterns.iter();
        self.watch.topics.contains(&topic.id()) || patterns.any(|pattern| pattern.matches(name))
    }

    pub(super) fn wants(&self, message: &LiveMessage) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            filter.matches(message.key.as_deref(), || {
                let headers = message.headers.iter();
                headers.map(|header| (header.key, header.value))
            })
        })
    }

    pub(super) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// Where it stands, unless that would be longer than a token may be.
    pub(super) fn token(&self, positions_max: usize) -> Option<ResumeToken> {
        let mut state = self.state.lock();
        if state.feeds.len() > positions_max {
            return None;
        }
        state.pass_over();
        let feeds = state.feeds.values();
        Some(ResumeToken::new(feeds.map(|feed| {
            let partition = &feed.partition;
            let stand = Stand {
                next: feed.next,
                epoch: Some(feed.epoch),
            };
            (partition.topic().id(), partition.index(), stand)
        })))
    }
}

impl State {
    fn step(&mut self) -> Step {
        let step = self.machine.step();
        let (source, next) = match &step {
            Step::Deliver(LiveItem::Record(message)) => (message.source, message.offset.next()),
            Step::Deliver(LiveItem::Lost(lost)) => (lost.source, lost.to),
            _ => return step,
        };
        if let Some(feed) = self.feeds.get_mut(&source) {
            feed.next = feed.next.max(next);
        }
        step
    }

    /// Once nothing waits for the reader, it stands behind what its filter left out too: to read that again would be for
    /// nothing, and that it is gone no loss.
    fn pass_over(&mut self) {
        if !self.machine.is_drained() {
            return;
        }
        for (source, feed) in &mut self.feeds {
            if let Some(place) = self.machine.place(*source) {
                feed.next = feed.next.max(place.next());
            }
        }
    }
}
