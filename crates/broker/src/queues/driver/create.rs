//! Creating and deleting queues.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use millstream_catalog::TopicName;
use millstream_limits::{QUEUE_STATE_DELETES_PER_COMMIT, QUEUES_MAX, RECORD_ENCODED_BYTES_MAX};
use millstream_record::{Offset, TimestampMs};
use millstream_store::{Commit, Durability, Stay, Ticket};

use super::cell::{Cell, JointCommit};
use super::check::check_policy;
use super::keeper::keep;
use super::{QueueHandle, Queues};
use crate::blocking::to_the_end;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::filter::Filter;
use crate::queues::definition::{self, QueueDefinition};
use crate::queues::error::QueueError;
use crate::queues::ids::{Incarnation, QueueId};
use crate::queues::machine::{Effects, PartitionBounds, Queue, Setup};
use crate::queues::policy::{Overflow, QueuePolicy};
use crate::queues::record;
use crate::topics::{NewTopic, TopicHandle};

/// What follows a queue's name in the name of its dead letters' topic, unless it is named.
const DEAD_SUFFIX: &str = ".dead";

/// The largest dead letter: a record, and what is said of its death.
const DEAD_LETTER_BYTES_MAX: usize = RECORD_ENCODED_BYTES_MAX + (1 << 20);

/// A queue to be made.
#[derive(Clone, Debug)]
pub struct NewQueue {
    /// Its name: unique, and of the form of a topic's.
    pub name: String,
    /// The topic that it reads.
    pub topic: Arc<TopicHandle>,
    /// Where it begins.
    pub start: StartAt,
    /// What it is told to do.
    pub policy: QueuePolicy,
    /// Which records it wants; all if there is none.
    pub filter: Option<Filter>,
    /// Where dead letters go; `NAME.dead` if left out. It is created if it is not there.
    pub dead_letter_topic: Option<String>,
}

/// Where a queue begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// With the first record there is.
    Earliest,
    /// With what is published from now on.
    #[default]
    Latest,
    /// With the first record of that time or later.
    Time(TimestampMs),
}

impl Broker {
    /// Creates a queue. Returns when it is durable.
    pub async fn create_queue(&self, new: NewQueue) -> Result<QueueHandle, QueueError> {
        let queues = &self.inner.queues;
        let invalid = || QueueError::InvalidName(new.name.as_str().into());
        TopicName::new(&new.name).map_err(|_| invalid())?;
        check_policy(&new.policy)?;
        let _changing = queues.changes.lock().await;
        if queues.index.read().contains(&new.name) {
            return Err(QueueError::QueueExists(new.name.into()));
        }
        if queues.index.read().len() >= QUEUES_MAX {
            return Err(QueueError::TooManyQueues(QUEUES_MAX));
        }
        let checked = self.inner.slot.check_room(Stay::Lasting);
        checked.map_err(BrokerError::from)?;
        let dead_letter_topic = new
            .dead_letter_topic
            .clone()
            .unwrap_or_else(|| format!("{}{DEAD_SUFFIX}", new.name));
        if new.policy.dead_letters || new.dead_letter_topic.is_some() {
            self.check_dead_letters(&new.name, new.topic.name(), &dead_letter_topic)?;
        }
        if new.policy.dead_letters {
            self.ensure_dead_letters(&dead_letter_topic).await?;
        }
        let definition = Arc::new(QueueDefinition {
            name: new.name.as_str().into(),
            topic: new.topic.id(),
            policy: QueuePolicy {
                filtered: new.filter.is_some(),
                ..new.policy.clone()
            },
            dead_letter_topic: dead_letter_topic.into(),
            filter: new.filter.clone(),
            deleted: false,
        });
        let bounds = self.bounds(&new.topic, new.start).await?;
        let incarnation = self.first_incarnation().await?;
        let id = QueueId(queues.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let setup = Setup {
            policy: definition.policy.clone(),
            partitions: bounds,
            incarnation,
            seed: self.inner.env.rng.next_u64(),
            ids: Arc::clone(&queues.ids),
        };
        let mut effects = Effects::default();
        let machine = Queue::create(setup, self.now(), &mut effects);
        let durability = new.topic.current().settings.values().durability;
        let cell = Arc::new(Cell::new(id, Arc::clone(&definition), durability, machine));
        let commit = Commit {
            puts: vec![
                (definition::key(id), definition::encode(&definition)),
                (
                    Bytes::from_static(crate::keys::LAST_QUEUE_ID),
                    Bytes::copy_from_slice(&id.0.to_be_bytes()),
                ),
            ],
            ..Commit::default()
        };
        let slot = &self.inner.slot;
        let joint = JointCommit::prepare(slot, commit, Durability::Fsync, 0);
        let joint = joint.map_err(BrokerError::from)?;
        let durable = {
            let mut state = cell.state.lock();
            let begun = |_: &mut Queue, effects_then: &mut Effects| *effects_then = effects;
            let performed = cell.perform_jointly(&mut state, slot, joint, begun);
            performed.map_err(BrokerError::from)?;
            state.durable.clone()
        };
        // It is there from now on, also for whoever asks again because the first answer did not reach him.
        queues.count_refusing(false, may_refuse(&definition.policy));
        queues.index.write().insert(Arc::clone(&cell));
        tokio::spawn(keep(Arc::downgrade(&self.inner), Arc::clone(&cell)));
        if let Some(durable) = durable {
            durable.await.map_err(BrokerError::from)?;
        }
        tracing::info!(queue = %cell.name, topic = %new.topic.name(), "queue created");
        Ok(self.handle(cell))
    }

    /// Makes sure that there is a topic for dead letters.
    pub(super) async fn ensure_dead_letters(&self, name: &str) -> Result<(), QueueError> {
        if self.topic(name).is_some() {
            return Ok(());
        }
        let new = NewTopic {
            name: name.to_owned(),
            partitions: Some(1),
            // Dead letters are kept until somebody has looked at them, and whatever a topic took is taken here too.
            settings: [
                ("retention.ms", "-1".to_owned()),
                ("max.message.bytes", DEAD_LETTER_BYTES_MAX.to_string()),
                ("message.timestamp.after.max.ms", i64::MAX.to_string()),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        };
        match self.create_topic(new).await {
            Ok(_) | Err(BrokerError::TopicExists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn bounds(
        &self,
        topic: &Arc<TopicHandle>,
        start: StartAt,
    ) -> Result<Vec<PartitionBounds>, QueueError> {
        let mut bounds = Vec::new();
        for partition in topic.partitions() {
            let offsets = partition.offsets();
            let start = match start {
                StartAt::Earliest => offsets.log_start,
                StartAt::Latest => offsets.last_stable,
                StartAt::Time(time) => {
                    self.start_since(&partition, time, offsets.last_stable)
                        .await?
                }
            };
            bounds.push(PartitionBounds {
                start,
                end: offsets.last_stable,
            });
        }
        Ok(bounds)
    }

    async fn first_incarnation(&self) -> Result<Incarnation, QueueError> {
        let mut last = self.inner.queues.incarnation.lock().await;
        if *last == 0 {
            *last = self.raise_incarnation(*last).await?;
        }
        Ok(Incarnation(*last))
    }

    async fn raise_incarnation(&self, last: u32) -> Result<u32, QueueError> {
        let next = last + 1;
        let commit = super::load::incarnation_commit(next);
        let sequenced = self.inner.slot.commit(commit).map_err(BrokerError::from)?;
        sequenced.durable.await.map_err(BrokerError::from)?;
        Ok(next)
    }

    /// Removes what is left of a queue that is marked as deleted.
    pub(super) async fn remove_remains(&self, id: QueueId) -> Result<(), QueueError> {
        loop {
            let slot = self.inner.slot.clone();
            let some = self
                .inner
                .blocking
                .run(move || {
                    let scan = slot.state().scan(&record::prefix(id))?;
                    scan.take(QUEUE_STATE_DELETES_PER_COMMIT)
                        .map(|entry| entry.map(|(key, _)| key))
                        .collect::<Result<Vec<_>, _>>()
                })
                .await
                .map_err(|error| BrokerError::Io(error.to_string().into()))?;
            let is_last = some.len() < QUEUE_STATE_DELETES_PER_COMMIT;
            let mut deletes = some;
            if is_last {
                deletes.push(definition::key(id));
            }
            let commit = Commit {
                deletes,
                ..Commit::default()
            };
            let sequenced = self.inner.slot.commit(commit).map_err(BrokerError::from)?;
            sequenced.durable.await.map_err(BrokerError::from)?;
            if is_last {
                return Ok(());
            }
        }
    }
}

impl QueueHandle {
    /// Deletes the queue. Its messages stay in the topic; its dead letters stay in theirs.
    pub async fn delete(&self) -> Result<(), QueueError> {
        let queue = self.clone();
        // To the end, whether or not somebody waits for it.
        to_the_end(async move { queue.delete_now().await })
            .await
            .unwrap_or_else(|| Err(BrokerError::ShuttingDown.into()))
    }

    async fn delete_now(&self) -> Result<(), QueueError> {
        let broker = &self.broker;
        let _changing = broker.inner.queues.changes.lock().await;
        if !broker.inner.queues.index.read().holds(&self.cell) {
            return Err(QueueError::UnknownQueue);
        }
        let durable = self.mark_deleted()?;
        // Only now: what the queue holds may go as soon as it is not in the index.
        broker.inner.queues.index.write().remove(&self.cell);
        let policy = &self.definition().policy;
        broker
            .inner
            .queues
            .count_refusing(may_refuse(policy), false);
        durable.await.map_err(BrokerError::from)?;
        broker.remove_remains(self.id()).await?;
        tracing::info!(queue = %self.cell.name, "queue deleted");
        Ok(())
    }

    /// Sequences that the queue is deleted, and closes it.
    fn mark_deleted(&self) -> Result<Ticket, QueueError> {
        let mut state = self.cell.state.lock();
        let definition = QueueDefinition {
            deleted: true,
            ..(*state.definition).clone()
        };
        let commit = Commit {
            puts: vec![(definition::key(self.id()), definition::encode(&definition))],
            ..Commit::default()
        };
        let slot = &self.broker.inner.slot;
        let sequenced = slot.commit(commit).map_err(BrokerError::from)?;
        state.close();
        drop(state);
        self.cell.work.notify_one();
        Ok(sequenced.durable)
    }

    /// Tells the machine where partitions end and begin at present, and which have been added.
    pub(super) fn learn_ends(&self, state: &mut super::cell::State, effects: &mut Effects) {
        if let Some(topic) = self.broker.topic_by_id(self.cell.topic) {
            learn_ends(&topic, state, self.broker.now(), effects);
        }
    }
}

/// Tells the machine where partitions end and begin at present, and which have been added.
pub(super) fn learn_ends(
    topic: &Arc<TopicHandle>,
    state: &mut super::cell::State,
    now: TimestampMs,
    effects: &mut Effects,
) {
    for partition in topic.partitions() {
        let (index, offsets) = (partition.index(), partition.offsets());
        if index as usize >= state.machine.partitions() {
            state
                .machine
                .partition_added(Offset::ZERO, offsets.last_stable, now, effects);
            continue;
        }
        let low = state.machine.low_water_mark(index);
        if low.is_some_and(|low| low < offsets.log_start) {
            state
                .machine
                .trimmed(index, offsets.log_start, now, effects);
        }
        state
            .machine
            .appended(index, offsets.last_stable, now, effects);
    }
}

impl Queues {
    pub(super) fn count_refusing(&self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.refusing.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.refusing.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}

pub(super) fn may_refuse(policy: &QueuePolicy) -> bool {
    policy
        .length
        .is_some_and(|length| length.overflow == Overflow::Refuse)
}
