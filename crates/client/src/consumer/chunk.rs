//! What one fetch brought of one partition.

use millstream_record::{Batch, Offset, Record};

use crate::admin::offsets::TopicPartition;
use crate::error::ClientError;

/// Consecutive batches of one partition, not decoded yet. They share the memory of the answer they came in.
#[derive(Debug)]
pub struct Chunk {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that was asked for. The first batch may begin before it.
    pub from: Offset,
    /// The batches; never none, but all may be empty of records to deliver.
    pub batches: Vec<Batch>,
    /// The end of the partition as far as readers may see.
    pub high_watermark: Offset,
    pub(crate) decompressed_bytes_max: usize,
}

impl Chunk {
    /// The offset after the last of these batches: where reading goes on.
    pub fn next_offset(&self) -> Offset {
        self.batches
            .last()
            .map_or(self.from, |batch| batch.header.next_offset())
    }

    /// The records from the offset that was asked for on, without transaction markers.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, ClientError>> {
        let delivered = self.batches.iter().filter(|batch| !batch.header.control);
        delivered
            .flat_map(|batch| batch.records(self.decompressed_bytes_max))
            .filter(|record| {
                record
                    .as_ref()
                    .map_or(true, |record| record.offset >= self.from)
            })
            .map(|record| record.map_err(|reason| self.bad_batch(reason)))
    }

    /// How many records there are by the batches' headers, without decoding any. Those before the offset that was asked for
    /// are counted too.
    pub fn record_count(&self) -> u64 {
        let delivered = self.batches.iter().filter(|batch| !batch.header.control);
        delivered
            .map(|batch| batch.header.record_count as u64)
            .sum()
    }

    /// The size of the batches as they came.
    pub fn size_bytes(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.bytes.len() as u64)
            .sum()
    }

    fn bad_batch(&self, reason: millstream_record::BatchError) -> ClientError {
        ClientError::BadBatch {
            topic: self.partition.topic.to_string(),
            partition: self.partition.partition,
            reason,
        }
    }
}
