//! Applies what recovery finds in the journal, on top of a checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use millstream_record::{BatchHeader, LeaderEpoch, Offset, TimestampMs};
use smallvec::SmallVec;

use crate::budget::Budget;
use crate::epochs::{Epochs, SlotEpoch};
use crate::error::OpenError;
use crate::ids::{JournalPosition, PartitionId};
use crate::journal::arena::Retirees;
use crate::journal::entry::{EntryHeader, Frame};
use crate::journal::scan::Found;
use crate::pack::PackSet;
use crate::partition::{Partition, PartitionOrigin};
use crate::policy::Durability;
use crate::state::keys::partition::PartitionState;
use crate::state::{State, StateError, keys};
use crate::tail::TailBatch;

/// The slot as far as it has been recovered.
pub(crate) struct Replay {
    state: Arc<State>,
    packs: Arc<PackSet>,
    budget: Arc<Budget>,
    retirees: Arc<Retirees>,
    epoch: Arc<SlotEpoch>,
    /// Batches from before this position are in packs.
    settled: JournalPosition,
    pub(crate) partitions: HashMap<PartitionId, Arc<Partition>>,
    pub(crate) next_partition: PartitionId,
    /// Partitions of which packs may still hold something: those the journal drops, and those of which only the
    /// tombstone is left.
    pub(crate) dropped: BTreeMap<PartitionId, Option<Arc<Partition>>>,
    /// What has changed since the checkpoint.
    pub(crate) dirty: Vec<Arc<Partition>>,
    /// Who has batches in the chunk at hand.
    chunk_partitions: Vec<Arc<Partition>>,
    /// Bytes of entries replayed.
    pub(crate) bytes: u64,
}

impl Replay {
    /// Starts from the checkpoint in `state`.
    pub(crate) fn load(
        state: Arc<State>,
        packs: Arc<PackSet>,
        settled: JournalPosition,
        budget: Arc<Budget>,
        retirees: Arc<Retirees>,
        epoch: Arc<SlotEpoch>,
        next_partition: PartitionId,
    ) -> Result<Self, OpenError> {
        let mut replay = Self {
            state,
            packs,
            budget,
            retirees,
            epoch,
            settled,
            partitions: HashMap::new(),
            next_partition,
            dropped: BTreeMap::new(),
            dirty: Vec::new(),
            chunk_partitions: Vec::new(),
            bytes: 0,
        };
        for entry in replay.state.scan(&keys::partition::PREFIX)? {
            let (key, value) = entry?;
            let id = keys::partition::parse_key(&key).map_err(StateError::Format)?;
            let descriptor = PartitionState::decode(&value).map_err(StateError::Format)?;
            replay.add(id, descriptor);
        }
        for entry in replay.state.scan(&keys::producer::PREFIX)? {
            let (key, value) = entry?;
            let (id, producer) = keys::producer::parse_key(&key).map_err(StateError::Format)?;
            let known =
                keys::producer::ProducerState::decode(&value).map_err(StateError::Format)?;
            if let Some(partition) = replay.partitions.get(&id) {
                partition.sequence.lock().producers.load(producer, known);
            }
        }
        for entry in replay.state.scan(&keys::dropped::PREFIX)? {
            let (key, value) = entry?;
            keys::dropped::check(&value).map_err(StateError::Format)?;
            let id = keys::dropped::parse_key(&key).map_err(StateError::Format)?;
            replay.dropped.insert(id, None);
        }
        Ok(replay)
    }

    /// Takes in one finding of the scan.
    pub(crate) fn visit(&mut self, found: Found) {
        match found {
            Found::Entry {
                header,
                frame,
                batches,
                chunk,
            } => self.apply(&header, &frame, &batches, chunk),
            Found::Damaged { header, frame } => self.lose(&header, &frame),
            Found::ChunkDone { capacity, end } => {
                let partitions = std::mem::take(&mut self.chunk_partitions);
                if !partitions.is_empty() {
                    self.retirees.adopt(capacity, end, partitions);
                }
            }
        }
    }

    /// Settles what can only be told at the end.
    pub(crate) fn finish(&mut self) {
        for partition in self.partitions.values() {
            {
                let mut sequence = partition.sequence.lock();
                if partition.durability() == Durability::Memory {
                    sequence.next_offset = sequence.reserved;
                    sequence.log_start = sequence.reserved;
                } else {
                    let packed = self.packs.end(partition.id()).unwrap_or(Offset::ZERO);
                    let next = sequence.next_offset.max(packed).max(sequence.log_start);
                    sequence.next_offset = next;
                }
            }
            partition.finish_recovery();
        }
    }

    fn apply(
        &mut self,
        header: &EntryHeader,
        frame: &Frame,
        batches: &SmallVec<[(BatchHeader, Bytes); 1]>,
        chunk: u64,
    ) {
        self.bytes += u64::from(header.length);
        for (id, durability) in &frame.opens {
            self.open(*id, *durability);
        }
        for (append, (batch_header, bytes)) in frame.appends.iter().zip(batches) {
            for (at, (id, base)) in append.targets.iter().enumerate() {
                let remembers = at == 0 && !append.foreign_producer;
                let partition = self.advance(*id, *base, batch_header, header, remembers);
                if header.position < self.settled {
                    continue;
                }
                let batch = TailBatch::new(
                    *base,
                    append.targets[0].1,
                    append.last_offset_delta,
                    append.max_timestamp,
                    header.position,
                    bytes.clone(),
                );
                if partition.recover(batch, chunk) {
                    self.chunk_partitions.push(partition);
                }
            }
        }
        self.apply_rest(frame);
        self.state.apply(&frame.puts, &frame.deletes);
    }

    fn apply_rest(&mut self, frame: &Frame) {
        for (id, log_start) in &frame.trims {
            let partition = self.touch(*id);
            let mut sequence = partition.sequence.lock();
            sequence.log_start = sequence.log_start.max(*log_start);
            sequence.epochs.trim(*log_start);
        }
        for (id, reserved) in &frame.reserves {
            let partition = self.touch(*id);
            let mut sequence = partition.sequence.lock();
            sequence.reserved = sequence.reserved.max(*reserved);
        }
        for id in &frame.drops {
            let partition = self.touch(*id);
            partition.sequence.lock().dropped = true;
            partition.publish_drop();
            self.partitions.remove(id);
            self.dropped.insert(*id, Some(partition));
        }
    }

    /// Counts the offsets of batches that are lost, so that they are not given out again.
    fn lose(&mut self, header: &EntryHeader, frame: &Frame) {
        for append in &frame.appends {
            for (id, base) in &append.targets {
                let partition = self.touch(*id);
                let mut sequence = partition.sequence.lock();
                sequence.epochs.note(header.epoch, *base);
                let end = *base + i64::from(append.last_offset_delta) + 1;
                sequence.next_offset = sequence.next_offset.max(end);
            }
        }
    }

    fn advance(
        &mut self,
        id: PartitionId,
        base: Offset,
        batch: &BatchHeader,
        entry: &EntryHeader,
        remembers_producer: bool,
    ) -> Arc<Partition> {
        let partition = self.touch(id);
        let mut sequence = partition.sequence.lock();
        sequence.next_offset = base + batch.offset_count();
        sequence.epochs.note(entry.epoch, base);
        if remembers_producer && batch.has_producer() {
            sequence.producers.record(batch, base, entry.wall);
        }
        drop(sequence);
        partition
    }

    fn open(&mut self, id: PartitionId, durability: Durability) {
        let descriptor = PartitionState {
            durability,
            log_start: Offset::ZERO,
            reserved: Offset::ZERO,
            epochs: Vec::new(),
        };
        if !self.partitions.contains_key(&id) {
            self.add(id, descriptor);
        }
        self.touch(id);
    }

    /// The partition, marked as changed. One whose opening was lost to damage is opened here: nothing that is in the
    /// journal is dropped because something else is missing.
    fn touch(&mut self, id: PartitionId) -> Arc<Partition> {
        if !self.partitions.contains_key(&id) {
            tracing::error!(
                partition = id.0,
                "the journal has records of a partition that it does not open"
            );
            let descriptor = PartitionState {
                durability: Durability::Fsync,
                log_start: Offset::ZERO,
                reserved: Offset::ZERO,
                epochs: Vec::new(),
            };
            self.add(id, descriptor);
        }
        let partition = Arc::clone(&self.partitions[&id]);
        if !std::mem::replace(&mut partition.sequence.lock().dirty, true) {
            self.dirty.push(Arc::clone(&partition));
        }
        partition
    }

    fn add(&mut self, id: PartitionId, descriptor: PartitionState) {
        let packed = self.packs.end(id).unwrap_or(Offset::ZERO);
        let origin = PartitionOrigin {
            id,
            durability: descriptor.durability,
            leader_epoch: Arc::clone(&self.epoch),
            log_start: descriptor.log_start,
            next_offset: descriptor.reserved,
            settled: descriptor.reserved.max(packed),
            epochs: Epochs::new(descriptor.epochs),
            policy: None,
        };
        let partition = Partition::new(origin, Arc::clone(&self.packs), Arc::clone(&self.budget));
        self.partitions.insert(id, Arc::new(partition));
        self.next_partition = self.next_partition.max(id.next());
    }
}

/// What recovery found, for the log and for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// The slot had been stopped in order, or is new.
    pub clean: bool,
    /// The leader epoch now in force.
    pub leader_epoch: LeaderEpoch,
    /// Journal entries that were applied.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Stretches of the journal that had been durable and cannot be read; they were copied to the quarantine.
    pub damaged: Vec<crate::journal::scan::DamagedRange>,
    /// When it was done.
    pub at: TimestampMs,
}
