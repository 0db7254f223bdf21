//! The handles of all topics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_catalog::{Catalog, Topic, TopicId, TopicName};
use millstream_store::{Partition, PartitionId, Slot};

use super::handle::TopicHandle;
use crate::error::OpenError;

/// The handles of all topics.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_name: BTreeMap<TopicName, Arc<TopicHandle>>,
    by_id: HashMap<TopicId, Arc<TopicHandle>>,
    /// Which topic's partition a log is, and which of them.
    places: HashMap<PartitionId, (TopicId, u32)>,
}

impl Registry {
    /// Connects every topic of `catalog` with its partitions in `slot`, and tells those how their records are kept.
    pub(crate) fn open(slot: &Slot, catalog: &Catalog) -> Result<Self, OpenError> {
        let mut registry = Self::default();
        for topic in catalog.topics() {
            let logs = logs(slot, topic)?;
            let policy = topic.settings.values().partition_policy();
            for log in &logs {
                slot.set_policy(log.id(), policy);
            }
            registry.insert(TopicHandle::new(Arc::clone(topic), logs));
        }
        Ok(registry)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Arc<TopicHandle>> {
        self.by_name.get(name)
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<&Arc<TopicHandle>> {
        self.by_id.get(&id)
    }

    /// In the order of their names.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<TopicHandle>> {
        self.by_name.values()
    }

    /// Which topic's partition a log is, and which of them.
    pub(crate) fn place_of(&self, partition: PartitionId) -> Option<(TopicId, u32)> {
        self.places.get(&partition).copied()
    }

    /// Takes in a topic, or that it has more partitions.
    pub(super) fn insert(&mut self, topic: Arc<TopicHandle>) {
        let id = topic.id();
        for (index, log) in (0..).zip(topic.logs().iter()) {
            self.places.insert(log.id(), (id, index));
        }
        self.by_name
            .insert(topic.name().clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id(), topic);
    }

    pub(super) fn remove(&mut self, id: TopicId) {
        if let Some(topic) = self.by_id.remove(&id) {
            self.by_name.remove(topic.name());
            for log in topic.logs().iter() {
                self.places.remove(&log.id());
            }
        }
    }
}

fn logs(slot: &Slot, topic: &Topic) -> Result<Vec<Arc<Partition>>, OpenError> {
    let log = |(index, id): (u32, PartitionId)| {
        let topic = topic.name.clone();
        slot.partition(id)
            .ok_or(OpenError::MissingPartition { topic, index, id })
    };
    (0..)
        .zip(topic.partitions.iter().copied())
        .map(log)
        .collect()
}
