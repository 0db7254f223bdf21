//! One queue with all that belongs to it.

use std::collections::{HashMap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_catalog::TopicId;
use millstream_record::TimestampMs;
use millstream_store::{
    Commit, CommitError, Durability, Prepared, Sequenced, Slot, StateChanges, Ticket,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::keeper::Again;
use super::stats::Oldest;
use crate::error::BrokerError;
use crate::queues::definition::QueueDefinition;
use crate::queues::error::QueueError;
use crate::queues::ids::{QueueId, RequestToken};
use crate::queues::machine::{DeadLetter, Delivery, Effects, Queue, ScanRequest, Write};
use crate::queues::record::{self, Entries};

/// What one commit of a queue's state may hold, if the store takes so much.
const STATE_BYTES_PER_COMMIT: usize = 8 << 20;

/// What an event writes at most beside what it writes for each record: a lease, marks, a chunk's blocks.
const STATE_BYTES: usize = 32 << 10;

/// What an event writes at most for each record that it finishes, each far from the others: a block, an end of its past.
const STATE_BYTES_PER_RECORD: usize = 256;

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
    /// What the topic promises. Of a queue on a memory topic nothing is written down but whether it is paused.
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
    /// What was refused, to be tried again.
    pub(super) again: Again,
    /// When the queue's task next keeps its time, by the monotonic clock; never while it does.
    pub(super) next_look: Duration,
    pub(super) oldest: Oldest,
    /// The queue's last commit.
    pub(super) durable: Option<Ticket>,
    /// The store has ended.
    pub(super) failed: Option<CommitError>,
    pub(super) closed: bool,
}

/// A commit that a machine is to take part in.
pub(super) struct JointCommit {
    commit: Prepared,
    promise: Durability,
    /// Room for what the machine writes.
    state_bytes: usize,
}

impl JointCommit {
    /// Looks up what the commit needs, which may read the disk: a cell's lock is taken only then. The machine's event will
    /// concern so many records.
    pub(super) fn prepare(
        slot: &Slot,
        commit: Commit,
        promise: Durability,
        records: usize,
    ) -> Result<Self, CommitError> {
        let commit = Commit {
            promise: Some(promise),
            ..commit
        };
        let state_bytes = STATE_BYTES + records * STATE_BYTES_PER_RECORD;
        Ok(Self {
            commit: slot.prepare(commit, state_bytes)?,
            promise,
            state_bytes,
        })
    }
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
                again: Again::default(),
                next_look: Duration::MAX,
                oldest: Oldest::default(),
                durable: None,
                failed: None,
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

    /// Does what the machine asked for after an event. `promise` is what the last commit's ticket means.
    ///
    /// The machine has moved on already: what concerns a queue alone is refused only by a store that has ended.
    pub(super) fn perform(
        &self,
        state: &mut State,
        slot: &Slot,
        effects: &mut Effects,
        promise: Durability,
    ) -> Result<(), CommitError> {
        let entries = self.entries(effects).into_iter().peekable();
        state.commit_rest(slot, entries, promise)?;
        self.pass_on(state, effects);
        Ok(())
    }

    /// Has the machine take part in a commit of something else: `event` happens once the commit cannot be refused any more.
    /// If it is refused, nothing has happened.
    pub(super) fn perform_jointly(
        &self,
        state: &mut State,
        slot: &Slot,
        joint: JointCommit,
        event: impl FnOnce(&mut Queue, &mut Effects),
    ) -> Result<Sequenced, CommitError> {
        let mut effects = Effects::default();
        let mut entries = Entries::new().into_iter().peekable();
        let machine = &mut state.machine;
        let mut sequenced = slot.commit_prepared(joint.commit, |changes| {
            event(machine, &mut effects);
            entries = self.entries(&mut effects).into_iter().peekable();
            take(&mut entries, joint.state_bytes, changes);
        })?;
        state.durable = Some(sequenced.durable.clone());
        state.commit_rest(slot, entries, joint.promise)?;
        if let Some(durable) = &state.durable {
            sequenced.durable = durable.clone();
        }
        self.pass_on(state, &mut effects);
        Ok(sequenced)
    }

    /// What is to be written down.
    fn entries(&self, effects: &mut Effects) -> Entries {
        let mut entries = Entries::new();
        if self.durability == Durability::Memory {
            // Its records end with the process, the queue does not.
            let is_of_queue = |write: &Write| matches!(write, Write::Queue(_));
            effects.writes.retain(is_of_queue);
        }
        record::add_entries(self.id, &effects.writes, &mut entries);
        effects.writes.clear();
        entries
    }

    /// Hands over what is to be done outside.
    fn pass_on(&self, state: &mut State, effects: &mut Effects) {
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
    }
}

/// Takes entries of at most so many bytes, but one at least.
fn take(
    entries: &mut Peekable<btree_map::IntoIter<Bytes, Option<Bytes>>>,
    bytes_max: usize,
    changes: &mut StateChanges,
) {
    let mut bytes = 0;
    while let Some((key, value)) = entries.next_if(|(key, value)| {
        bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + 8;
        bytes <= bytes_max || (changes.puts.is_empty() && changes.deletes.is_empty())
    }) {
        match value {
            Some(value) => changes.puts.push((key, value)),
            None => changes.deletes.push(key),
        }
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
        match &self.failed {
            Some(error) => Err(BrokerError::from(error.clone()).into()),
            None => Ok(()),
        }
    }

    /// Commits entries, in several commits if there are as many as after a purge: then what comes first may be seen
    /// without the rest.
    fn commit_rest(
        &mut self,
        slot: &Slot,
        mut entries: Peekable<btree_map::IntoIter<Bytes, Option<Bytes>>>,
        promise: Durability,
    ) -> Result<(), CommitError> {
        while entries.peek().is_some() {
            let mut changes = StateChanges::default();
            let room = (slot.commit_bytes_max() / 2) as usize;
            take(&mut entries, STATE_BYTES_PER_COMMIT.min(room), &mut changes);
            let commit = Commit {
                puts: changes.puts,
                deletes: changes.deletes,
                promise: Some(promise),
                ..Commit::default()
            };
            match slot.commit(commit) {
                Ok(sequenced) => self.durable = Some(sequenced.durable),
                Err(error) => {
                    // The machine is ahead of what is written down, and must not be asked again.
                    self.failed = Some(error.clone());
                    self.waiting.clear();
                    return Err(error);
                }
            }
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
