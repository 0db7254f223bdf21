//! Creating, altering and deleting topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_catalog::{Change, SettingChange, Topic, TopicId, TopicName, TopicSettings};
use millstream_store::{Commit, Durability, Partition, PartitionId, PartitionOpen, Stay, Ticket};

use super::handle::TopicHandle;
use crate::blocking::to_the_end;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::identity;

/// What a new topic should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` takes the broker's default.
    pub partitions: Option<u32>,
    /// The settings to set, by key.
    pub settings: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic of that name, the rest by default.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// What a new topic would be, all checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partition_count: u32,
    /// Its settings.
    pub settings: TopicSettings,
}

impl Broker {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<Arc<TopicHandle>> {
        self.inner.registry.read().named(name).cloned()
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<TopicHandle>> {
        self.inner.registry.read().by_id(id).cloned()
    }

    /// Every topic, in the order of their names.
    pub fn topics(&self) -> Vec<Arc<TopicHandle>> {
        self.inner.registry.read().all().cloned().collect()
    }

    /// What [`Broker::create_topic`] would make of `new`, or why it would refuse. Creates nothing.
    pub fn check_create(&self, new: &NewTopic) -> Result<PlannedTopic, BrokerError> {
        let plan = self.plan(new)?;
        self.inner
            .catalog
            .lock()
            .check_create(&plan.name, plan.partition_count)?;
        Ok(plan)
    }

    /// Creates a topic.
    pub async fn create_topic(&self, new: NewTopic) -> Result<Arc<TopicHandle>, BrokerError> {
        let (topic, durable) = self.begin_create(self.plan(&new)?)?;
        durable.await?;
        tracing::info!(topic = %topic.name(), partitions = topic.partition_count(), "topic created");
        Ok(topic)
    }

    /// The topic of that name, created with everything by default if there is none. Any number may ask at once.
    pub async fn ensure_topic(&self, name: &str) -> Result<Arc<TopicHandle>, BrokerError> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        match self.create_topic(NewTopic::named(name)).await {
            // Somebody else was first.
            Err(BrokerError::TopicExists(_)) => self.topic(name).ok_or(BrokerError::UnknownTopic),
            created => created,
        }
    }

    /// Whether [`Broker::add_partitions`] would work. Adds nothing.
    pub fn check_add_partitions(&self, id: TopicId, total: u32) -> Result<(), BrokerError> {
        self.inner.catalog.lock().check_grow(id, total)?;
        Ok(())
    }

    /// Gives the topic partitions until it has `total`.
    pub async fn add_partitions(&self, id: TopicId, total: u32) -> Result<(), BrokerError> {
        self.begin_add(id, total)?.await?;
        Ok(())
    }

    /// The settings that [`Broker::alter_topic`] would leave the topic with. Changes nothing.
    pub fn check_alter(
        &self,
        id: TopicId,
        changes: &[SettingChange],
    ) -> Result<TopicSettings, BrokerError> {
        let topic = self.topic_by_id(id).ok_or(BrokerError::UnknownTopic)?;
        Ok(topic.current().settings.changed(changes)?)
    }

    /// Changes some of the topic's settings, all or none.
    pub async fn alter_topic(
        &self,
        id: TopicId,
        changes: &[SettingChange],
    ) -> Result<(), BrokerError> {
        self.finish_alter(self.begin_alter(|catalog| catalog.alter(id, changes))?)
            .await
    }

    /// The settings that [`Broker::replace_topic_settings`] would leave the topic with. Changes nothing.
    pub fn check_replace(
        &self,
        id: TopicId,
        settings: BTreeMap<String, String>,
    ) -> Result<TopicSettings, BrokerError> {
        let topic = self.topic_by_id(id).ok_or(BrokerError::UnknownTopic)?;
        Ok(topic.current().settings.replaced(settings)?)
    }

    /// Gives the topic exactly these settings, and the defaults for all others.
    pub async fn replace_topic_settings(
        &self,
        id: TopicId,
        settings: BTreeMap<String, String>,
    ) -> Result<(), BrokerError> {
        self.finish_alter(self.begin_alter(|catalog| catalog.replace_settings(id, settings))?)
            .await
    }

    /// Deletes the topic with its records and every group's offsets in it, and gives the disk back.
    pub async fn delete_topic(&self, id: TopicId) -> Result<(), BrokerError> {
        let (name, durable) = self.begin_delete(id)?;
        let broker = self.clone();
        let finishing = async move { broker.finish_delete(id, name, durable).await };
        // To the end, whether or not somebody waits for it.
        to_the_end(finishing)
            .await
            .unwrap_or(Err(BrokerError::ShuttingDown))
    }

    async fn finish_delete(
        &self,
        id: TopicId,
        name: TopicName,
        durable: Ticket,
    ) -> Result<(), BrokerError> {
        durable.await?;
        for queue in self.queues_of(id) {
            if let Err(error) = queue.delete().await {
                tracing::warn!(topic = %name, ?queue, %error, "the state of a deleted topic's queue is still there");
            }
        }
        // The topic is gone whatever happens here: offsets that stay behind are nobody's and expire.
        if let Err(error) = self.inner.groups.forget_topic(id).await {
            tracing::warn!(topic = %name, %error, "the offsets of a deleted topic are still there");
        }
        tracing::info!(topic = %name, "topic deleted");
        Ok(())
    }

    fn plan(&self, new: &NewTopic) -> Result<PlannedTopic, BrokerError> {
        Ok(PlannedTopic {
            name: TopicName::new(&new.name)?,
            partition_count: new
                .partitions
                .unwrap_or(self.inner.settings.default_partitions),
            settings: TopicSettings::new(
                new.settings
                    .iter()
                    .map(|(key, value)| (key, value.as_str())),
            )?,
        })
    }

    fn begin_create(&self, plan: PlannedTopic) -> Result<(Arc<TopicHandle>, Ticket), BrokerError> {
        let mut catalog = self.inner.catalog.lock();
        catalog.check_create(&plan.name, plan.partition_count)?;
        self.inner.slot.check_room(Stay::Lasting)?;
        let topic = Topic {
            id: identity::topic_id(&*self.inner.env.rng),
            name: plan.name,
            partitions: self.reserve(plan.partition_count),
            settings: plan.settings,
            created_ms: self.now(),
        };
        let change = catalog.create(topic)?;
        let topic = Arc::clone(created(&change));
        let durable = self.sequence(&change, opens(&topic, &topic.partitions), Vec::new())?;
        catalog.apply(&change);
        let handle = TopicHandle::new(Arc::clone(&topic), self.opened(&topic.partitions)?);
        self.inner.registry.write().insert(Arc::clone(&handle));
        self.inner.live.partitions_added(&handle, 0);
        self.inner.routes.topics_changed();
        Ok((handle, durable))
    }

    fn begin_add(&self, id: TopicId, total: u32) -> Result<Ticket, BrokerError> {
        let mut catalog = self.inner.catalog.lock();
        let count = catalog.check_grow(id, total)?;
        self.inner.slot.check_room(Stay::Lasting)?;
        let added = self.reserve(count);
        let change = catalog.grow(id, &added)?;
        let topic = Arc::clone(created(&change));
        let durable = self.sequence(&change, opens(&topic, &added), Vec::new())?;
        catalog.apply(&change);
        let handle = self.handle_of(id)?;
        let first_new = handle.partition_count();
        handle.update(topic, self.opened(&added)?);
        self.inner.registry.write().insert(Arc::clone(&handle));
        self.inner.live.partitions_added(&handle, first_new);
        self.inner.queues.topic_changed(id);
        Ok(durable)
    }

    fn begin_alter(
        &self,
        change: impl FnOnce(
            &millstream_catalog::Catalog,
        ) -> Result<Change, millstream_catalog::CatalogError>,
    ) -> Result<(Arc<TopicHandle>, Ticket), BrokerError> {
        let mut catalog = self.inner.catalog.lock();
        let change = change(&catalog)?;
        self.inner.slot.check_room(Stay::Passing)?;
        let topic = Arc::clone(created(&change));
        let durable = self.sequence(&change, Vec::new(), Vec::new())?;
        catalog.apply(&change);
        let handle = self.handle_of(topic.id)?;
        handle.update(topic, Vec::new());
        Ok((handle, durable))
    }

    /// Retention acts on new settings only when they are durable: what it drops does not come back.
    async fn finish_alter(
        &self,
        (topic, durable): (Arc<TopicHandle>, Ticket),
    ) -> Result<(), BrokerError> {
        durable.await?;
        let policy = topic.current().settings.values().partition_policy();
        for log in topic.logs().iter() {
            self.inner.slot.set_policy(log.id(), policy);
        }
        Ok(())
    }

    fn begin_delete(&self, id: TopicId) -> Result<(TopicName, Ticket), BrokerError> {
        let mut catalog = self.inner.catalog.lock();
        let change = catalog.delete(id, self.now())?;
        let topic = change.before.as_ref().ok_or(BrokerError::UnknownTopic)?;
        let name = topic.name.clone();
        let durable = self.sequence(&change, Vec::new(), topic.partitions.clone())?;
        catalog.apply(&change);
        let handle = self.topic_by_id(id);
        self.inner.registry.write().remove(id);
        if let Some(handle) = handle {
            self.inner.live.topic_deleted(&handle);
        }
        self.inner.routes.topics_changed();
        Ok((name, durable))
    }

    /// Commits a change of the catalogue together with what it means for the partitions.
    fn sequence(
        &self,
        change: &Change,
        opens: Vec<PartitionOpen>,
        drops: Vec<PartitionId>,
    ) -> Result<Ticket, BrokerError> {
        let commit = Commit {
            opens,
            drops,
            puts: change.puts.clone(),
            deletes: change.deletes.clone(),
            // The catalogue is as durable as can be, whatever the topic promises.
            promise: Some(Durability::Fsync),
            ..Commit::default()
        };
        Ok(self.inner.slot.commit(commit)?.durable)
    }

    fn reserve(&self, count: u32) -> Vec<PartitionId> {
        (0..count)
            .map(|_| self.inner.slot.next_partition_id())
            .collect()
    }

    fn opened(&self, ids: &[PartitionId]) -> Result<Vec<Arc<Partition>>, BrokerError> {
        ids.iter()
            .map(|&id| {
                self.inner
                    .slot
                    .partition(id)
                    .ok_or(BrokerError::UnknownPartition)
            })
            .collect()
    }

    fn handle_of(&self, id: TopicId) -> Result<Arc<TopicHandle>, BrokerError> {
        self.topic_by_id(id).ok_or(BrokerError::UnknownTopic)
    }
}

fn created(change: &Change) -> &Arc<Topic> {
    change
        .after
        .as_ref()
        .expect("only a deletion leaves no topic")
}

fn opens(topic: &Topic, ids: &[PartitionId]) -> Vec<PartitionOpen> {
    let values = topic.settings.values();
    ids.iter()
        .map(|&id| PartitionOpen {
            id,
            durability: values.durability,
            policy: values.partition_policy(),
        })
        .collect()
}
