//! What operators do to queues.

use std::sync::Arc;

use millstream_catalog::TopicName;
use millstream_limits::QUEUE_RECEIVE_BYTES_MAX;
use millstream_record::{Offset, TimestampMs};
use millstream_store::{Commit, Durability, Stay};

use super::QueueHandle;
use super::cell::JointCommit;
use super::check::check_policy;
use super::read::{Found, Message, read};
use crate::error::BrokerError;
use crate::queues::definition::{self, QueueDefinition};
use crate::queues::error::QueueError;
use crate::queues::ids::ConsumerId;
use crate::queues::machine::{Depth, Effects, Queue, RecordState, Totals};
use crate::queues::policy::{Access, QueuePolicy};

/// How a queue is doing.
#[derive(Clone, Debug)]
pub struct QueueDescription {
    /// What it is.
    pub definition: Arc<QueueDefinition>,
    /// The topic's name.
    pub topic: TopicName,
    /// How much there is in which state.
    pub depth: Depth,
    /// What happened since the server started.
    pub totals: Totals,
    /// Whether deliveries are suspended.
    pub paused: bool,
    /// Requests that wait.
    pub waiting_requests: usize,
    /// Leases that have not ended.
    pub leases: usize,
    /// The memory that its state takes.
    pub memory_bytes: usize,
}

/// A message that was looked at and not received.
#[derive(Clone, Debug)]
pub struct BrowsedMessage {
    /// The message.
    pub message: Message,
    /// What happened to it so far.
    pub state: RecordState,
    /// How often it was delivered and came back.
    pub attempts: u32,
}

impl QueueHandle {
    /// How it is doing.
    pub fn describe(&self) -> Result<QueueDescription, QueueError> {
        let topic = self.broker.topic_by_id(self.cell.topic);
        let topic = topic.ok_or(QueueError::UnknownQueue)?.name().clone();
        let mut state = self.cell.state.lock();
        state.check_open()?;
        let mut effects = Effects::default();
        self.learn_ends(&mut state, &mut effects);
        self.perform(&mut state, &mut effects, self.cell.unsynced())?;
        Ok(QueueDescription {
            definition: Arc::clone(&state.definition),
            topic,
            depth: state.machine.depth(None),
            totals: *state.machine.totals(),
            paused: state.machine.is_paused(),
            waiting_requests: state.machine.waiting_requests(),
            leases: state.machine.leases(),
            memory_bytes: state.machine.heap_bytes(),
        })
    }

    /// When the oldest message that is not finished was made; none if there is none.
    pub async fn oldest(&self) -> Result<Option<TimestampMs>, QueueError> {
        let topic = self.broker.topic_by_id(self.cell.topic);
        let topic = topic.ok_or(QueueError::UnknownQueue)?;
        let mut oldest: Option<TimestampMs> = None;
        for partition in topic.partitions() {
            let first = {
                let state = self.cell.state.lock();
                let first = state.machine.browse(partition.index(), Offset::ZERO, 1);
                first.first().map(|first| first.offset)
            };
            let Some(first) = first else { continue };
            let records = read(&self.broker, &partition, &[first], 1).await?;
            if let Some((_, Found::Record(record))) = records.found.first() {
                oldest = Some(oldest.map_or(record.timestamp, |age| age.min(record.timestamp)));
            }
        }
        Ok(oldest)
    }

    /// Messages that are not finished, at most `max` and no more bytes than one delivery has, without receiving them: partition
    /// by partition, in the order of the log.
    pub async fn browse(&self, max: usize) -> Result<Vec<BrowsedMessage>, QueueError> {
        let topic = self.broker.topic_by_id(self.cell.topic);
        let topic = topic.ok_or(QueueError::UnknownQueue)?;
        let (mut browsed, mut left_bytes) = (Vec::new(), QUEUE_RECEIVE_BYTES_MAX);
        for partition in topic.partitions() {
            let open = {
                let state = self.cell.state.lock();
                state.check_open()?;
                let left = max - browsed.len();
                state.machine.browse(partition.index(), Offset::ZERO, left)
            };
            let offsets: Vec<Offset> = open.iter().map(|open| open.offset).collect();
            let records = read(&self.broker, &partition, &offsets, left_bytes).await?;
            left_bytes = left_bytes.saturating_sub(records.size_bytes);
            for ((_, found), open) in records.found.into_iter().zip(open) {
                if let Found::Record(record) = found {
                    browsed.push(BrowsedMessage {
                        message: Message::new(&topic, partition.index(), record),
                        state: open.state,
                        attempts: open.attempts.into(),
                    });
                }
            }
            if browsed.len() >= max || left_bytes == 0 {
                break;
            }
        }
        Ok(browsed)
    }

    /// Finishes everything that nobody holds. Says how many messages that were.
    pub async fn purge(&self) -> Result<u64, QueueError> {
        let mut purged = 0;
        let purge = |machine: &mut Queue, now, effects: &mut Effects| {
            purged = machine.purge(now, effects);
        };
        self.administer(self.cell.durability, purge).await?;
        Ok(purged)
    }

    /// Delivers nothing until it is resumed, also after a restart: as durable as the queue itself, whatever its topic promises.
    pub async fn pause(&self) -> Result<(), QueueError> {
        let pause = |machine: &mut Queue, _, effects: &mut Effects| machine.pause(effects);
        self.administer(Durability::Fsync, pause).await
    }

    /// Delivers again.
    pub async fn resume(&self) -> Result<(), QueueError> {
        self.administer(Durability::Fsync, Queue::resume).await
    }

    /// Tells the queue to do otherwise, at once.
    pub async fn alter(&self, policy: QueuePolicy) -> Result<(), QueueError> {
        self.alter_with(|_| Ok(policy)).await
    }

    /// The same, given what it is told at present. Nobody else changes that meanwhile.
    pub async fn alter_with<E: From<QueueError>>(
        &self,
        change: impl FnOnce(&QueuePolicy) -> Result<QueuePolicy, E>,
    ) -> Result<(), E> {
        let _changing = self.broker.inner.queues.changes.lock().await;
        let policy = change(&self.definition().policy)?;
        Ok(self.set_policy(policy).await?)
    }

    /// Only one at a time.
    async fn set_policy(&self, mut policy: QueuePolicy) -> Result<(), QueueError> {
        let broker = &self.broker;
        let current = self.definition();
        policy.filtered = current.filter.is_some();
        check_policy(&policy)?;
        if policy.dead_letters {
            // What goes round since before that was refused can still be told to do otherwise.
            if !current.policy.dead_letters {
                let topic = broker.topic_by_id(self.cell.topic);
                let topic = topic.ok_or(QueueError::UnknownQueue)?;
                broker.check_dead_letters(self.name(), topic.name(), &current.dead_letter_topic)?;
            }
            broker
                .ensure_dead_letters(&current.dead_letter_topic)
                .await?;
        }
        let definition = Arc::new(QueueDefinition {
            policy: policy.clone(),
            ..(*current).clone()
        });
        let slot = &broker.inner.slot;
        let commit = Commit {
            puts: vec![(definition::key(self.id()), definition::encode(&definition))],
            ..Commit::default()
        };
        self.check_disk(Stay::Passing)?;
        let joint = JointCommit::prepare(slot, commit, Durability::Fsync, 0);
        let joint = joint.map_err(BrokerError::from)?;
        let durable = {
            let mut state = self.cell.state.lock();
            state.check_open()?;
            let now = broker.now();
            let changed = |machine: &mut Queue, effects: &mut Effects| {
                if policy.access != Access::Shared {
                    machine.dismiss(ConsumerId::UNNAMED, effects);
                }
                machine.set_policy(policy, now, effects);
            };
            let cell = &self.cell;
            let performed = cell.perform_jointly(&mut state, slot, joint, changed);
            performed.map_err(BrokerError::from)?;
            broker.inner.queues.count_refusing(
                super::create::may_refuse(&current.policy),
                super::create::may_refuse(&definition.policy),
            );
            state.definition = definition;
            self.cell.work.notify_one();
            state.durable.clone()
        };
        if let Some(durable) = durable {
            durable.await.map_err(BrokerError::from)?;
        }
        Ok(())
    }

    async fn administer(
        &self,
        promise: Durability,
        event: impl FnOnce(&mut Queue, TimestampMs, &mut Effects),
    ) -> Result<(), QueueError> {
        self.check_disk(Stay::Passing)?;
        let durable = {
            let mut state = self.cell.state.lock();
            state.check_open()?;
            let mut effects = Effects::default();
            self.learn_ends(&mut state, &mut effects);
            event(&mut state.machine, self.broker.now(), &mut effects);
            self.perform(&mut state, &mut effects, promise)?;
            state.durable.clone()
        };
        if let Some(durable) = durable {
            durable.await.map_err(BrokerError::from)?;
        }
        Ok(())
    }
}
