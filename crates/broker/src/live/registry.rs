//! All hubs and subscriptions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use millstream_limits::{LIVE_LATEST_BYTES_TOTAL, LIVE_SUBSCRIPTIONS_MAX};
use millstream_record::Offset;
use parking_lot::Mutex;

use super::error::{Disconnected, LiveError};
use super::hub::Hub;
use super::machine::Machine;
use super::memory::LiveMemory;
use super::message::Source;
use super::shared::{Shared, Watch, source_of};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::filter::Filter;
use crate::topics::{PartitionHandle, TopicHandle};

/// How live subscriptions are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiveStats {
    /// Subscriptions there are.
    pub subscriptions: usize,
    /// Partitions with somebody listening.
    pub hubs: usize,
    /// Bytes of what readers have not taken yet, and of what is kept for those that join.
    pub memory_bytes: usize,
    /// Records delivered since the start.
    pub delivered: u64,
    /// Records dropped because readers were slow, since the start.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) delivered: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// All hubs and subscriptions. Locks are taken in this order: `hubs`, one hub's, one subscription's; `subscriptions` and
/// then one subscription's.
#[derive(Debug)]
pub(crate) struct Live {
    hubs: Mutex<HashMap<Source, Arc<Hub>>>,
    subscriptions: Mutex<HashMap<u64, Arc<Shared>>>,
    next_id: AtomicU64,
    pub(super) counters: Arc<Counters>,
    latest_bytes: Arc<AtomicUsize>,
    pub(super) memory: Arc<LiveMemory>,
    closed: AtomicBool,
}

impl Live {
    /// With memory for what readers have not taken.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        Self {
            hubs: Mutex::default(),
            subscriptions: Mutex::default(),
            next_id: AtomicU64::default(),
            counters: Arc::default(),
            latest_bytes: Arc::default(),
            memory: LiveMemory::new(memory_bytes),
            closed: AtomicBool::default(),
        }
    }

    /// Whether readers lack memory that others hold.
    pub(crate) fn is_short(&self) -> bool {
        self.memory.is_short() || self.memory.share_bytes() == 0
    }

    /// Lets all hubs forget what they keep only for those that may join.
    pub(super) fn relieve(&self) {
        for hub in self.hubs.lock().values() {
            hub.relieve();
        }
    }

    /// Adds a subscription that has no partitions yet.
    pub(super) fn enter(
        &self,
        watch: Watch,
        filter: Option<Filter>,
        machine: Machine,
    ) -> Result<Arc<Shared>, LiveError> {
        let mut subscriptions = self.subscriptions.lock();
        // Looked at with the lock held, under which `close` finds every subscription that is in.
        if self.closed.load(Ordering::SeqCst) {
            return Err(BrokerError::ShuttingDown.into());
        }
        if subscriptions.len() >= LIVE_SUBSCRIPTIONS_MAX {
            return Err(LiveError::TooManySubscriptions);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let counters = Arc::clone(&self.counters);
        let memory = Arc::clone(&self.memory);
        let shared = Arc::new(Shared::new(id, watch, filter, machine, counters, memory));
        subscriptions.insert(id, Arc::clone(&shared));
        Ok(shared)
    }

    /// Removes a subscription, and the hubs that were only for it.
    pub(super) fn leave(&self, shared: &Shared) {
        self.subscriptions.lock().remove(&shared.id);
        let partitions = shared.partitions();
        let mut hubs = self.hubs.lock();
        for partition in partitions {
            let source = source_of(&partition);
            if hubs.get(&source).is_some_and(|hub| hub.leave(shared.id)) {
                hubs.remove(&source);
            }
        }
    }

    /// Lets a subscription that has everything up to `from` listen to the partition's hub, if it is close enough to it.
    pub(super) fn join(
        &self,
        broker: &Broker,
        shared: &Arc<Shared>,
        partition: &PartitionHandle,
        from: Offset,
    ) -> bool {
        let source = source_of(partition);
        let mut hubs = self.hubs.lock();
        let end = partition.offsets().last_stable;
        if partition.is_deleted() || from > end {
            return false;
        }
        if let Some(hub) = hubs.get(&source) {
            if hub.join(shared, from) {
                return true;
            }
            if !hub.is_closed() {
                return false;
            }
            hubs.remove(&source);
        }
        if from < end {
            return false;
        }
        let hub = Hub::new(partition.clone(), from, Arc::clone(&self.memory));
        let joined = hub.join(shared, from);
        hubs.insert(source, Arc::clone(&hub));
        drop(hubs);
        let broker = broker.clone();
        tokio::spawn(async move {
            hub.run(&broker).await;
            broker.inner.live.forget(&hub);
        });
        joined
    }

    /// Removes a hub that has stopped by itself.
    fn forget(&self, hub: &Arc<Hub>) {
        let mut hubs = self.hubs.lock();
        if hubs
            .get(&hub.source())
            .is_some_and(|known| Arc::ptr_eq(known, hub))
        {
            hubs.remove(&hub.source());
        }
    }

    /// Tells subscriptions about partitions of a topic that have come: all from the `first_new` one on. Where to begin in those
    /// before them may still be looked for.
    pub(crate) fn partitions_added(&self, topic: &Arc<TopicHandle>, first_new: u32) {
        let watching: Vec<_> = {
            let subscriptions = self.subscriptions.lock();
            let watching = subscriptions
                .values()
                .filter(|shared| shared.watches(topic));
            watching.cloned().collect()
        };
        if watching.is_empty() {
            return;
        }
        let mut partitions = topic.partitions();
        partitions.retain(|partition| partition.index() >= first_new);
        for shared in watching {
            for partition in &partitions {
                shared.add(partition, Offset::ZERO);
            }
        }
    }

    /// Tells subscriptions that a topic is gone: those that are behind in it would not find out by themselves.
    pub(crate) fn topic_deleted(&self, topic: &Arc<TopicHandle>) {
        let watching: Vec<_> = {
            let subscriptions = self.subscriptions.lock();
            let watching = subscriptions
                .values()
                .filter(|shared| shared.watches(topic));
            watching.cloned().collect()
        };
        for shared in watching {
            for partition in topic.partitions() {
                shared.gone(source_of(&partition));
            }
        }
    }

    /// Ends all subscriptions, and takes no more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let subscriptions: Vec<_> = self.subscriptions.lock().values().cloned().collect();
        for shared in subscriptions {
            shared.end(Disconnected::ShuttingDown);
        }
        for hub in self.hubs.lock().values() {
            hub.stop();
        }
    }

    pub(super) fn stats(&self) -> LiveStats {
        LiveStats {
            subscriptions: self.subscriptions.lock().len(),
            hubs: self.hubs.lock().len(),
            memory_bytes: self.memory.bytes(),
            delivered: self.counters.delivered.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }

    /// Memory to find the latest of each key in.
    pub(super) fn latest_memory(&self) -> LatestMemory {
        LatestMemory {
            total: Arc::clone(&self.latest_bytes),
            bytes: 0,
        }
    }
}

/// Memory for the latest records of one subscription, given back when it is dropped.
#[derive(Debug)]
pub(super) struct LatestMemory {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl LatestMemory {
    /// Makes it `bytes`. Returns whether all subscriptions together may have that much.
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            if self.total.fetch_add(more, Ordering::SeqCst) + more > LIVE_LATEST_BYTES_TOTAL {
                self.total.fetch_sub(more, Ordering::SeqCst);
                return false;
            }
        } else {
            self.total.fetch_sub(self.bytes - bytes, Ordering::SeqCst);
        }
        self.bytes = bytes;
        true
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for LatestMemory {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}
