//! Compressed batches that were unpacked lately: a batch is delivered in many pieces, and unpacked once.

use std::collections::VecDeque;
use std::sync::Arc;

use millstream_limits::{QUEUE_UNPACKED_BATCHES_MAX, QUEUE_UNPACKED_BYTES_MAX};
use millstream_record::{Offset, Record};
use millstream_store::PartitionId;
use parking_lot::Mutex;

/// What a record takes beside its bytes.
const RECORD_BYTES: usize = size_of::<Record>();

/// A batch of which every record is known.
pub(super) struct UnpackedBatch {
    partition: PartitionId,
    first: Offset,
    pub(super) last: Offset,
    pub(super) records: Vec<Record>,
    size_bytes: usize,
}

/// The batches, the one that was asked for last at the front.
#[derive(Default)]
pub(super) struct Unpacked(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    batches: VecDeque<Arc<UnpackedBatch>>,
    size_bytes: usize,
}

impl UnpackedBatch {
    pub(super) fn new(
        partition: PartitionId,
        (first, last): (Offset, Offset),
        records: Vec<Record>,
    ) -> Self {
        let bytes = records
            .iter()
            .map(|record| size_of_record(record) + RECORD_BYTES);
        Self {
            partition,
            first,
            last,
            size_bytes: bytes.sum(),
            records,
        }
    }

    fn holds(&self, partition: PartitionId, offset: Offset) -> bool {
        self.partition == partition && self.first <= offset && offset <= self.last
    }
}

impl Unpacked {
    /// The batch that an offset lies in.
    pub(super) fn get(&self, partition: PartitionId, offset: Offset) -> Option<Arc<UnpackedBatch>> {
        let mut kept = self.0.lock();
        let mut batches = kept.batches.iter();
        let at = batches.position(|batch| batch.holds(partition, offset))?;
        let batch = kept.batches.remove(at)?;
        kept.batches.push_front(Arc::clone(&batch));
        Some(batch)
    }

    /// Keeps a batch, unless it would push out too many others.
    pub(super) fn keep(&self, batch: &Arc<UnpackedBatch>) {
        if batch.size_bytes > QUEUE_UNPACKED_BYTES_MAX / 2 {
            return;
        }
        let mut kept = self.0.lock();
        kept.size_bytes += batch.size_bytes;
        kept.batches.push_front(Arc::clone(batch));
        while kept.size_bytes > QUEUE_UNPACKED_BYTES_MAX
            || kept.batches.len() > QUEUE_UNPACKED_BATCHES_MAX
        {
            let Some(oldest) = kept.batches.pop_back() else {
                return;
            };
            kept.size_bytes -= oldest.size_bytes;
        }
    }
}

/// The bytes that a record's parts take.
pub(super) fn size_of_record(record: &Record) -> usize {
    let part = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
    part(&record.key) + part(&record.value) + record.headers.size_bytes()
}
