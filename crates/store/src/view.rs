//! What the slot tells settling about its partitions.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_record::{Offset, ProducerId};

use crate::engine::Engine;
use crate::holders::Asked;
use crate::ids::PartitionId;
use crate::settle::{Finished, PartitionFacts, SlotView};

/// The slot's partitions, present and dropped.
pub(crate) struct View {
    engine: Arc<Engine>,
    asked: Asked,
}

impl View {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            asked: Asked::default(),
        }
    }

    /// Asks what is finished of the partitions that drop it. The answer counts once [`View::take_finished`] says so: soon
    /// with `sync`, or else with the next commit that is synced.
    pub(crate) fn ask_finished(&self, sync: bool) {
        self.asked.ask(&self.engine, sync);
    }

    /// Whether what was asked last survives a power failure: from now on it counts.
    pub(crate) fn take_finished(&self) -> bool {
        self.asked.take(&self.engine)
    }

    /// Partitions that were dropped and of which no pack holds anything any more, so that their tombstones can go. No
    /// batch of theirs is on its way into a pack.
    pub(crate) fn take_spent_tombstones(&self) -> Vec<PartitionId> {
        let mut dropped = self.engine.dropped.lock();
        let mut spent = Vec::new();
        dropped.retain(|id, partition| {
            let is_dropped = partition
                .as_ref()
                .is_none_or(|partition| partition.is_dropped());
            let keep = !is_dropped || !self.engine.packs.ranges(*id).is_empty();
            if !keep {
                spent.push(*id);
            }
            keep
        });
        spent
    }
}

impl SlotView for View {
    fn facts(&self, id: PartitionId) -> Option<PartitionFacts> {
        let partition = self.engine.partition(id)?;
        let policy = partition.policy()?;
        let offsets = partition.offsets();
        Some(PartitionFacts {
            policy,
            log_start: offsets.log_start,
            last_stable: offsets.last_stable,
            tail_bytes: partition.unsettled_bytes(),
        })
    }

    fn is_dropped(&self, id: PartitionId) -> bool {
        match self.engine.dropped.lock().get(&id) {
            // Shown to readers as dropped, and so durably in the journal.
            Some(Some(partition)) => partition.is_dropped(),
            Some(None) => true,
            None => false,
        }
    }

    fn last_batches(&self, id: PartitionId) -> HashMap<ProducerId, Offset> {
        let Some(partition) = self.engine.partition(id) else {
            return HashMap::new();
        };
        let sequence = partition.sequence.lock();
        let producers = sequence.producers.iter();
        producers
            .filter_map(|(producer, state)| Some((producer, state.batches.last()?.last_offset)))
            .collect()
    }

    fn finished(&self, id: PartitionId) -> Option<Finished> {
        self.asked.of(id)
    }

    fn compacted(&self, id: PartitionId, end: Offset) {
        if let Some(partition) = self.engine.partition(id) {
            partition.forget_cached(end);
        }
    }
}
