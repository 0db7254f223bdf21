//! One partition: what readers see of it, and what the next append depends on.
//!
//! It has two sides, each with a lock of its own. [`Sequence`] is where the next batch goes; it is touched only while
//! the slot's sequencer is held, and runs ahead of [`Visible`], which is what is durable and shown to readers, and moves
//! when the journal publishes (`publish`). `read` reads batches in order, `search` finds records by their time.

mod publish;
mod read;
mod search;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_record::{
    BatchError, BatchHeader, LeaderEpoch, Offset, ProducerEpoch, ProducerId,
    Sequence as SequenceNumber, TimestampMs,
};
use parking_lot::Mutex;

use crate::budget::Budget;
use crate::epochs::{Epochs, SlotEpoch};
use crate::error::ReadError;
use crate::ids::{JournalPosition, PartitionId};
use crate::pack::PackSet;
use crate::policy::{Durability, PartitionPolicy};
use crate::producers::Producers;
use crate::tail::{Tail, TailBatch};
use crate::ticket::CommitNumber;
use crate::wake::Wake;
pub use read::{DiskRead, Read};

/// A partition of an open slot.
pub struct Partition {
    id: PartitionId,
    durability: Durability,
    /// The leadership in force, of the whole slot.
    leader_epoch: Arc<SlotEpoch>,
    packs: Arc<PackSet>,
    budget: Arc<Budget>,
    /// Locked only by who holds the slot's sequencer.
    pub(crate) sequence: Mutex<Sequence>,
    visible: Mutex<Visible>,
    /// Bytes of batches that a memory partition has taken and that wait for the journal.
    unshown_bytes: AtomicU64,
    /// The last journal buffer that holds a batch of this partition.
    last_buffer: AtomicU64,
}

/// Where a partition stands once everything sequenced so far has happened.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    /// The next batch's base offset.
    pub(crate) next_offset: Offset,
    /// The first offset.
    pub(crate) log_start: Offset,
    /// A memory partition gives out no offset from here on before a higher bound is in the journal.
    pub(crate) reserved: Offset,
    /// Idempotent producers.
    pub(crate) producers: Producers,
    /// Each leader epoch with its first offset.
    pub(crate) epochs: Epochs,
    /// The last commit in the journal's queue that has to do with this partition.
    pub(crate) last_queued: CommitNumber,
    /// Changed since the last checkpoint.
    pub(crate) dirty: bool,
    /// A commit that drops it has been sequenced.
    pub(crate) dropped: bool,
    /// How its records are kept; `None` until somebody says.
    pub(crate) policy: Option<PartitionPolicy>,
}

/// What readers see.
#[derive(Debug)]
struct Visible {
    log_start: Offset,
    high_watermark: Offset,
    dropped: bool,
    epochs: Epochs,
    tail: Tail,
    /// What lies before this offset is in packs.
    settled: Offset,
    wakes: Vec<Arc<Wake>>,
    appended: Appends,
}

/// What has been appended to a partition since the process started, what recovery found not counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appends {
    /// Batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the batches, as they are stored.
    pub bytes: u64,
}

impl Appends {
    /// Counts a batch.
    fn count(&mut self, batch: &TailBatch) {
        self.batches += 1;
        self.records += (batch.last.get() - batch.base.get() + 1) as u64;
        self.bytes += batch.size_bytes() as u64;
    }
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset there is.
    pub log_start: Offset,
    /// Readers see what lies before this: it is as durable as promised.
    pub high_watermark: Offset,
    /// Before this no transaction is undecided.
    pub last_stable: Offset,
    /// The next append goes here.
    pub log_end: Offset,
    /// The leadership now in force.
    pub leader_epoch: LeaderEpoch,
}

/// What a partition knows of one idempotent producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSummary {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// The last sequence it wrote.
    pub last_sequence: SequenceNumber,
    /// When it last wrote, by the server's clock.
    pub last_timestamp: TimestampMs,
    /// Where its open transaction starts.
    pub txn_first_offset: Option<Offset>,
}

/// What a partition is made from.
pub(crate) struct PartitionOrigin {
    pub(crate) id: PartitionId,
    pub(crate) durability: Durability,
    pub(crate) leader_epoch: Arc<SlotEpoch>,
    pub(crate) log_start: Offset,
    pub(crate) next_offset: Offset,
    /// Everything before this offset is in packs.
    pub(crate) settled: Offset,
    pub(crate) epochs: Epochs,
    pub(crate) policy: Option<PartitionPolicy>,
}

impl Partition {
    /// A partition that holds nothing in memory.
    pub(crate) fn new(origin: PartitionOrigin, packs: Arc<PackSet>, budget: Arc<Budget>) -> Self {
        Self {
            id: origin.id,
            durability: origin.durability,
            leader_epoch: origin.leader_epoch,
            packs,
            budget,
            sequence: Mutex::new(Sequence {
                next_offset: origin.next_offset,
                log_start: origin.log_start,
                reserved: origin.next_offset,
                epochs: origin.epochs.clone(),
                policy: origin.policy,
                ..Sequence::default()
            }),
            visible: Mutex::new(Visible {
                log_start: origin.log_start,
                high_watermark: origin.next_offset,
                dropped: false,
                epochs: origin.epochs,
                tail: Tail::default(),
                settled: origin.settled,
                wakes: Vec::new(),
                appended: Appends::default(),
            }),
            unshown_bytes: AtomicU64::new(0),
            last_buffer: AtomicU64::new(0),
        }
    }

    /// Its number.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// What an acknowledgement of its appends promises.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether it has been dropped.
    pub fn is_dropped(&self) -> bool {
        self.visible.lock().dropped
    }

    /// Where it begins and ends, at one moment.
    pub fn offsets(&self) -> Offsets {
        let (log_start, high_watermark) = {
            let visible = self.visible.lock();
            (visible.log_start, visible.high_watermark)
        };
        Offsets {
            log_start,
            high_watermark,
            last_stable: high_watermark,
            log_end: self.sequence.lock().next_offset.max(high_watermark),
            leader_epoch: self.leader_epoch.get(),
        }
    }

    /// The first offset there is. `sequence` does not know what a memory partition has let go of to make room.
    pub(crate) fn log_start(&self, sequence: &Sequence) -> Offset {
        match self.durability {
            Durability::Memory => sequence.log_start.max(self.visible.lock().log_start),
            Durability::Os | Durability::Fsync => sequence.log_start,
        }
    }

    /// What readers have been shown of appends since the process started.
    pub fn appended(&self) -> Appends {
        self.visible.lock().appended
    }

    /// Where reading can go on after [`Partition::read`] has found damage at `from`; `None` if it is not there any more, or
    /// the disk refuses. Blocks.
    pub fn after_damage(&self, from: Offset) -> Option<Offset> {
        self.packs.after_damage(self.id, from)
    }

    /// The latest leader epoch up to `epoch` in which something was appended, and the offset after its last record
    /// (KIP-101's `OffsetForLeaderEpoch`); `None` when there is none.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let visible = self.visible.lock();
        visible.epochs.end(epoch, visible.high_watermark)
    }

    /// Each leader epoch in which something was appended, with its first offset.
    pub fn epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        self.visible.lock().epochs.list().to_vec()
    }

    /// The leader epoch that wrote the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        let epoch = self.visible.lock().epochs.at(offset);
        epoch.unwrap_or(self.leader_epoch.get())
    }

    /// Sets `wake` off once, when the high watermark or the log start next moves, or the partition is dropped.
    pub fn wake_on_append(&self, wake: &Arc<Wake>) {
        let mut visible = self.visible.lock();
        if visible.dropped {
            drop(visible);
            wake.fire();
            return;
        }
        // Whoever waited for several partitions and was woken by another one is forgotten here at last.
        if visible.wakes.len() >= WAKES_BEFORE_SWEEP {
            visible.wakes.retain(|wake| !wake.is_fired());
        }
        visible.wakes.push(Arc::clone(wake));
    }

    /// Forgets a `wake` that is no longer waited for.
    pub fn forget_wake(&self, wake: &Arc<Wake>) {
        let mut visible = self.visible.lock();
        visible.wakes.retain(|other| !Arc::ptr_eq(other, wake));
    }

    /// Whether an idempotent producer's batch was appended before, as far as that is remembered. Looks no producer's expiry up,
    /// so what is sent again after it may still seem known.
    pub fn has_batch(&self, header: &BatchHeader) -> bool {
        header.has_producer() && self.sequence.lock().producers.has(header)
    }

    /// The idempotent producers it knows.
    pub fn producers(&self) -> Vec<ProducerSummary> {
        let sequence = self.sequence.lock();
        let summary =
            |(producer_id, state): (ProducerId, &crate::state::keys::producer::ProducerState)| {
                ProducerSummary {
                    producer_id,
                    epoch: state.epoch,
                    last_sequence: state
                        .batches
                        .last()
                        .map_or(SequenceNumber::NONE, |batch| batch.last_sequence),
                    last_timestamp: state.last_timestamp,
                    txn_first_offset: state.txn_first_offset,
                }
            };
        sequence.producers.iter().map(summary).collect()
    }

    /// Bytes of batches it holds, in packs and in memory what is not in packs.
    pub fn size_bytes(&self) -> u64 {
        self.unsettled_bytes() + self.packs.size_bytes(self.id)
    }

    /// Notes that a batch of this partition is in the journal buffer of that number. Returns whether it is the first there.
    pub(crate) fn note_buffer(&self, buffer: u64) -> bool {
        self.last_buffer.swap(buffer, Ordering::Relaxed) != buffer
    }

    /// How its records are kept, if anybody has said.
    pub(crate) fn policy(&self) -> Option<PartitionPolicy> {
        self.sequence.lock().policy
    }

    /// Where packs end, and the batches from there on whose entries lie before `upto`.
    pub(crate) fn unsettled(&self, upto: JournalPosition) -> (Offset, Vec<TailBatch>) {
        let visible = self.visible.lock();
        let batches = visible.tail.from(visible.settled);
        let batches = batches.take_while(|batch| batch.position < upto);
        (visible.settled, batches.cloned().collect())
    }

    /// Bytes of batches that are not in packs.
    pub(crate) fn unsettled_bytes(&self) -> u64 {
        let visible = self.visible.lock();
        let unsettled = visible.tail.from(visible.settled);
        unsettled.map(|batch| batch.size_bytes() as u64).sum()
    }

    /// Whether a batch that is not in a pack has waited for compaction for as long as it may.
    pub(crate) fn waits_for_compaction(&self, now: TimestampMs) -> bool {
        let Some(policy) = self.policy() else {
            return false;
        };
        if !policy.cleanup.compacts() || self.durability() == Durability::Memory {
            return false;
        }
        let lag_ms = i64::try_from(policy.max_compaction_lag_ms).unwrap_or(i64::MAX);
        let visible = self.visible.lock();
        let oldest = visible.tail.from(visible.settled).next();
        oldest.is_some_and(|batch| batch.max_timestamp < now.saturating_sub(lag_ms))
    }

    /// Says that everything before `offset` is in packs.
    pub(crate) fn set_settled(&self, offset: Offset) {
        let mut visible = self.visible.lock();
        visible.settled = visible.settled.max(offset);
    }

    /// Lets go of what is cached from before `position`, all of which has been settled.
    pub(crate) fn evict_before(&self, position: JournalPosition) {
        self.visible.lock().tail.evict_before(position);
    }

    /// Lets go of what is cached from before `end`, all of which has been settled and then compacted: readers would get
    /// what compaction has removed.
    pub(crate) fn forget_cached(&self, end: Offset) {
        self.visible.lock().tail.trim(end);
    }

    /// Adds a batch that recovery found in the journal. Returns whether it is the first of `chunk`.
    pub(crate) fn recover(&self, batch: TailBatch, chunk: u64) -> bool {
        self.visible.lock().tail.push(batch);
        self.note_buffer(chunk)
    }

    /// Shows readers what recovery has found out: from where to where the partition goes.
    pub(crate) fn finish_recovery(&self) {
        let sequence = self.sequence.lock();
        let mut visible = self.visible.lock();
        visible.log_start = sequence.log_start;
        visible.high_watermark = sequence.next_offset;
        visible.epochs = sequence.epochs.clone();
        visible.tail.trim(sequence.log_start);
    }

    fn check_range(&self, visible: &Visible, from: Offset) -> Result<(), ReadError> {
        if visible.dropped {
            return Err(ReadError::Dropped(self.id));
        }
        if from < visible.log_start || from > visible.high_watermark {
            return Err(ReadError::OutOfRange {
                log_start: visible.log_start,
                high_watermark: visible.high_watermark,
            });
        }
        Ok(())
    }

    fn damaged(&self, offset: Offset, error: &BatchError) -> ReadError {
        ReadError::Damaged {
            partition: self.id,
            offset,
            reason: error.to_string(),
        }
    }
}

/// So many readers wait at one partition before those that were woken elsewhere are swept out.
const WAKES_BEFORE_SWEEP: usize = 32;

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition")
            .field("id", &self.id)
            .field("offsets", &self.offsets())
            .finish_non_exhaustive()
    }
}
