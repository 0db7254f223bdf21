//! Gives every commit its place.
//!
//! One lock per slot decides the order of all commits. Under it a commit is checked, its batches get their offsets, its
//! state changes are applied, and it is queued for the journal; nothing is copied, encoded or written there. What was
//! sequenced can only be lost together with everything after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_record::{LeaderEpoch, Offset, ProducerId, TimestampMs, header};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::commit::{Append, Appended, Sequenced};
use crate::error::CommitError;
use crate::ids::{JournalPosition, PartitionId};
use crate::journal::entry::{AppendFrame, Frame, Kind};
use crate::journal::queue::{Effects, Queue, Queued, QueuedAppend};
use crate::partition::Partition;
use crate::policy::{Durability, Overflow};
use crate::producers::Verdict;
use crate::state::keys::producer::ProducerState;
use crate::state::{Checkpoint, State, keys};
use crate::tail::TailBatch;
use crate::ticket::{CommitNumber, Progress, Ticket};

/// A memory partition may give out so many offsets before it has to reserve more through the journal: after a restart
/// it skips at most these.
const OFFSETS_RESERVED: i64 = 1 << 20;

/// A commit whose partitions have been looked up, but which has not been checked against them.
pub(crate) struct Resolved {
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

/// Everything sequenced before a boundary in the journal, to be settled.
pub(crate) struct Sealed {
    /// The changes of the state table up to it.
    pub(crate) checkpoint: Checkpoint,
    /// The partitions that changed since the seal before, and where each ended.
    pub(crate) partitions: Vec<(Arc<Partition>, Offset)>,
    /// The boundary's own place in the order.
    pub(crate) number: CommitNumber,
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

    /// Takes the commit into the order or refuses it. `disk_full` refuses appends that need the disk. `install` runs
    /// inside the order once the commit cannot be refused any more.
    pub(crate) fn sequence(
        &self,
        mut commit: Resolved,
        disk_full: Option<CommitError>,
        install: impl FnOnce(&Resolved),
    ) -> Result<Sequenced, CommitError> {
        let mut order = self.order.lock();
        if order.closed {
            return Err(CommitError::ShuttingDown);
        }
        check_partitions(&commit)?;
        if let Some(refusal) = disk_full
            && commit.appends.iter().any(ResolvedAppend::needs_disk)
        {
            return Err(refusal);
        }
        let mut draft = Draft::default();
        self.place_appends(&mut commit, &mut draft)?;
        install(&commit);
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
        let idempotent = header.has_producer() && resolved.targets.len() == 1;
        if idempotent {
            let sequence = resolved.targets[0].partition.sequence.lock();
            let verdict = sequence
                .producers
                .judge(&header, wall, self.producer_expiry)?;
            if let Verdict::Duplicate(batch) = verdict {
                draft.wait_for = draft.wait_for.max(sequence.last_queued);
                draft.appended.push(Appended {
                    base_offset: batch.base_offset,
                    last_offset: batch.last_offset,
                    log_append_time: resolved.append.stamp,
                    log_start: sequence.log_start,
                    duplicate: true,
                });
                return Ok(());
            }
        }
        let mut stored = QueuedAppend {
            batch: resolved.append.batch.clone(),
            targets: SmallVec::new(),
        };
        let mut targets = SmallVec::new();
        for target in &mut resolved.targets {
            let partition = &target.partition;
            let mut sequence = partition.sequence.lock();
            let base = sequence.next_offset;
            if undoable {
                let producer = idempotent.then(|| {
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
            if idempotent {
                sequence.producers.record(&header, base, wall);
            }
            draft.appended.push(Appended {
                base_offset: base,
                last_offset: base + i64::from(header.last_offset_delta),
                log_append_time: resolved.append.stamp,
                log_start: sequence.log_start,
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
            });
            draft.appends.push(stored);
        }
        Ok(())
    }

    /// Numbers the commit and hands it to the journal, or shows it at once if no journal is needed.
    fn enqueue(&self, order: &mut Order, draft: Draft, commit: &Resolved) -> Sequenced {
        let ticket = |number| Ticket::new(number, Arc::clone(&self.progress));
        let sync = draft.needs_sync(commit);
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

    /// Draws a boundary: what was sequenced before it is handed out to be settled. The state table forgets `tombstones`.
    /// With `clean`, nothing may follow and the slot counts as stopped in order. `None` while an earlier checkpoint is
    /// not written.
    pub(crate) fn seal(
        &self,
        wall: TimestampMs,
        next_partition: impl FnOnce() -> PartitionId,
        tombstones: &[PartitionId],
        clean: bool,
    ) -> Option<Sealed> {
        let mut order = self.order.lock();
        let mut puts = Vec::new();
        let mut deletes: Vec<Bytes> = tombstones
            .iter()
            .map(|id| keys::dropped::key(*id))
            .collect();
        let partitions: Vec<_> = std::mem::take(&mut order.dirty)
            .into_iter()
            .map(|partition| {
                let end = self.save(&partition, wall, &mut puts, &mut deletes);
                (partition, end)
            })
            .collect();
        let slot = keys::slot::SlotState {
            leader_epoch: self.epoch,
            next_partition: next_partition(),
            clean,
        };
        puts.push((keys::slot::key(), slot.encode()));
        self.state.apply(&puts, &deletes);
        let Some(checkpoint) = self.state.freeze() else {
            for (partition, _) in &partitions {
                partition.sequence.lock().dirty = true;
            }
            order.dirty = partitions
                .into_iter()
                .map(|(partition, _)| partition)
                .collect();
            return None;
        };
        order.last = CommitNumber(order.last.0 + 1);
        order.closed |= clean;
        let frame = Frame::default();
        self.queue.push(Queued {
            number: order.last,
            kind: Kind::Seal,
            sync: true,
            wall,
            entry_bytes: frame.entry_bytes(),
            frame,
            appends: SmallVec::new(),
            effects: Effects::default(),
        });
        Some(Sealed {
            checkpoint,
            partitions,
            number: order.last,
        })
    }

    /// Adds what the state table keeps of a partition. Returns where it ends.
    fn save(
        &self,
        partition: &Partition,
        wall: TimestampMs,
        puts: &mut Vec<(Bytes, Bytes)>,
        deletes: &mut Vec<Bytes>,
    ) -> Offset {
        let id = partition.id();
        let mut sequence = partition.sequence.lock();
        sequence.dirty = false;
        if sequence.dropped {
            deletes.push(keys::partition::key(id));
            let producers = sequence.producers.iter().map(|(id, _)| id);
            deletes.extend(producers.map(|producer| keys::producer::key(id, producer)));
            puts.push((keys::dropped::key(id), keys::dropped::value()));
            return sequence.next_offset;
        }
        let in_memory = partition.durability() == Durability::Memory;
        let descriptor = keys::partition::PartitionState {
            durability: partition.durability(),
            log_start: sequence.log_start,
            reserved: if in_memory {
                sequence.reserved
            } else {
                sequence.next_offset
            },
            epochs: sequence.epochs.list().to_vec(),
        };
        puts.push((keys::partition::key(id), descriptor.encode()));
        sequence.producers.expire(wall, self.producer_expiry);
        for (producer, state) in sequence.producers.take_changes() {
            let key = keys::producer::key(id, producer);
            match state {
                Some(state) => puts.push((key, state.encode())),
                None => deletes.push(key),
            }
        }
        sequence.next_offset
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

impl ResolvedAppend {
    fn needs_disk(&self) -> bool {
        self.targets.iter().any(|target| target.copy.is_none())
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

/// Puts back what a refused commit had changed in one partition.
struct Undo {
    partition: Arc<Partition>,
    next_offset: Offset,
    reserved: Offset,
    producer: Option<(ProducerId, Option<ProducerState>)>,
}

impl Undo {
    fn run(self) {
        let mut sequence = self.partition.sequence.lock();
        sequence.next_offset = self.next_offset;
        sequence.reserved = self.reserved;
        if let Some((id, before)) = self.producer {
            sequence.producers.restore(id, before);
        }
    }
}

/// What becomes of a commit.
#[derive(Default)]
struct Draft {
    frame: Frame,
    appends: SmallVec<[QueuedAppend; 1]>,
    effects: Effects,
    appended: SmallVec<[Appended; 1]>,
    /// Partitions that got a batch, and its base offset.
    touched: SmallVec<[(Arc<Partition>, Offset); 1]>,
    /// A duplicate is durable when this is.
    wait_for: CommitNumber,
}

impl Draft {
    /// Takes over everything but the appends.
    fn take_rest(&mut self, commit: &mut Resolved) {
        for partition in &commit.opens {
            self.frame
                .opens
                .push((partition.id(), partition.durability()));
        }
        for (partition, log_start) in commit.trims.drain(..) {
            let mut sequence = partition.sequence.lock();
            if log_start <= sequence.log_start {
                continue;
            }
            sequence.log_start = log_start;
            sequence.epochs.trim(log_start);
            drop(sequence);
            if partition.durability() != Durability::Memory {
                self.frame.trims.push((partition.id(), log_start));
            }
            self.effects.trims.push((partition, log_start));
        }
        for partition in &commit.drops {
            partition.sequence.lock().dropped = true;
            self.frame.drops.push(partition.id());
            self.effects.drops.push(Arc::clone(partition));
        }
        self.frame.puts = std::mem::take(&mut commit.puts);
        self.frame.deletes = std::mem::take(&mut commit.deletes);
    }

    /// Whether the commit promises more than the page cache. What lets data be deleted from packs, or offsets be given
    /// out, is always synced. State changes go with the partitions that the commit appends to, and are synced when there
    /// are none.
    fn needs_sync(&self, commit: &Resolved) -> bool {
        let frame = &self.frame;
        let lasting = frame.opens.is_empty() && frame.drops.is_empty();
        if !(lasting && frame.trims.is_empty() && frame.reserves.is_empty()) {
            return true;
        }
        let touched = self.touched.iter();
        let parts = touched.map(|(partition, _)| partition.durability());
        let strongest = parts.max().or(commit.promise).unwrap_or(Durability::Fsync);
        strongest.max(commit.promise.unwrap_or(Durability::Memory)) == Durability::Fsync
    }

    /// Whether nothing that readers have not seen yet comes before this.
    fn can_skip_journal(&self, durable: CommitNumber) -> bool {
        let touched = self.touched.iter().map(|(partition, _)| partition);
        let trimmed = self.effects.trims.iter().map(|(partition, _)| partition);
        touched
            .chain(trimmed)
            .all(|partition| partition.sequence.lock().last_queued <= durable)
    }

    fn note_epochs(&self, epoch: LeaderEpoch) {
        for (partition, base) in &self.touched {
            partition.sequence.lock().epochs.note(epoch, *base);
        }
    }

    fn partitions<'a>(&'a self, commit: &'a Resolved) -> impl Iterator<Item = &'a Arc<Partition>> {
        let touched = self.touched.iter().map(|(partition, _)| partition);
        let trimmed = self.effects.trims.iter().map(|(partition, _)| partition);
        touched
            .chain(trimmed)
            .chain(&commit.opens)
            .chain(&commit.drops)
    }
}

impl Effects {
    /// Shows them to readers.
    pub(crate) fn publish(self) {
        for (partition, batch, policy) in self.memory {
            partition.publish_in_memory(batch, &policy);
        }
        for (partition, log_start) in self.trims {
            partition.publish_trim(log_start);
        }
        for partition in self.drops {
            partition.publish_drop();
        }
    }
}

/// Everything about a commit that can be refused before anything changes.
fn check_partitions(commit: &Resolved) -> Result<(), CommitError> {
    let mut appended: SmallVec<[(PartitionId, i64); 4]> = SmallVec::new();
    for resolved in &commit.appends {
        let header = &resolved.append.header;
        for target in &resolved.targets {
            check_target(target, u64::from(header.size_bytes))?;
            appended.push((target.partition.id(), header.offset_count()));
        }
    }
    for (partition, log_start) in &commit.trims {
        let sequence = partition.sequence.lock();
        if sequence.dropped {
            return Err(CommitError::UnknownPartition(partition.id()));
        }
        let more = appended.iter().filter(|(id, _)| *id == partition.id());
        let log_end = sequence.next_offset + more.map(|(_, count)| count).sum::<i64>();
        if *log_start > log_end {
            return Err(CommitError::TrimBeyondEnd {
                partition: partition.id(),
                offset: *log_start,
                log_end,
            });
        }
    }
    for partition in &commit.drops {
        if partition.sequence.lock().dropped {
            return Err(CommitError::UnknownPartition(partition.id()));
        }
    }
    Ok(())
}

fn check_target(target: &Target, batch_bytes: u64) -> Result<(), CommitError> {
    let partition = &target.partition;
    let sequence = partition.sequence.lock();
    if sequence.dropped {
        return Err(CommitError::UnknownPartition(partition.id()));
    }
    if target.copy.is_none() {
        return Ok(());
    }
    let policy = sequence.policy.unwrap_or_default();
    let bound_bytes = policy.memory_bytes;
    let refuses = policy.overflow == Overflow::Refuse;
    if batch_bytes > bound_bytes || (refuses && !partition.has_memory_for(batch_bytes, bound_bytes))
    {
        return Err(CommitError::MemoryFull {
            partition: partition.id(),
            bound_bytes,
        });
    }
    Ok(())
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
