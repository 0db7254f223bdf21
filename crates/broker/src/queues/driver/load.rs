//! Reading the queues at start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use bytes::Bytes;
use millstream_env::Env;
use millstream_record::TimestampMs;
use millstream_store::state::StateError;
use millstream_store::{Commit, CommitError, Durability, Slot};
use parking_lot::RwLock;

use super::Queues;
use super::cell::Cell;
use super::create::may_refuse;
use super::keeper::keep;
use super::unpacked::Unpacked;
use crate::broker::Broker;
use crate::fields::RecordError;
use crate::keys;
use crate::queues::definition::{self, QueueDefinition};
use crate::queues::ids::{Incarnation, QueueId};
use crate::queues::machine::{Effects, IdsRoom, PartitionBounds, Queue, Setup, Write};
use crate::queues::record;
use crate::topics::{Registry as Topics, TopicHandle};

/// Why the queues could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QueuesLoadError {
    /// An entry is damaged, or a newer server wrote it.
    #[error("reading the queues: {0}")]
    Record(#[from] RecordError),
    /// The state table could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// That they begin another life could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What was read.
pub(crate) struct Registry {
    pub(crate) queues: Queues,
    cells: Vec<Arc<Cell>>,
    remains: Vec<QueueId>,
}

/// Reads all queues. Blocks.
pub(crate) fn open(slot: &Slot, env: &Env, topics: &Topics) -> Result<Registry, QueuesLoadError> {
    let mut definitions = Vec::new();
    for entry in slot.state().scan(definition::KEY_PREFIX)? {
        let (key, value) = entry?;
        definitions.push((definition::decode_key(&key)?, definition::decode(&value)?));
    }
    let mut incarnation = number(slot, keys::QUEUE_INCARNATION)?.unwrap_or(0) as u32;
    if !definitions.is_empty() {
        incarnation += 1;
        // No receipt of this life may be given out before it is certain that there will be no other of this number.
        slot.commit(incarnation_commit(incarnation))?
            .durable
            .wait()?;
    }
    let now = TimestampMs(env.clock.wall_ms());
    let ids = Arc::<IdsRoom>::default();
    let (mut cells, mut remains, mut refusing) = (Vec::new(), Vec::new(), 0);
    for (id, definition) in definitions {
        let topic = topics.by_id(definition.topic);
        let Some(topic) = topic.filter(|_| !definition.deleted) else {
            remains.push(id);
            continue;
        };
        refusing += usize::from(may_refuse(&definition.policy));
        let life = Life {
            incarnation: Incarnation(incarnation),
            seed: env.rng.next_u64(),
            ids: Arc::clone(&ids),
            now,
        };
        cells.push(load(slot, id, definition, topic, life)?);
    }
    let queues = Queues {
        index: RwLock::new(cells.iter().cloned().collect()),
        last_id: AtomicU64::new(number(slot, keys::LAST_QUEUE_ID)?.unwrap_or(0)),
        last_token: AtomicU64::new(0),
        incarnation: tokio::sync::Mutex::new(incarnation),
        refusing: AtomicUsize::new(refusing),
        changes: tokio::sync::Mutex::new(()),
        redrives: tokio::sync::Mutex::new(()),
        unpacked: Unpacked::default(),
        ids,
    };
    Ok(Registry {
        queues,
        cells,
        remains,
    })
}

/// What has to run from then on.
pub(crate) struct Tasks {
    cells: Vec<Arc<Cell>>,
    remains: Vec<QueueId>,
}

impl Registry {
    pub(crate) fn split(self) -> (Queues, Tasks) {
        let tasks = Tasks {
            cells: self.cells,
            remains: self.remains,
        };
        (self.queues, tasks)
    }
}

impl Tasks {
    /// Starts the queues' tasks, and goes on removing what was being deleted.
    pub(crate) fn start(self, broker: &Broker) {
        for cell in self.cells {
            tokio::spawn(keep(Arc::downgrade(&broker.inner), cell));
        }
        if self.remains.is_empty() {
            return;
        }
        let broker = Arc::downgrade(&broker.inner);
        tokio::spawn(async move {
            for id in self.remains {
                let Some(inner) = broker.upgrade() else {
                    return;
                };
                let removed = Broker { inner }.remove_remains(id).await;
                if let Err(error) = removed {
                    tracing::warn!(%error, "what is left of a deleted queue stays until the next start");
                }
            }
        });
    }
}

/// What a queue goes on with, beside what is stored.
struct Life {
    incarnation: Incarnation,
    seed: u64,
    ids: Arc<IdsRoom>,
    now: TimestampMs,
}

fn load(
    slot: &Slot,
    id: QueueId,
    definition: QueueDefinition,
    topic: &Arc<TopicHandle>,
    life: Life,
) -> Result<Arc<Cell>, QueuesLoadError> {
    let definition = Arc::new(definition);
    let (machine, effects) = restore(slot, id, &definition, topic, life)?;
    let durability = topic.current().settings.values().durability;
    let cell = Cell::new(id, definition, durability, machine);
    {
        let mut state = cell.state.lock();
        let mut effects = effects;
        let promise = cell.unsynced();
        // Refused only when the store has failed, which everybody will be told.
        let _ = cell.perform(&mut state, slot, &mut effects, promise);
    }
    Ok(Arc::new(cell))
}

/// A queue as it is written down.
fn restore(
    slot: &Slot,
    id: QueueId,
    definition: &QueueDefinition,
    topic: &Arc<TopicHandle>,
    life: Life,
) -> Result<(Queue, Effects), QueuesLoadError> {
    let partitions = topic.partitions().into_iter().map(|partition| {
        let offsets = partition.offsets();
        PartitionBounds {
            start: offsets.log_start,
            end: offsets.last_stable,
        }
    });
    let setup = Setup {
        policy: definition.policy.clone(),
        partitions: partitions.collect(),
        incarnation: life.incarnation,
        seed: life.seed,
        ids: life.ids,
    };
    let mut effects = Effects::default();
    let mut damaged = None;
    let scan = slot.state().scan(&record::prefix(id))?;
    let mut stored = scan.map_while(|entry| {
        let read: Result<Write, QueuesLoadError> = match entry {
            Ok((key, value)) => record::decode(id, &key, &value).map_err(Into::into),
            Err(error) => Err(error.into()),
        };
        read.map_err(|error| damaged = Some(error)).ok()
    });
    let machine = if topic.current().settings.values().durability == Durability::Memory {
        // Its records are as new as the process.
        let mut machine = Queue::create(setup, life.now, &mut effects);
        if stored.any(|write| matches!(write, Write::Queue(image) if image.paused)) {
            machine.pause(&mut effects);
        }
        machine
    } else {
        Queue::restore(setup, stored, life.now, &mut effects)
    };
    match damaged {
        Some(error) => Err(error),
        None => Ok((machine, effects)),
    }
}

pub(super) fn incarnation_commit(incarnation: u32) -> Commit {
    Commit {
        puts: vec![(
            Bytes::from_static(keys::QUEUE_INCARNATION),
            Bytes::copy_from_slice(&u64::from(incarnation).to_be_bytes()),
        )],
        ..Commit::default()
    }
}

fn number(slot: &Slot, key: &[u8]) -> Result<Option<u64>, QueuesLoadError> {
    let Some(value) = slot.state().get(key)? else {
        return Ok(None);
    };
    let bytes = <[u8; 8]>::try_from(&value[..]);
    let bytes = bytes.map_err(|_| RecordError::Damaged("a number of the queues'"))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}
