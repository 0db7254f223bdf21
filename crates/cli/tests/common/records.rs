//! Making records, and reading back all there are.

use bytes::Bytes;
use millstream_client::{Client, Consumer, ConsumerConfig, OffsetSpec, StartAt, TopicPartition};
use millstream_record::{BatchBuilder, Codec, LeaderEpoch, NewRecord, Offset, TimestampMs};
use tokio::time::timeout;

use super::PATIENCE;

/// A record with this value and no key.
pub(crate) fn value(value: &[u8]) -> NewRecord<'_> {
    NewRecord {
        timestamp: TimestampMs::NONE,
        key: None,
        value: Some(value),
        headers: &[],
    }
}

/// A record with a key.
pub(crate) fn keyed<'a>(key: &'a [u8], value: &'a [u8]) -> NewRecord<'a> {
    NewRecord {
        timestamp: TimestampMs::NONE,
        key: Some(key),
        value: Some(value),
        headers: &[],
    }
}

/// A batch of these records.
pub(crate) fn batch(codec: Codec, records: &[NewRecord<'_>]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    records.iter().for_each(|record| builder.append(record));
    builder.build().expect("there are records").bytes
}

/// A record as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) value: Bytes,
}

/// Reads partitions from the offsets given to their ends as they are now, and hands every record to `each`.
pub(crate) async fn read(
    client: &Client,
    from: &[(TopicPartition, Offset)],
    mut each: impl FnMut(&TopicPartition, Found),
) {
    let ask: Vec<_> = from
        .iter()
        .map(|(partition, _)| (partition.clone(), OffsetSpec::Latest))
        .collect();
    let mut ends = client.list_offsets(&ask).await.unwrap();
    let starts: Vec<_> = from
        .iter()
        .map(|(partition, offset)| (partition.clone(), StartAt::Offset(*offset)))
        .collect();
    for (partition, offset) in from {
        let end = ends[partition].offset.expect("a partition has an end");
        assert!(end >= *offset, "{partition} ends at {end}, before {offset}");
        if end == *offset {
            ends.remove(partition);
        }
    }
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.assign(&starts).await.unwrap();
    while !ends.is_empty() {
        let chunk = timeout(PATIENCE, consumer.next())
            .await
            .expect("records in time")
            .unwrap();
        for batch in &chunk.batches {
            for record in batch.records(millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX) {
                let record = record.unwrap();
                if record.offset >= chunk.from {
                    let value = record.value.unwrap_or_default();
                    each(
                        &chunk.partition,
                        Found {
                            offset: record.offset,
                            epoch: batch.header.leader_epoch,
                            value,
                        },
                    );
                }
            }
        }
        if ends
            .get(&chunk.partition)
            .is_some_and(|end| chunk.next_offset() >= end.offset.expect("checked above"))
        {
            ends.remove(&chunk.partition);
        }
    }
}

/// Everything in one partition.
pub(crate) async fn read_all(client: &Client, topic: &str, partition: i32) -> Vec<Found> {
    let partition = TopicPartition::new(topic.to_owned(), partition);
    let ask = [(partition.clone(), OffsetSpec::Earliest)];
    let start = client.list_offsets(&ask).await.unwrap()[&partition]
        .offset
        .expect("a partition has a start");
    let mut found = Vec::new();
    read(client, &[(partition, start)], |_, record| {
        found.push(record);
    })
    .await;
    found
}
