//! A commit on its way through the sequencer.

use std::sync::Arc;

use millstream_record::{LeaderEpoch, Offset, ProducerId};
use smallvec::SmallVec;

use super::Resolved;
use crate::commit::Appended;
use crate::journal::entry::Frame;
use crate::journal::queue::{Effects, QueuedAppend};
use crate::partition::Partition;
use crate::policy::Durability;
use crate::state::keys::producer::ProducerState;
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
    /// Partitions that got a batch, and its base offset.
    pub(super) touched: SmallVec<[(Arc<Partition>, Offset); 1]>,
    /// A duplicate is durable when this is.
    pub(super) wait_for: CommitNumber,
}

impl Draft {
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
        self.frame.puts = std::mem::take(&mut commit.puts);
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
