//! What the rest of the broker, and its users, hold of a topic.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use millstream_catalog::{Topic, TopicId, TopicName};
use millstream_metrics::Counter;
use millstream_record::{TimestampMs, header};
use millstream_store::{Appends, Offsets, Partition};
use parking_lot::{Mutex, RwLock};

use crate::routes::PlanCache;

/// An existing topic. Handles stay valid while the topic changes; once it is deleted, what they lead to refuses.
pub struct TopicHandle {
    id: TopicId,
    name: TopicName,
    now: RwLock<Now>,
    /// Where its records go beside it.
    pub(crate) plan: PlanCache,
    /// Held by who fills those of its queues that refuse.
    pub(crate) filling: Arc<Mutex<()>>,
    fetched_records: Counter,
    fetched_bytes: Counter,
}

/// A topic as it is at present.
struct Now {
    topic: Arc<Topic>,
    logs: Arc<[Arc<Partition>]>,
}

impl TopicHandle {
    /// `logs` are the partitions of `topic`, in order.
    pub(super) fn new(topic: Arc<Topic>, logs: Vec<Arc<Partition>>) -> Arc<Self> {
        Arc::new(Self {
            id: topic.id,
            name: topic.name.clone(),
            now: RwLock::new(Now {
                topic,
                logs: logs.into(),
            }),
            plan: PlanCache::default(),
            filling: Arc::default(),
            fetched_records: Counter::default(),
            fetched_bytes: Counter::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// When it was created.
    pub fn created_ms(&self) -> TimestampMs {
        self.now.read().topic.created_ms
    }

    /// The topic as it is at present: settings and partitions.
    pub fn current(&self) -> Arc<Topic> {
        Arc::clone(&self.now.read().topic)
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        self.now.read().logs.len() as u32
    }

    /// The partition of that index.
    pub fn partition(self: &Arc<Self>, index: u32) -> Option<PartitionHandle> {
        let log = Arc::clone(self.now.read().logs.get(index as usize)?);
        Some(self.handle(index, log))
    }

    /// All partitions, in order.
    pub fn partitions(self: &Arc<Self>) -> Vec<PartitionHandle> {
        let logs = Arc::clone(&self.now.read().logs);
        (0..)
            .zip(logs.iter())
            .map(|(index, log)| self.handle(index, Arc::clone(log)))
            .collect()
    }

    /// What was appended to it since the process started, whoever did.
    pub fn appended(&self) -> Appends {
        let mut all = Appends::default();
        for log in self.logs().iter() {
            let appended = log.appended();
            all.batches += appended.batches;
            all.records += appended.records;
            all.bytes += appended.bytes;
        }
        all
    }

    /// Records and bytes that were fetched from it since the process started: whole batches, as they are stored.
    pub fn fetched(&self) -> (u64, u64) {
        (self.fetched_records.get(), self.fetched_bytes.get())
    }

    /// Counts batches that a reader gets.
    pub(crate) fn count_fetched(&self, slices: &[Bytes]) {
        for slice in slices {
            self.fetched_records.add(header::records_in(slice));
            self.fetched_bytes.add(slice.len() as u64);
        }
    }

    fn handle(self: &Arc<Self>, index: u32, log: Arc<Partition>) -> PartitionHandle {
        PartitionHandle {
            topic: Arc::clone(self),
            index,
            log,
        }
    }

    /// Makes `topic` the present state, with `added` after the partitions that were there.
    pub(super) fn update(&self, topic: Arc<Topic>, added: Vec<Arc<Partition>>) {
        let mut now = self.now.write();
        if !added.is_empty() {
            now.logs = now.logs.iter().cloned().chain(added).collect();
        }
        now.topic = topic;
    }

    pub(super) fn logs(&self) -> Arc<[Arc<Partition>]> {
        Arc::clone(&self.now.read().logs)
    }
}

impl fmt::Debug for TopicHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicHandle({})", self.name)
    }
}

/// One partition of a topic. Cheap to clone.
#[derive(Clone)]
pub struct PartitionHandle {
    topic: Arc<TopicHandle>,
    index: u32,
    pub(crate) log: Arc<Partition>,
}

impl PartitionHandle {
    /// The topic.
    pub fn topic(&self) -> &Arc<TopicHandle> {
        &self.topic
    }

    /// The partition's index in the topic, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Where it begins and ends at present.
    pub fn offsets(&self) -> Offsets {
        self.log.offsets()
    }

    /// Bytes of the batches it holds, wherever they are: in memory, in the journal or in packs.
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// Whether it has gone with its topic.
    pub fn is_deleted(&self) -> bool {
        self.log.is_dropped()
    }
}

impl fmt::Debug for PartitionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic.name, self.index)
    }
}
