//! One queue with all that belongs to it.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_catalog::TopicId;
use millstream_record::TimestampMs;
use millstream_store::{Appended, Commit, CommitError, Durability, Slot, Ticket};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::error::BrokerError;
use crate::queues::definition::QueueDefinition;
use crate::queues::error::QueueError;
use crate::queues::ids::{QueueId, RequestToken};
use crate::queues::machine::{DeadLetter, Delivery, Effects, Queue, ScanRequest};
use crate::queues::policy::{LengthPolicy, Overflow};
use crate::queues::record::{self, Entries};

/// What one commit of a queue's state may hold, well below what the store takes.
const STATE_BYTES_PER_COMMIT: usize = 8 << 20;

/// A request that waits.
pub(super) enum Waiting {
    /// It is answered once.
    Once(oneshot::Sender<Delivery>),
    /// It stands.
    Standing(mpsc::UnboundedSender<Delivery>),
}

/// One queue.
pub(crate) struct Cell {
    pub(super) id: QueueId,
    pub(super) name: Arc<str>,
    pub(super) topic: TopicId,
    /// What the topic promises. Nothing of a queue on a memory topic is written down.
    pub(super) durability: Durability,
    /// Wakes the queue's task.
    pub(super) work: Notify,
    pub(super) state: Mutex<State>,
}

/// What changes with every event.
pub(super) struct State {
    pub(super) definition: Arc<QueueDefinition>,
    pub(super) machine: Queue,
    pub(super) waiting: HashMap<RequestToken, Waiting>,
    /// What the queue's task has to do.
    pub(super) scans: Vec<ScanRequest>,
    pub(super) letters: Vec<DeadLetter>,
    /// The queue's last commit.
    pub(super) durable: Option<Ticket>,
    /// Commits were refused after the machine had moved on.
    pub(super) torn: bool,
    pub(super) closed: bool,
}

impl Cell {
    pub(super) fn new(
        id: QueueId,
        definition: Arc<QueueDefinition>,
        durability: Durability,
        machine: Queue,
    ) -> Self {
        Self {
            id,
            name: Arc::clone(&definition.name),
            topic: definition.topic,
            durability,
            work: Notify::new(),
            state: Mutex::new(State {
                definition,
                machine,
                waiting: HashMap::new(),
                scans: Vec::new(),
                letters: Vec::new(),
                durable: None,
                torn: false,
                closed: false,
            }),
        }
    }

    pub(super) fn definition(&self) -> Arc<QueueDefinition> {
        Arc::clone(&self.state.lock().definition)
    }

    /// Takes nothing more; whoever waits is told.
    pub(super) fn close(&self) {
        self.state.lock().close();
        self.work.notify_one();
    }

    pub(super) fn check_room(&self, records: u64) -> Result<(), BrokerError> {
        let state = self.state.lock();
        match state.machine.policy().length {
            Some(LengthPolicy {
                records_max,
                overflow: Overflow::Refuse,
            }) if !state.closed && !state.machine.has_room(records) => {
                Err(BrokerError::QueueFull {
                    queue: Arc::clone(&self.name),
                    records_max,
                })
            }
            _ => Ok(()),
        }
    }

    /// Does what the machine asked for; `commit` holds what happens in the same breath. `promise` is what the commit's
    /// ticket means.
    ///
    /// The machine has moved on already. Should the store refuse, the queue is torn: its task makes it anew from what is
    /// written down.
    pub(super) fn perform(
        &self,
        state: &mut State,
        slot: &Slot,
        effects: &mut Effects,
        promise: Durability,
        commit: Commit,
    ) -> Result<(), QueueError> {
        self.perform_with(state, slot, effects, promise, commit)
            .map(drop)
    }

    /// The same; says where the commit's appends went.
    pub(super) fn perform_with(
        &self,
        state: &mut State,
        slot: &Slot,
        effects: &mut Effects,
        promise: Durability,
        commit: Commit,
    ) -> Result<SmallVec<[Appended; 1]>, QueueError> {
        let appended = match self.commit(state, slot, effects, promise, commit) {
            Ok(appended) => appended,
            Err(error) => {
                tracing::warn!(queue = %self.name, %error, "a change of a queue was refused; it is read again");
                state.torn = true;
                state.waiting.clear();
                self.work.notify_one();
                return Err(BrokerError::from(error).into());
            }
        };
        for delivery in effects.deliveries.drain(..) {
            state.deliver(delivery);
        }
        for token in effects.unanswered.drain(..) {
            state.waiting.remove(&token);
        }
        let has_work = !effects.scans.is_empty() || !effects.dead_letters.is_empty();
        state.scans.append(&mut effects.scans);
        state.letters.append(&mut effects.dead_letters);
        if has_work {
            self.work.notify_one();
        }
        Ok(appended)
    }

    fn commit(
        &self,
        state: &mut State,
        slot: &Slot,
        effects: &mut Effects,
        promise: Durability,
        mut commit: Commit,
    ) -> Result<SmallVec<[Appended; 1]>, CommitError> {
        let mut entries = Entries::new();
        if self.durability != Durability::Memory {
            record::add_entries(self.id, &effects.writes, &mut entries);
        }
        effects.writes.clear();
        if entries.is_empty() && commit.is_empty() {
            return Ok(SmallVec::new());
        }
        let mut appended = SmallVec::new();
        let mut bytes = 0;
        for (key, value) in entries {
            let size = key.len() + value.as_ref().map_or(0, bytes::Bytes::len) + 8;
            if bytes + size > STATE_BYTES_PER_COMMIT {
                // A purge, or something as large: what comes first may be seen without the rest.
                commit.promise = Some(promise);
                appended.extend(slot.commit(std::mem::take(&mut commit))?.appends);
                bytes = 0;
            }
            bytes += size;
            match value {
                Some(value) => commit.puts.push((key, value)),
                None => commit.deletes.push(key),
            }
        }
        commit.promise = Some(promise);
        let sequenced = slot.commit(commit)?;
        appended.extend(sequenced.appends);
        state.durable = Some(sequenced.durable);
        Ok(appended)
    }
}

impl State {
    /// Takes nothing more; whoever waits is told.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.waiting.clear();
    }

    pub(super) fn check_open(&self) -> Result<(), QueueError> {
        if self.closed {
            return Err(QueueError::UnknownQueue);
        }
        if self.torn {
            return Err(BrokerError::ShuttingDown.into());
        }
        Ok(())
    }

    fn deliver(&mut self, delivery: Delivery) {
        let token = delivery.token;
        match self.waiting.get(&token) {
            Some(Waiting::Standing(sender)) => {
                // A subscription that is gone gives back what it was sent when it goes.
                let _ = sender.send(delivery);
            }
            Some(Waiting::Once(_)) => {
                if let Some(Waiting::Once(sender)) = self.waiting.remove(&token) {
                    let _ = sender.send(delivery);
                }
            }
            None => {}
        }
    }

    /// When the machine wants to be looked at next.
    pub(super) fn next_deadline(&self) -> Option<TimestampMs> {
        self.machine.next_deadline()
    }
}
