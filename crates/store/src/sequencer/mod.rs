//! Gives every commit its place.
//!
//! One lock per slot decides the order of all commits. Under it a commit is checked, its batches get their offsets, its
//! state changes are applied, and it is queued for the journal; nothing is copied, encoded or written there. What was
//! sequenced can only be lost together with everything after it.
//!
//! `check` refuses, `draft` is a commit that is being placed, `seal` draws the boundaries up to which is settled.

mod check;
mod draft;
mod require;
mod seal;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_record::{LeaderEpoch, Offset, TimestampMs, header};
use parking_lot::Mutex;
use smallvec::SmallVec;

pub(crate) use check::Refusals;
use check::check_partitions;
use draft::{Draft, Undo};
pub(crate) use require::Requirement;
pub(crate) use seal::Sealed;

use crate::commit::{Append, Appended, Sequenced};
use crate::error::CommitError;
use crate::ids::JournalPosition;
use crate::journal::entry::{AppendFrame, Frame, Kind};
use crate::journal::queue::{Queue, Queued, QueuedAppend};
use crate::partition::Partition;
use crate::policy::Durability;
use crate::producers::Verdict;
use crate::state::State;
use crate::tail::TailBatch;
use crate::ticket::{CommitNumber, Progress, Ticket};

/// A memory partition may give out so many offsets before it has to reserve more through the journal: after a restart
/// it skips at most these.
const OFFSETS_RESERVED: i64 = 1 << 20;

/// A commit whose partitions and requirements have been looked up: see [`crate::Slot::prepare`].
#[must_use = "nothing has happened yet"]
pub struct Prepared(pub(crate) Resolved);

/// A commit whose partitions have been looked up, but which has not been checked against them.
pub(crate) struct Resolved {
    pub(crate) requires: Vec<Requirement>,
    pub(crate) wall: TimestampMs,
    pub(crate) opens: Vec<Arc<Partition>>,
    pub(crate) appends: SmallVec<[ResolvedAppend; 1]>,
    pub(crate) trims: Vec<(Arc<Partition>, Offset)>,
    pub(crate) drops: Vec<Arc<Partition>>,
    pub(crate) puts: Vec<(Bytes, Bytes)>,
    pub(crate) deletes: Vec<Bytes>,
    pub(crate) promise: Option<Durability>,
}

pub(crate) struct ResolvedAppend {
    pub(crate) append: Append,
    pub(crate) targets: SmallVec<[Target; 1]>,
}

pub(crate) struct Target {
    pub(crate) partition: Arc<Partition>,
    /// The batch for a memory partition, which nothing else will copy.
    pub(crate) copy: Option<BytesMut>,
}

/// The order of a slot's commits.
pub(crate) struct Sequencer {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    state: Arc<State>,
    producer_expiry: Duration,
    epoch: LeaderEpoch,
    order: Mutex<Order>,
}

#[derive(Default)]
struct Order {
    last: CommitNumber,
    /// Partitions that changed since the last checkpoint.
    dirty: Vec<Arc<Partition>>,
    closed: bool,
}

impl Sequencer {
    pub(crate) fn new(
        queue: Arc<Queue>,
        progress: Arc<Progress>,
        state: Arc<State>,
        producer_expiry: Duration,
        epoch: LeaderEpoch,
        dirty: Vec<Arc<Partition>>,
    ) -> Self {
        Self {
            queue,
            progress,
            state,
            producer_expiry,
            epoch,
            order: Mutex::new(Order {
                dirty,
                ..Order::default()
            }),
        }
    }

    /// Takes the commit into the order or refuses it. `install` runs inside the order once the commit cannot be refused any
    /// more.
    pub(crate) fn sequence(
        &self,
        mut commit: Resolved,
        refusals: Refusals,
        install: impl FnOnce(&mut Resolved),
    ) -> Result<Sequenced, CommitError> {
        let mut order = self.order.lock();
        if order.closed {
            return Err(CommitError::ShuttingDown);
        }
        check_partitions(&commit)?;
        for requirement in &commit.requires {
            requirement.check(&self.state)?;
        }
        refusals.check(&commit, self.progress.durable())?;
        let mut draft = Draft::default();
        self.place_appends(&mut commit, &mut draft)?;
        install(&mut commit);
        draft.take_rest(&mut commit);
        self.state.apply(&draft.frame.puts, &draft.frame.deletes);
        Ok(self.enqueue(&mut order, draft, &commit))
    }

    /// Assigns offsets to all batches, or to none.
    fn place_appends(&self, commit: &mut Resolved, draft: &mut Draft) -> Result<(), CommitError> {
        let several = commit.appends.len() > 1;
        let mut undo: Vec<Undo> = Vec::new();
        for resolved in &mut commit.appends {
            if let Err(error) = self.place(resolved, commit.wall, several, draft, &mut undo) {
                undo.into_iter().rev().for_each(Undo::run);
                return Err(error);
            }
        }
        Ok(())
    }

    fn place(
        &self,
        resolved: &mut ResolvedAppend,
        wall: TimestampMs,
        undoable: bool,
        draft: &mut Draft,
        undo: &mut Vec<Undo>,
    ) -> Result<(), CommitError> {
        let header = resolved.append.header;
        let after = resolved.append.after;
        if after.is_some_and(|at| draft.repeated.get(at) == Some(&true)) {
            draft.leave_out(resolved, None);
            return Ok(());
        }
        if header.has_producer() {
            let verdict = {
                let sequence = resolved.targets[0].partition.sequence.lock();
                let producers = &sequence.producers;
                producers.judge(&header, wall, self.producer_expiry)?
            };
            if let Verdict::Duplicate(batch) = verdict {
                draft.leave_out(resolved, Some(batch));
                return Ok(());
            }
        }
        draft.repeated.push(false);
        let first_appended = draft.appended.len();
        // A memory partition's producers are not in the journal, and are nobody else's there.
        let foreign_producer = header.has_producer() && resolved.targets[0].copy.is_some();
        let mut stored = QueuedAppend {
            batch: resolved.append.batch.clone(),
            targets: SmallVec::new(),
        };
        let mut targets = SmallVec::new();
        for (at, target) in resolved.targets.iter_mut().enumerate() {
            let partition = &target.partition;
            let remembers = at == 0 && header.has_producer();
            let mut sequence = partition.sequence.lock();
            let base = sequence.next_offset;
            if undoable {
                let producer = remembers.then(|| {
                    (
                        header.producer_id,
                        sequence.producers.snapshot(header.producer_id),
                    )
                });
                undo.push(Undo {
                    partition: Arc::clone(partition),
                    next_offset: base,
                    reserved: sequence.reserved,
                    producer,
                });
            }
            sequence.next_offset = base + header.offset_count();
            if remembers {
                sequence.producers.record(&header, base, wall);
            }
            draft.appended.push(Appended {
                base_offset: base,
                last_offset: base + i64::from(header.last_offset_delta),
                log_append_time: resolved.append.stamp,
                log_start: partition.log_start(&sequence),
                duplicate: false,
            });
            match target.copy.take() {
                Some(copy) => {
                    if sequence.next_offset > sequence.reserved {
                        sequence.reserved = sequence.next_offset + OFFSETS_RESERVED;
                        draft
                            .frame
                            .reserves
                            .push((partition.id(), sequence.reserved));
                    }
                    let batch = finish_copy(copy, base, self.epoch, &header);
                    let policy = sequence.policy.unwrap_or_default();
                    draft
                        .effects
                        .memory
                        .push((Arc::clone(partition), batch, policy));
                }
                None => {
                    targets.push((partition.id(), base));
                    stored.targets.push(Arc::clone(partition));
                }
            }
            drop(sequence);
            draft.touched.push((Arc::clone(partition), base));
        }
        if !targets.is_empty() {
            draft.frame.appends.push(AppendFrame {
                batch_bytes: header.size_bytes,
                last_offset_delta: header.last_offset_delta as u32,
                max_timestamp: header.max_timestamp,
                targets,
                foreign_producer,
            });
            draft.appends.push(stored);
        }
        draft.mark(resolved, first_appended);
        Ok(())
    }

    /// Numbers the commit and hands it to the journal, or shows it at once if no journal is needed.
    fn enqueue(&self, order: &mut Order, draft: Draft, commit: &Resolved) -> Sequenced {
        let ticket = |number| Ticket::new(number, Arc::clone(&self.progress));
        let sync = draft.needs_sync(commit);
        for (partition, batch, _) in &draft.effects.memory {
            partition.take_in_memory(batch);
        }
        let nothing = draft.frame == Frame::default();
        if nothing && draft.can_skip_journal(self.progress.durable()) {
            let durable = ticket(draft.wait_for);
            draft.note_epochs(self.epoch);
            draft.effects.publish();
            return Sequenced {
                appends: draft.appended,
                durable,
            };
        }
        order.last = CommitNumber(order.last.0 + 1);
        let number = order.last;
        draft.note_epochs(self.epoch);
        for partition in draft.partitions(commit) {
            let mut sequence = partition.sequence.lock();
            sequence.last_queued = number;
            if !std::mem::replace(&mut sequence.dirty, true) {
                order.dirty.push(Arc::clone(partition));
            }
        }
        self.queue.push(Queued {
            number,
            kind: Kind::Commit,
            sync,
            wall: commit.wall,
            entry_bytes: draft.frame.entry_bytes(),
            frame: draft.frame,
            appends: draft.appends,
            effects: draft.effects,
        });
        Sequenced {
            appends: draft.appended,
            durable: ticket(number),
        }
    }

    /// Has everything that was sequenced so far synced, whatever it promised. Returns the number of what does it.
    pub(crate) fn sync(&self, wall: TimestampMs) -> CommitNumber {
        let mut order = self.order.lock();
        if order.closed {
            return order.last;
        }
        order.last = CommitNumber(order.last.0 + 1);
        self.queue
            .push(Queued::mark(Kind::Commit, order.last, wall));
        order.last
    }

    /// Refuses commits from now on.
    pub(crate) fn close(&self) {
        self.order.lock().closed = true;
    }

    /// Whether no partition has changed since the last boundary.
    pub(crate) fn is_all_settled(&self) -> bool {
        self.order.lock().dirty.is_empty()
    }

    /// The last commit that has a place.
    pub(crate) fn last(&self) -> CommitNumber {
        self.order.lock().last
    }
}

impl Target {
    /// A target, with a copy of the batch if nothing else will make one.
    pub(crate) fn new(partition: Arc<Partition>, batch: &Bytes) -> Self {
        let copy = partition.durability() == Durability::Memory;
        Self {
            partition,
            copy: copy.then(|| BytesMut::from(&batch[..])),
        }
    }
}

/// Makes the copy of a batch what readers of a memory partition get.
fn finish_copy(
    mut copy: BytesMut,
    base: Offset,
    epoch: LeaderEpoch,
    batch: &millstream_record::BatchHeader,
) -> TailBatch {
    header::set_base_offset(&mut copy, base);
    header::set_leader_epoch(&mut copy, epoch);
    TailBatch::new(
        base,
        base,
        batch.last_offset_delta as u32,
        batch.max_timestamp,
        JournalPosition::ZERO,
        copy.freeze(),
    )
}
