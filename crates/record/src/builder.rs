//! Making a batch out of records.

use crate::batch::Batch;
use crate::compression::{self, Compression};
use crate::header::{self, BatchHeader, HEADER_BYTES, TimestampType};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::record::{Header, HeaderParts, Parts, Record};

/// A record to be written, borrowed from its owner.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// When it was made, or [`TimestampMs::NONE`].
    pub timestamp: TimestampMs,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; none marks the key as deleted on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers, in their order; a name may occur more than once.
    pub headers: &'a [Header<'a>],
}

/// Collects records and encodes them as one batch.
///
/// Records are encoded as they come and compressed together at the end.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records, not compressed.
    buffer: Vec<u8>,
    header: BatchHeader,
    compression: Compression,
}

impl BatchBuilder {
    /// An empty batch at offset 0, as a producer sends it.
    pub fn new(compression: impl Into<Compression>) -> Self {
        Self::with_capacity(compression, 0)
    }

    /// The same with room for `capacity_bytes` of records before they are compressed.
    pub fn with_capacity(compression: impl Into<Compression>, capacity_bytes: usize) -> Self {
        let compression = compression.into();
        let mut buffer = Vec::with_capacity(HEADER_BYTES + capacity_bytes);
        buffer.resize(HEADER_BYTES, 0);
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            size_bytes: HEADER_BYTES as u32,
            leader_epoch: LeaderEpoch::NONE,
            crc: 0,
            codec: compression.codec,
            timestamp_type: TimestampType::CreateTime,
            transactional: false,
            control: false,
            delete_horizon: None,
            last_offset_delta: -1,
            base_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            record_count: 0,
        };
        Self {
            buffer,
            header,
            compression,
        }
    }

    /// A batch that takes everything but its records and its record count from `original`: offsets, producer,
    /// flags, timestamps. Records go in with [`BatchBuilder::append_original`].
    pub(crate) fn like(
        original: &BatchHeader,
        compression: Compression,
        base_timestamp: TimestampMs,
    ) -> Self {
        let mut builder = Self::new(compression);
        builder.header = BatchHeader {
            codec: compression.codec,
            base_timestamp,
            record_count: 0,
            ..*original
        };
        builder
    }

    /// Names the idempotent producer and the first record's sequence number.
    #[must_use]
    pub fn producer(
        mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: Sequence,
    ) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.transactional = true;
        self
    }

    /// Makes it a control batch, which only a broker writes.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.header.control = true;
        self
    }

    /// Places the batch in its partition.
    #[must_use]
    pub fn at(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch;
        self
    }

    /// Adds a record at the next offset.
    pub fn append(&mut self, record: &NewRecord<'_>) {
        if self.header.record_count == 0 {
            self.header.base_timestamp = record.timestamp;
        }
        let parts = self.parts(record);
        parts.put(&mut self.buffer);
        self.header.record_count += 1;
        self.header.last_offset_delta += 1;
        self.header.max_timestamp = self.header.max_timestamp.max(record.timestamp);
    }

    /// Adds a record at the offset it has, for a batch made by [`BatchBuilder::like`].
    pub(crate) fn append_original(&mut self, record: &Record) {
        let parts = Parts {
            timestamp_delta: record
                .timestamp
                .0
                .wrapping_sub(self.header.base_timestamp.0),
            offset_delta: (record.offset - self.header.base_offset) as i32,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: HeaderParts::Encoded(&record.headers),
        };
        parts.put(&mut self.buffer);
        self.header.record_count += 1;
    }

    /// How many records there are.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// The batch's size in bytes, header included, before compression.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The size in bytes before compression that the batch would have with `record` added.
    pub fn size_bytes_with(&self, record: &NewRecord<'_>) -> usize {
        self.buffer.len() + self.parts(record).size_bytes()
    }

    /// Compresses, computes the checksum, and gives the batch; none if it has no records.
    pub fn build(mut self) -> Option<Batch> {
        (self.header.record_count > 0).then(|| {
            let mut bytes = if self.compression.codec == header::Codec::None {
                std::mem::take(&mut self.buffer)
            } else {
                let mut compressed = Vec::with_capacity(self.buffer.len() / 2);
                compressed.resize(HEADER_BYTES, 0);
                compression::compress(
                    self.compression,
                    &self.buffer[HEADER_BYTES..],
                    &mut compressed,
                );
                compressed
            };
            self.header.finish(&mut bytes);
            Batch {
                header: self.header,
                bytes: bytes.into(),
            }
        })
    }

    fn parts<'a>(&self, record: &'a NewRecord<'a>) -> Parts<'a> {
        let base_timestamp = if self.header.record_count == 0 {
            record.timestamp
        } else {
            self.header.base_timestamp
        };
        Parts {
            timestamp_delta: record.timestamp.0.wrapping_sub(base_timestamp.0),
            offset_delta: self.header.last_offset_delta + 1,
            key: record.key,
            value: record.value,
            headers: HeaderParts::List(record.headers),
        }
    }
}
