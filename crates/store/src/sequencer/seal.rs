//! Boundaries in the order of commits: what lies before one is settled together.

use std::sync::Arc;

use bytes::Bytes;
use millstream_record::{Offset, TimestampMs};

use super::Sequencer;
use crate::ids::PartitionId;
use crate::journal::entry::Kind;
use crate::journal::queue::Queued;
use crate::partition::Partition;
use crate::policy::Durability;
use crate::state::{Checkpoint, keys};
use crate::ticket::CommitNumber;

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
        self.queue.push(Queued::mark(Kind::Seal, order.last, wall));
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
        let changes = sequence.producers.take_changes();
        // What a memory partition knows of its producers ends with the process, like their batches: written down, it would
        // be older than what they do next.
        for (producer, state) in changes.into_iter().filter(|_| !in_memory) {
            let key = keys::producer::key(id, producer);
            match state {
                Some(state) => puts.push((key, state.encode())),
                None => deletes.push(key),
            }
        }
        sequence.next_offset
    }
}
