//! The registry of topics, and the changes it allows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use millstream_limits::{PARTITIONS_MAX, TOPIC_PARTITIONS_MAX, TOPIC_TOMBSTONE_RETENTION_MS};
use millstream_record::TimestampMs;
use millstream_store::PartitionId;

use crate::entry::{self, Entry, EntryError};
use crate::error::CatalogError;
use crate::name::TopicName;
use crate::settings::{SettingChange, TopicSettings};
use crate::topic::{Topic, TopicId};

/// Every topic there is.
///
/// A change has two halves: a method checks it and returns a [`Change`], and once the change's state entries are
/// committed, [`Catalog::apply`] makes it so here. Whoever holds the catalogue keeps others out between the two.
#[derive(Debug, Default)]
pub struct Catalog {
    topics: HashMap<TopicId, Arc<Topic>>,
    by_name: BTreeMap<TopicName, TopicId>,
    tombstones: BTreeSet<(TimestampMs, TopicId)>,
    partition_count: usize,
}

/// A change that was allowed: what to commit, and what it is about.
#[derive(Debug)]
#[must_use = "a change is made by committing and applying it"]
pub struct Change {
    /// The topic as it was, unless it is new.
    pub before: Option<Arc<Topic>>,
    /// The topic as it will be, unless it goes.
    pub after: Option<Arc<Topic>>,
    /// State entries to put.
    pub puts: Vec<(Bytes, Bytes)>,
    /// State entries to delete.
    pub deletes: Vec<Bytes>,
    /// Tombstones that `deletes` lets go.
    forgotten: Vec<(TimestampMs, TopicId)>,
    /// The tombstone that `puts` sets.
    tombstone: Option<(TimestampMs, TopicId)>,
}

impl Catalog {
    /// Reads the catalogue from its state entries: those whose keys start with [`entry::KEY_PREFIX`].
    pub fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, EntryError> {
        let mut catalog = Self::default();
        for (key, value) in entries {
            match entry::decode(key.as_ref(), value.as_ref())? {
                Entry::Topic(topic) => catalog.insert(Arc::new(topic)),
                Entry::Tombstone { id, deleted_ms, .. } => {
                    catalog.tombstones.insert((deleted_ms, id));
                }
            }
        }
        Ok(catalog)
    }

    /// The topic of that id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The topic of that name.
    pub fn topic_named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name).and_then(|id| self.topics.get(id))
    }

    /// Every topic, in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values().filter_map(|id| self.topics.get(id))
    }

    /// Whether a topic of that id was deleted, as far back as tombstones are kept.
    pub fn was_deleted(&self, id: TopicId) -> bool {
        self.tombstones.iter().any(|&(_, deleted)| deleted == id)
    }

    /// Checks that a topic may be created, without its id and places: the same checks as [`Catalog::create`].
    pub fn check_create(&self, name: &TopicName, partition_count: u32) -> Result<(), CatalogError> {
        if self.by_name.contains_key(name) {
            return Err(CatalogError::Exists(name.clone()));
        }
        if !(1..=TOPIC_PARTITIONS_MAX).contains(&partition_count) {
            return Err(CatalogError::PartitionCount(partition_count));
        }
        self.check_total(partition_count)
    }

    /// Creates `topic`.
    pub fn create(&self, topic: Topic) -> Result<Change, CatalogError> {
        self.check_create(&topic.name, topic.partitions.len() as u32)?;
        Ok(Change::put(None, topic))
    }

    /// Gives the topic the settings that `changes` make of those it has.
    pub fn alter(&self, id: TopicId, changes: &[SettingChange]) -> Result<Change, CatalogError> {
        let before = self.known(id)?;
        let settings = before.settings.changed(changes)?;
        Ok(with_settings(before, settings))
    }

    /// Gives the topic exactly the settings in `set`, and for the rest the defaults.
    pub fn replace_settings(
        &self,
        id: TopicId,
        set: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Change, CatalogError> {
        let before = self.known(id)?;
        let settings = before.settings.replaced(set)?;
        Ok(with_settings(before, settings))
    }

    /// Checks that the topic may grow to `wanted` partitions, and returns by how many it would.
    pub fn check_grow(&self, id: TopicId, wanted: u32) -> Result<u32, CatalogError> {
        let topic = self.known(id)?;
        let current = topic.partitions.len() as u32;
        if wanted <= current {
            return Err(CatalogError::FewerPartitions { current, wanted });
        }
        if wanted > TOPIC_PARTITIONS_MAX {
            return Err(CatalogError::PartitionCount(wanted));
        }
        self.check_total(wanted - current)?;
        Ok(wanted - current)
    }

    /// Gives the topic further partitions, which live at `added`.
    pub fn grow(&self, id: TopicId, added: &[PartitionId]) -> Result<Change, CatalogError> {
        let before = self.known(id)?;
        self.check_grow(id, before.partitions.len() as u32 + added.len() as u32)?;
        let mut after = Topic::clone(&before);
        after.partitions.extend_from_slice(added);
        Ok(Change::put(Some(before), after))
    }

    /// Deletes the topic: its entry becomes a tombstone. Tombstones that are old enough go with it.
    pub fn delete(&self, id: TopicId, now: TimestampMs) -> Result<Change, CatalogError> {
        let before = self.known(id)?;
        let horizon = (
            now.saturating_sub(TOPIC_TOMBSTONE_RETENTION_MS),
            TopicId(uuid::Uuid::nil()),
        );
        let forgotten: Vec<_> = self.tombstones.range(..horizon).copied().collect();
        Ok(Change {
            puts: vec![(entry::key(id), entry::encode_tombstone(&before, now))],
            deletes: forgotten.iter().map(|&(_, id)| entry::key(id)).collect(),
            before: Some(before),
            after: None,
            forgotten,
            tombstone: Some((now, id)),
        })
    }

    /// Makes `change` so.
    pub fn apply(&mut self, change: &Change) {
        if let Some(before) = &change.before {
            self.by_name.remove(&before.name);
            self.topics.remove(&before.id);
            self.partition_count -= before.partitions.len();
        }
        if let Some(after) = &change.after {
            self.insert(Arc::clone(after));
        }
        for tombstone in &change.forgotten {
            self.tombstones.remove(tombstone);
        }
        self.tombstones.extend(change.tombstone);
    }

    fn insert(&mut self, topic: Arc<Topic>) {
        self.partition_count += topic.partitions.len();
        self.by_name.insert(topic.name.clone(), topic.id);
        self.topics.insert(topic.id, topic);
    }

    fn known(&self, id: TopicId) -> Result<Arc<Topic>, CatalogError> {
        self.topics
            .get(&id)
            .cloned()
            .ok_or(CatalogError::Unknown(id))
    }

    fn check_total(&self, added: u32) -> Result<(), CatalogError> {
        if self.partition_count + added as usize > PARTITIONS_MAX {
            return Err(CatalogError::TooManyPartitions);
        }
        Ok(())
    }
}

fn with_settings(before: Arc<Topic>, settings: TopicSettings) -> Change {
    let after = Topic {
        settings,
        ..Topic::clone(&before)
    };
    Change::put(Some(before), after)
}

impl Change {
    fn put(before: Option<Arc<Topic>>, after: Topic) -> Self {
        Self {
            puts: vec![(entry::key(after.id), entry::encode_topic(&after))],
            deletes: Vec::new(),
            before,
            after: Some(Arc::new(after)),
            forgotten: Vec::new(),
            tombstone: None,
        }
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
