//! A commit on its way through the sequencer.

use std::sync::Arc;

use millstream_record::{LeaderEpoch, Offset, ProducerId};
use smallvec::SmallVec;

use super::{Resolved, ResolvedAppend};
use crate::commit::Appended;
use crate::journal::entry::Frame;
use crate::journal::queue::{Effects, QueuedAppend};
use crate::partition::Partition;
use crate::policy::Durability;
use crate::state::keys::producer::{ProducedBatch, ProducerState};
use crate::ticket::CommitNumber;

/// Puts back what a refused commit had changed in one partition.
pub(super) struct Undo {
    pub(super) partition: Arc<Partition>,
    pub(super) next_offset: Offset,
    pub(super) reserved: Offset,
    pub(super) producer: Option<(ProducerId, Option<ProducerState>)>,
}

impl Undo {
    pub(super) fn run(self) {
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
pub(super) struct Draft {
    pub(super) frame: Frame,
    pub(super) appends: SmallVec<[QueuedAppend; 1]>,
    pub(super) effects: Effects,
    pub(super) appended: SmallVec<[Appended; 1]>,
    /// Which of the commit's appends were left out, because their producers have sent them before.
    pub(super) repeated: SmallVec<[bool; 1]>,
    /// Partitions that got a batch, and its base offset.
    pub(super) touched: SmallVec<[(Arc<Partition>, Offset); 1]>,
    /// A duplicate is durable when this is.
    pub(super) wait_for: CommitNumber,
}

impl Draft {
    /// Leaves out an append whose batch is there already, or that comes after one that is. `known` says where it is in the
    /// first target.
    pub(super) fn leave_out(&mut self, resolved: &ResolvedAppend, known: Option<ProducedBatch>) {
        let stamp = resolved.append.stamp;
        for (at, target) in resolved.targets.iter().enumerate() {
            let sequence = target.partition.sequence.lock();
            let known = known.filter(|_| at == 0);
            if known.is_some() {
                self.wait_for = self.wait_for.max(sequence.last_queued);
            }
            self.appended.push(Appended {
                base_offset: known.map_or(Offset::NONE, |batch| batch.base_offset),
                last_offset: known.map_or(Offset::NONE, |batch| batch.last_offset),
                // The records have the time at which they were appended first.
                log_append_time: stamp.map(|now| known.map_or(now, |batch| batch.timestamp)),
                log_start: target.partition.log_start(&sequence),
                duplicate: true,
            });
        }
        self.repeated.push(true);
    }

    /// Sets what is to be said of where the batch's records went: from `first` on, `appended` is where its targets got it.
    pub(super) fn mark(&mut self, resolved: &ResolvedAppend, first: usize) {
        for mark in &resolved.append.marks {
            let base = self.appended[first + mark.target].base_offset;
            self.frame
                .puts
                .push(mark.entry(base + i64::from(mark.delta)));
        }
    }

    /// Takes over everything but the appends.
    pub(super) fn take_rest(&mut self, commit: &mut Resolved) {
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
        self.frame.puts.append(&mut commit.puts);
        self.frame.deletes = std::mem::take(&mut commit.deletes);
    }

    /// Whether the commit promises more than the page cache. What lets data be deleted from packs, or offsets be given
    /// out, is always synced. State changes go with the partitions that the commit appends to, and are synced when there
    /// are none.
    pub(super) fn needs_sync(&self, commit: &Resolved) -> bool {
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
    pub(super) fn can_skip_journal(&self, durable: CommitNumber) -> bool {
        let touched = self.touched.iter().map(|(partition, _)| partition);
        let trimmed = self.effects.trims.iter().map(|(partition, _)| partition);
        touched
            .chain(trimmed)
            .all(|partition| partition.sequence.lock().last_queued <= durable)
    }

    pub(super) fn note_epochs(&self, epoch: LeaderEpoch) {
        for (partition, base) in &self.touched {
            partition.sequence.lock().epochs.note(epoch, *base);
        }
    }

    pub(super) fn partitions<'a>(
        &'a self,
        commit: &'a Resolved,
    ) -> impl Iterator<Item = &'a Arc<Partition>> {
        let touched = self.touched.iter().map(|(partition, _)| partition);
        let trimmed = self.effects.trims.iter().map(|(partition, _)| partition);
        touched
            .chain(trimmed)
            .chain(&commit.opens)
            .chain(&commit.drops)
    }
}
