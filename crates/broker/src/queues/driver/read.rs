//! Reading records that the machine names by their offsets.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millstream_catalog::TopicName;
use millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX;
use millstream_record::{Batch, Batches, Codec, Headers, Offset, Record, TimestampMs};

use super::unpacked::{UnpackedBatch, size_of_record};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::queues::ids::PartitionIndex;
use crate::streams::{FetchPart, FetchSpec, Fetched, FetchedPart, Held, Isolation};
use crate::topics::{PartitionHandle, TopicHandle};

pub(super) use crate::streams::after_damage;

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;

/// Where only a few records are wanted, so much is read for each, but not less than [`READ_BYTES_MIN`].
const READ_BYTES_PER_RECORD: usize = 4 << 10;
const READ_BYTES_MIN: usize = 16 << 10;

/// A record in a queue. Its bytes are slices of the batch that it was published in.
#[derive(Clone, Debug)]
pub struct Message {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where it is in there.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

/// What became of one offset.
#[derive(Debug)]
pub(super) enum Found {
    Record(Record),
    /// It is not in the log any more.
    Gone,
    /// It is in a batch that cannot be decoded: these bytes.
    Undecodable(Bytes),
}

/// What was read, in the order of the offsets: of the first ones, if there was no room for all. The memory it takes counts
/// until `held` is dropped.
#[derive(Debug, Default)]
pub(super) struct ReadRecords {
    pub(super) found: Vec<(Offset, Found)>,
    /// What is stored there is damaged. Offsets in there are found to be gone.
    pub(super) damaged: Vec<Range<Offset>>,
    pub(super) held: Held,
    /// The bytes of the records.
    pub(super) size_bytes: usize,
}

/// Reads the records at `offsets`, which rise: as many as fit `max_bytes` and the memory that is free at present, but at
/// least one.
pub(super) async fn read(
    broker: &Broker,
    partition: &PartitionHandle,
    offsets: &[Offset],
    max_bytes: usize,
) -> Result<ReadRecords, BrokerError> {
    read_some(broker, partition, offsets, max_bytes, true).await
}

/// The same for who holds memory already, and so must not wait for more: possibly none.
pub(super) async fn read_at_once(
    broker: &Broker,
    partition: &PartitionHandle,
    offsets: &[Offset],
    max_bytes: usize,
) -> Result<ReadRecords, BrokerError> {
    read_some(broker, partition, offsets, max_bytes, false).await
}

async fn read_some(
    broker: &Broker,
    partition: &PartitionHandle,
    offsets: &[Offset],
    max_bytes: usize,
    may_wait: bool,
) -> Result<ReadRecords, BrokerError> {
    let mut records = ReadRecords::default();
    let unpacked = &broker.inner.queues.unpacked;
    loop {
        let wanted = &offsets[records.found.len()..];
        let Some(&next) = wanted.first() else { break };
        if records.size_bytes >= max_bytes {
            break;
        }
        if let Some(batch) = unpacked.get(partition.log.id(), next) {
            let inside = &wanted[..wanted.partition_point(|&offset| offset <= batch.last)];
            records.take_unpacked(&batch, inside, max_bytes);
            continue;
        }
        let bytes = (wanted.len() * READ_BYTES_PER_RECORD).clamp(READ_BYTES_MIN, READ_BYTES);
        let spec = spec(partition, next, bytes);
        let fetched = if may_wait && records.found.is_empty() {
            Some(broker.fetch(spec).await)
        } else {
            broker.fetch_at_once(spec).await
        };
        let Some(fetched) = fetched else { break };
        match only(fetched) {
            Ok(fetched) if fetched.slices.is_empty() => {
                // Nothing is there up to the end.
                records.miss(wanted);
            }
            Ok(fetched) => {
                records.held.merge(fetched.held);
                for bytes in fetched.slices {
                    if records.found.len() == offsets.len() {
                        break;
                    }
                    take(broker, partition, bytes, offsets, &mut records, max_bytes).await?;
                }
            }
            Err(BrokerError::OffsetOutOfRange { log_start, .. }) if log_start > next => {
                records.miss(&wanted[..wanted.partition_point(|&offset| offset < log_start)]);
            }
            Err(BrokerError::Damaged(why)) => {
                let Some(after) = after_damage(broker, partition, next, &why).await else {
                    return Err(BrokerError::Damaged(why));
                };
                records.miss(&wanted[..wanted.partition_point(|&offset| offset < after)]);
                records.damaged.push(next..after);
            }
            // What was found before is good all the same.
            Err(_) if !records.found.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// Reads what follows an offset.
pub(super) async fn fetch(
    broker: &Broker,
    partition: &PartitionHandle,
    from: Offset,
) -> Result<Fetched, BrokerError> {
    only(broker.fetch(spec(partition, from, READ_BYTES)).await)
}

fn spec(partition: &PartitionHandle, from: Offset, bytes: usize) -> FetchSpec {
    FetchSpec {
        parts: vec![FetchPart::of(partition, from, bytes)],
        max_bytes: bytes,
        min_bytes: 1,
        max_wait: std::time::Duration::ZERO,
        isolation: Isolation::ReadCommitted,
    }
}

fn only(mut parts: Vec<FetchedPart>) -> Result<Fetched, BrokerError> {
    let part = parts.pop().ok_or(BrokerError::UnknownPartition)?;
    part.result
}

/// Takes what is wanted out of a slice of whole batches.
async fn take(
    broker: &Broker,
    partition: &PartitionHandle,
    bytes: Bytes,
    offsets: &[Offset],
    records: &mut ReadRecords,
    max_bytes: usize,
) -> Result<(), BrokerError> {
    for batch in Batches::new(bytes) {
        let batch = batch?;
        let last = batch.header.last_offset();
        let wanted = &offsets[records.found.len()..];
        if wanted.is_empty() {
            break;
        }
        let gone = wanted.partition_point(|&offset| offset < batch.header.base_offset);
        records.miss(&wanted[..gone]);
        let here = wanted.partition_point(|&offset| offset <= last);
        let inside = &wanted[gone..here];
        if inside.is_empty() {
            continue;
        }
        if records.size_bytes >= max_bytes {
            return Ok(());
        }
        if batch.header.codec == Codec::None {
            records.pick(&batch, inside, max_bytes);
            continue;
        }
        match unpack(broker, partition, batch).await {
            Ok(unpacked) => {
                if inside.len() < unpacked.records.len() {
                    broker.inner.queues.unpacked.keep(&unpacked);
                }
                records.take_unpacked(&unpacked, inside, max_bytes);
            }
            Err(bytes) => records.give_up(&bytes, inside),
        }
    }
    Ok(())
}

/// All records of a compressed batch, or its bytes if it cannot be decoded.
async fn unpack(
    broker: &Broker,
    partition: &PartitionHandle,
    batch: Batch,
) -> Result<Arc<UnpackedBatch>, Bytes> {
    let ends = (batch.header.base_offset, batch.header.last_offset());
    let bytes = batch.bytes.clone();
    let decode = move || {
        let records = batch.records(BATCH_DECOMPRESSED_BYTES_MAX);
        records.collect::<Result<Vec<_>, _>>()
    };
    match broker.unpack(decode).await {
        Ok(records) => {
            let unpacked = UnpackedBatch::new(partition.log.id(), ends, records);
            Ok(Arc::new(unpacked))
        }
        Err(_) => Err(bytes),
    }
}

impl ReadRecords {
    fn miss(&mut self, offsets: &[Offset]) {
        self.found
            .extend(offsets.iter().map(|&offset| (offset, Found::Gone)));
    }

    fn give_up(&mut self, batch: &Bytes, offsets: &[Offset]) {
        let lost = |&offset: &Offset| (offset, Found::Undecodable(batch.clone()));
        self.found.extend(offsets.iter().map(lost));
    }

    fn add(&mut self, record: Record) {
        self.size_bytes += size_of_record(&record);
        self.found.push((record.offset, Found::Record(record)));
    }

    /// Finds `offsets` in a batch that they lie in, without looking at what follows them.
    fn pick(&mut self, batch: &Batch, offsets: &[Offset], max_bytes: usize) {
        let (begun, begun_bytes) = (self.found.len(), self.size_bytes);
        let mut records = batch.records(BATCH_DECOMPRESSED_BYTES_MAX);
        let mut wanted = offsets.iter().copied().peekable();
        while let Some(&next) = wanted.peek() {
            if self.size_bytes >= max_bytes {
                return;
            }
            records.skip_before(next);
            match records.next() {
                None => break,
                Some(Err(_)) => {
                    self.found.truncate(begun);
                    self.size_bytes = begun_bytes;
                    return self.give_up(&batch.bytes, offsets);
                }
                Some(Ok(record)) => {
                    while let Some(offset) = wanted.next_if(|&offset| offset < record.offset) {
                        self.found.push((offset, Found::Gone));
                    }
                    if wanted.next_if(|&offset| offset == record.offset).is_some() {
                        self.add(record);
                    }
                }
            }
        }
        self.found
            .extend(wanted.map(|offset| (offset, Found::Gone)));
    }

    fn take_unpacked(&mut self, batch: &UnpackedBatch, offsets: &[Offset], max_bytes: usize) {
        for &offset in offsets {
            if self.size_bytes >= max_bytes {
                return;
            }
            let at = batch
                .records
                .binary_search_by_key(&offset, |record| record.offset);
            match at {
                Ok(at) => self.add(batch.records[at].clone()),
                Err(_) => self.found.push((offset, Found::Gone)),
            }
        }
    }
}

impl Message {
    pub(super) fn new(topic: &Arc<TopicHandle>, partition: PartitionIndex, record: Record) -> Self {
        Self {
            topic: topic.name().clone(),
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }
}
