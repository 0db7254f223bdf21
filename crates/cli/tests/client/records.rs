//! Writing and reading.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use millstream_client::{
    Acks, Client, ClientError, Consumer, ConsumerConfig, NewTopic, OffsetSpec, Producer,
    ProducerConfig, StartAt, TopicPartition, partitioner,
};
use millstream_kafka_wire::ErrorCode;
use millstream_record::{
    BatchBuilder, Codec, Header, NewRecord, Offset, Record, TimestampMs, header,
};

use crate::{cluster, new_topic, record, unique};

/// Reads `count` records from the start of all partitions.
async fn read(client: &Client, topic: &str, count: usize) -> BTreeMap<i32, Vec<Record>> {
    let known = client.topic(topic).await.unwrap();
    let starts: Vec<_> = known
        .partitions
        .iter()
        .map(|partition| {
            (
                TopicPartition::new(topic, partition.number),
                StartAt::Find(OffsetSpec::Earliest),
            )
        })
        .collect();
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.assign(&starts).await.unwrap();
    let mut records = BTreeMap::<i32, Vec<Record>>::new();
    while records.values().map(Vec::len).sum::<usize>() < count {
        let chunk = tokio::time::timeout(Duration::from_secs(20), consumer.next())
            .await
            .unwrap()
            .unwrap();
        let read = records.entry(chunk.partition.partition).or_default();
        read.extend(chunk.records().map(Result::unwrap));
    }
    records
}

#[tokio::test]
async fn what_is_written_is_read_with_every_codec_and_acks() {
    let client = cluster().await;
    for codec in Codec::ALL {
        for acks in [Acks::None, Acks::Leader, Acks::All] {
            let topic = new_topic(&client, 1).await;
            let config = ProducerConfig {
                acks,
                compression: codec.into(),
                ..ProducerConfig::default()
            };
            let producer = Producer::start(&client, config).await.unwrap();
            let headers = [
                Header {
                    key: b"a",
                    value: Some(b"1"),
                },
                Header {
                    key: b"a",
                    value: None,
                },
            ];
            for at in 0..500 {
                let value = format!("value {at}");
                let record = NewRecord {
                    timestamp: TimestampMs(1_700_000_000_000 + at),
                    key: (at % 3 > 0).then_some(b"key"),
                    value: (at % 5 > 0).then_some(value.as_bytes()),
                    headers: &headers,
                };
                producer.send(&topic, None, &record).await.unwrap();
            }
            producer.flush().await.unwrap();
            let records = read(&client, &topic, 500).await.remove(&0).unwrap();
            for (at, record) in (0..).zip(records) {
                assert_eq!(record.offset, Offset(at));
                assert_eq!(record.timestamp, TimestampMs(1_700_000_000_000 + at));
                assert_eq!(record.key.is_some(), at % 3 > 0);
                assert_eq!(record.value.is_some(), at % 5 > 0);
                assert_eq!(record.headers.iter().collect::<Vec<_>>(), headers);
            }
        }
    }
}

#[tokio::test]
async fn keys_stay_together_and_in_order() {
    let client = cluster().await;
    let topic = new_topic(&client, 4).await;
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for at in 0..2_000 {
        let (key, value) = (format!("key {}", at % 50), at.to_string());
        producer
            .send(&topic, None, &record(Some(&key), Some(&value), -1))
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();
    let mut last = HashMap::new();
    for (partition, records) in read(&client, &topic, 2_000).await {
        for record in records {
            let key = record.key.unwrap();
            assert_eq!(partitioner::partition_of_key(&key, 4), partition);
            let value: i32 = std::str::from_utf8(&record.value.unwrap())
                .unwrap()
                .parse()
                .unwrap();
            assert!(last.insert(key, value).is_none_or(|before| before < value));
        }
    }
    assert_eq!(last.len(), 50);
}

#[tokio::test]
async fn records_without_keys_reach_every_partition() {
    let client = cluster().await;
    let topic = new_topic(&client, 3).await;
    let config = ProducerConfig {
        batch_bytes: 1_000,
        ..ProducerConfig::default()
    };
    let producer = Producer::start(&client, config).await.unwrap();
    for _ in 0..3_000 {
        producer
            .send(&topic, None, &record(None, Some("0123456789"), -1))
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(read(&client, &topic, 3_000).await.len(), 3);
}

#[tokio::test]
async fn deliveries_tell_offsets_and_topics_are_created_on_first_use() {
    let client = cluster().await;
    let topic = unique("created");
    let config = ProducerConfig {
        linger: Duration::ZERO,
        ..ProducerConfig::default()
    };
    let producer = Producer::start(&client, config).await.unwrap();
    for at in 0..5 {
        let delivery = producer
            .send(&topic, Some(0), &record(None, Some("x"), -1))
            .await
            .unwrap();
        assert_eq!(delivery.wait().await.unwrap().offset, Some(Offset(at)));
    }
    client.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
async fn built_batches_are_numbered_and_go_out_unchanged() {
    let client = cluster().await;
    let topic = new_topic(&client, 1).await;
    let mut builder = BatchBuilder::new(Codec::Lz4);
    for _ in 0..100 {
        builder.append(&record(Some("k"), Some("some value"), 1_700_000_000_000));
    }
    let batch = builder.build().unwrap();
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    let partition = TopicPartition::new(topic.as_str(), 0);
    for _ in 0..20 {
        producer
            .send_batch(&partition, batch.clone())
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();
    let records = read(&client, &topic, 2_000).await.remove(&0).unwrap();
    assert_eq!(records.last().unwrap().offset, Offset(1_999));
    assert_eq!(
        batch.header.encode()[..],
        batch.bytes[..header::HEADER_BYTES]
    );
}

#[tokio::test]
async fn a_refused_batch_does_not_stop_the_others() {
    let client = cluster().await;
    let topic = unique("small");
    let new = NewTopic::new(&topic)
        .partitions(1)
        .config("max.message.bytes", "2000");
    client.create_topic(&new, false).await.unwrap();
    let config = ProducerConfig {
        linger: Duration::ZERO,
        batch_bytes: 1_000,
        ..ProducerConfig::default()
    };
    let producer = Producer::start(&client, config).await.unwrap();
    let large = "x".repeat(5_000);
    let mut deliveries = Vec::new();
    for at in 0..50 {
        let value = if at % 10 == 3 {
            large.as_str()
        } else {
            "small"
        };
        deliveries.push(
            producer
                .send(&topic, None, &record(None, Some(value), -1))
                .await
                .unwrap(),
        );
    }
    let mut refused = 0;
    for delivery in deliveries {
        if let Err(error) = delivery.wait().await {
            assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 5);
    let told = producer.flush().await.unwrap_err();
    assert_eq!(told.code(), Some(ErrorCode::MESSAGE_TOO_LARGE));
    producer.flush().await.unwrap();
    assert_eq!(read(&client, &topic, 45).await[&0].len(), 45);
}

#[tokio::test]
async fn reading_starts_where_it_is_told() {
    let client = cluster().await;
    let topic = new_topic(&client, 1).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for at in 0..100 {
        producer
            .send(
                &topic,
                None,
                &record(None, Some("x"), 1_700_000_000_000 + at * 1_000),
            )
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();
    let time = TimestampMs(1_700_000_041_500);
    let cases = [
        (StartAt::Offset(Offset(17)), 17),
        (StartAt::Find(OffsetSpec::Since(time)), 42),
        (StartAt::Find(OffsetSpec::MaxTimestamp), 99),
    ];
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    for (start, expected) in cases {
        consumer
            .assign(&[(partition.clone(), start)])
            .await
            .unwrap();
        let chunk = consumer.next().await.unwrap();
        assert_eq!(
            chunk.records().next().unwrap().unwrap().offset,
            Offset(expected),
            "{start:?}"
        );
    }

    consumer
        .assign(&[(partition.clone(), StartAt::Find(OffsetSpec::Latest))])
        .await
        .unwrap();
    producer
        .send(&topic, None, &record(None, Some("new"), -1))
        .await
        .unwrap();
    let chunk = consumer.next().await.unwrap();
    assert_eq!(chunk.records().next().unwrap().unwrap().offset, Offset(100));

    consumer
        .assign(&[(partition, StartAt::Offset(Offset(5_000)))])
        .await
        .unwrap();
    let error = consumer.next().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
}

#[tokio::test]
async fn a_full_buffer_makes_producers_wait() {
    let client = cluster().await;
    let topic = new_topic(&client, 2).await;
    let config = ProducerConfig {
        buffer_bytes: 10_000,
        linger: Duration::from_secs(60),
        ..ProducerConfig::default()
    };
    let producer = Producer::start(&client, config).await.unwrap();
    let value = "x".repeat(1_000);
    for _ in 0..200 {
        producer
            .send(&topic, None, &record(None, Some(&value), -1))
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();
    let huge = "x".repeat(20_000);
    let error = producer
        .send(&topic, None, &record(None, Some(&huge), -1))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::RecordTooLarge { .. }));
}
