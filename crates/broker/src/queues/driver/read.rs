//! Reading records that the machine names by their offsets.

use std::sync::Arc;

use bytes::Bytes;
use millstream_catalog::TopicName;
use millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX;
use millstream_record::{Batch, Codec, Headers, Offset, Record, TimestampMs};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::queues::ids::PartitionIndex;
use crate::streams::{FetchPart, FetchSpec, Held, Isolation};
use crate::topics::{PartitionHandle, TopicHandle};

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;

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
    Damaged(Bytes),
}

/// What was read, in the order of the offsets. The memory it takes counts until `held` is dropped.
#[derive(Debug, Default)]
pub(super) struct ReadRecords {
    pub(super) found: Vec<(Offset, Found)>,
    pub(super) held: Held,
}

/// Reads the records at `offsets`, which rise.
pub(super) async fn read(
    broker: &Broker,
    partition: &PartitionHandle,
    offsets: &[Offset],
) -> Result<ReadRecords, BrokerError> {
    let mut records = ReadRecords::default();
    let mut wanted = offsets;
    while let Some(&next) = wanted.first() {
        let before = wanted.len();
        let fetched = match fetch(broker, partition, next).await {
            Ok(fetched) => fetched,
            Err(BrokerError::OffsetOutOfRange { log_start, .. }) if log_start > next => {
                let gone = wanted.partition_point(|&offset| offset < log_start);
                records.miss(&wanted[..gone]);
                wanted = &wanted[gone..];
                continue;
            }
            Err(error) => return Err(error),
        };
        records.held.merge(fetched.held);
        for bytes in fetched.slices {
            wanted = take(broker, bytes, wanted, &mut records).await?;
        }
        if wanted.len() == before {
            // Nothing is there up to the end.
            records.miss(wanted);
            break;
        }
    }
    Ok(records)
}

pub(super) async fn fetch(
    broker: &Broker,
    partition: &PartitionHandle,
    from: Offset,
) -> Result<crate::streams::Fetched, BrokerError> {
    let spec = FetchSpec {
        parts: vec![FetchPart::of(partition, from, READ_BYTES)],
        max_bytes: READ_BYTES,
        min_bytes: 1,
        max_wait: std::time::Duration::ZERO,
        isolation: Isolation::ReadCommitted,
    };
    let mut parts = broker.fetch(spec).await;
    parts
        .pop()
        .map_or(Err(BrokerError::UnknownPartition), |part| part.result)
}

/// Takes what is wanted out of a slice of whole batches.
async fn take<'a>(
    broker: &Broker,
    bytes: Bytes,
    mut wanted: &'a [Offset],
    records: &mut ReadRecords,
) -> Result<&'a [Offset], BrokerError> {
    for batch in millstream_record::Batches::new(bytes) {
        let batch = batch?;
        let header = &batch.header;
        let last = Offset(header.base_offset.get() + i64::from(header.last_offset_delta));
        let gone = wanted.partition_point(|&offset| offset < header.base_offset);
        records.miss(&wanted[..gone]);
        wanted = &wanted[gone..];
        let here = wanted.partition_point(|&offset| offset <= last);
        if here == 0 {
            continue;
        }
        let (inside, rest) = wanted.split_at(here);
        if batch.header.codec == Codec::None {
            pick(&batch, inside, &mut records.found);
        } else {
            let offsets = inside.to_vec();
            let picked = broker
                .unpack(move || {
                    let mut picked = Vec::with_capacity(offsets.len());
                    pick(&batch, &offsets, &mut picked);
                    picked
                })
                .await;
            records.found.extend(picked);
        }
        wanted = rest;
    }
    Ok(wanted)
}

/// Finds `offsets` in a batch that they lie in.
fn pick(batch: &Batch, offsets: &[Offset], found: &mut Vec<(Offset, Found)>) {
    let begun = found.len();
    let mut wanted = offsets.iter().copied().peekable();
    for record in batch.records(BATCH_DECOMPRESSED_BYTES_MAX) {
        let Ok(record) = record else {
            found.truncate(begun);
            let damaged = |&offset: &Offset| (offset, Found::Damaged(batch.bytes.clone()));
            found.extend(offsets.iter().map(damaged));
            return;
        };
        while let Some(offset) = wanted.next_if(|&offset| offset < record.offset) {
            found.push((offset, Found::Gone));
        }
        if wanted.next_if(|&offset| offset == record.offset).is_some() {
            found.push((record.offset, Found::Record(record)));
        }
        if wanted.peek().is_none() {
            return;
        }
    }
    found.extend(wanted.map(|offset| (offset, Found::Gone)));
}

impl ReadRecords {
    fn miss(&mut self, offsets: &[Offset]) {
        self.found
            .extend(offsets.iter().map(|&offset| (offset, Found::Gone)));
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
