//! Producing: what a partition takes, and what it refuses with which error.

mod support;

use bytes::{Bytes, BytesMut};
use millstream_broker::TopicName;
use millstream_broker::queues::policy::{LengthPolicy, Overflow, QueuePolicy};
use millstream_broker::queues::{NewQueue, StartAt};
use millstream_broker::routes::{NewRoute, RouteSource};
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::produce::PartitionProduceResponse;
use millstream_kafka_wire::messages::{FetchRequest, InitProducerIdRequest};
use millstream_record::{BatchBuilder, Codec, NewRecord, TimestampMs};
use support::{Client, Served, batch, closed, compressed_batch, fetch_request, produce_request};

fn altered(batch: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[at] ^= byte;
    bytes.freeze()
}

/// Where a batch has its checksum and its attributes.
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 22;
const MAGIC_AT: usize = 16;

#[tokio::test]
async fn every_codec_comes_back_byte_for_byte_but_offset_and_epoch() {
    let served = Served::start().await;
    let codecs = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    for (index, codec) in codecs.into_iter().enumerate() {
        let topic = format!("codec-{index}");
        served.topic(&topic, 1, &[]).await;
        let sent = compressed_batch(codec, &["one", "two", "three"]);
        let mut client = served.client().await;
        assert_eq!(
            client.produce(&topic, 0, sent.clone()).await.error_code,
            ErrorCode::NONE
        );
        assert_eq!(client.produce(&topic, 0, sent.clone()).await.base_offset, 3);
        let fetched = client.call(&fetch_request(&topic, 0), 11).await;
        let records = fetched.responses[0].partitions[0]
            .records
            .clone()
            .unwrap()
            .into_bytes();
        assert_eq!(records.len(), 2 * sent.len());
        // From the magic on nothing may change.
        assert_eq!(records[MAGIC_AT..sent.len()], sent[MAGIC_AT..]);
        assert_eq!(records[sent.len() + MAGIC_AT..], sent[MAGIC_AT..]);
    }
}

#[tokio::test]
async fn damaged_and_impossible_batches_are_refused_by_their_own_errors() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let good = batch(&["value"]);
    let two = [&good[..], &good[..]].concat();
    let cases = [
        (
            "wrong checksum",
            altered(&good, CRC_AT, 1),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "flipped payload",
            altered(&good, good.len() - 2, 0x40),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "cut off",
            good.slice(..good.len() - 1),
            ErrorCode::INVALID_RECORD,
        ),
        ("nothing", Bytes::new(), ErrorCode::INVALID_RECORD),
        ("two batches", Bytes::from(two), ErrorCode::INVALID_RECORD),
        (
            "format v1",
            altered(&good, MAGIC_AT, 2 ^ 1),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "garbage",
            Bytes::from(vec![0xa5; 200]),
            ErrorCode::CORRUPT_MESSAGE,
        ),
    ];
    for (name, bytes, expected) in cases {
        let refused = served.client().await.produce("t", 0, bytes).await;
        assert_eq!(
            refused.error_code, expected,
            "{name}: {:?}",
            refused.error_message
        );
        assert_eq!(refused.base_offset, -1, "{name}");
        assert!(refused.error_message.is_some(), "{name}");
    }
    let taken = served.client().await.produce("t", 0, good).await;
    assert_eq!((taken.error_code, taken.base_offset), (ErrorCode::NONE, 0));
}

/// KIP-110: who speaks an older version could not read what it writes.
#[tokio::test]
async fn zstd_is_taken_from_version_7_on() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    for version in 3..=12 {
        let request = produce_request("t", 0, compressed_batch(Codec::Zstd, &["v"]), -1);
        let response = client.call(&request, version).await;
        let expected = if version < 7 {
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        } else {
            ErrorCode::NONE
        };
        let produced = &response.responses[0].partition_responses[0];
        assert_eq!(produced.error_code, expected, "version {version}");

        let request = produce_request("t", 0, compressed_batch(Codec::Lz4, &["v"]), -1);
        let response = client.call(&request, version).await;
        let produced = &response.responses[0].partition_responses[0];
        assert_eq!(produced.error_code, ErrorCode::NONE, "version {version}");
    }
    // That a topic is not there is said first, and a checksum that is wrong is not.
    let request = produce_request("nowhere", 0, compressed_batch(Codec::Zstd, &["v"]), -1);
    let response = client.call(&request, 3).await;
    assert_eq!(
        response.responses[0].partition_responses[0].error_code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let damaged = altered(&compressed_batch(Codec::Zstd, &["v"]), CRC_AT, 1);
    let response = client.call(&produce_request("t", 0, damaged, -1), 3).await;
    assert_eq!(
        response.responses[0].partition_responses[0].error_code,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    );
}

#[tokio::test]
async fn an_unknown_codec_is_refused() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let unknown = altered(&batch(&["value"]), ATTRIBUTES_AT, 5);
    let refused = served
        .client()
        .await
        .produce("t", 0, with_checksum(&unknown))
        .await;
    assert_eq!(
        refused.error_code,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        "{:?}",
        refused.error_message
    );
}

/// The batch with the checksum its content has.
fn with_checksum(batch: &Bytes) -> Bytes {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[CRC_AT + 4..]) as u32;
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[tokio::test]
async fn a_batch_larger_than_the_topic_allows_is_refused() {
    let served = Served::start().await;
    served
        .topic("small", 1, &[("max.message.bytes", "1000")])
        .await;
    let refused = served
        .client()
        .await
        .produce("small", 0, batch(&[&"x".repeat(2_000)]))
        .await;
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
}

#[tokio::test]
async fn unknown_topics_and_partitions_are_told_apart_from_the_rest() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    for (topic, partition) in [("nowhere", 0), ("t", 1), ("t", -1), ("../x", 0)] {
        let refused = client.produce(topic, partition, batch(&["value"])).await;
        assert_eq!(
            refused.error_code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            "{topic} {partition}"
        );
    }
}

#[tokio::test]
async fn only_acks_that_exist_are_taken() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    for (acks, expected) in [
        (2, ErrorCode::INVALID_REQUIRED_ACKS),
        (-2, ErrorCode::INVALID_REQUIRED_ACKS),
    ] {
        let response = client
            .call(&produce_request("t", 0, batch(&["value"]), acks), 9)
            .await;
        assert_eq!(
            response.responses[0].partition_responses[0].error_code,
            expected
        );
    }
    for acks in [1, -1] {
        let response = client
            .call(&produce_request("t", 0, batch(&["value"]), acks), 9)
            .await;
        assert_eq!(
            response.responses[0].partition_responses[0].error_code,
            ErrorCode::NONE
        );
    }
}

#[tokio::test]
async fn acks_0_tells_of_an_error_by_closing() {
    let served = Served::start().await;
    let mut client = served.client().await;
    client
        .send(&produce_request("nowhere", 0, batch(&["value"]), 0), 9)
        .await;
    assert_eq!(closed(&mut client.socket).await, b"");
}

#[tokio::test]
async fn transactions_are_refused_for_good() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    let init = InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        ..Default::default()
    };
    let refused = client.call(&init, 4).await;
    assert_eq!(
        refused.error_code,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    );
    assert!(!refused.error_code.is_retriable());
    let mut produce = produce_request("t", 0, batch(&["value"]), -1);
    produce.transactional_id = Some("tx".into());
    let refused = client.call(&produce, 9).await.responses[0].partition_responses[0].clone();
    assert_eq!(
        refused.error_code,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    );
}

#[tokio::test]
async fn topics_are_named_by_their_ids_from_version_13_on() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    let id = client.metadata("t").await.topics[0].topic_id;
    let mut request = produce_request("", 0, batch(&["value"]), -1);
    request.topic_data[0].topic_id = id;
    let response = client.call(&request, 13).await;
    assert_eq!(response.responses[0].topic_id, id);
    assert_eq!(
        response.responses[0].partition_responses[0].error_code,
        ErrorCode::NONE
    );

    request.topic_data[0].topic_id = uuid::Uuid::from_u128(1);
    let response = client.call(&request, 13).await;
    assert_eq!(
        response.responses[0].partition_responses[0].error_code,
        ErrorCode::UNKNOWN_TOPIC_ID
    );

    let mut fetch: FetchRequest = fetch_request("", 0);
    fetch.topics[0].topic_id = id;
    let fetched = client.call(&fetch, 16).await;
    assert_eq!(
        (
            fetched.responses[0].topic_id,
            fetched.responses[0].partitions[0].high_watermark
        ),
        (id, 1)
    );
}

#[tokio::test]
async fn every_record_at_fault_is_named() {
    let served = Served::start().await;
    served
        .topic("keyed", 1, &[("cleanup.policy", "compact")])
        .await;
    let refused = served
        .client()
        .await
        .produce("keyed", 0, compressed_batch(Codec::Lz4, &["a", "b", "c"]))
        .await;
    assert_eq!(refused.error_code, ErrorCode::INVALID_RECORD);
    assert_eq!(at_fault(&refused), [0, 1, 2]);

    let bounds = [("message.timestamp.before.max.ms", "60000")];
    served.topic("recent", 1, &bounds).await;
    served.topic("any", 1, &[]).await;
    let now = served.broker.env().clock.wall_ms();
    let (old, ahead) = (now - 3_600_000, now + 30 * 86_400_000);
    for (topic, times, expected) in [
        ("recent", [old, now, old, ahead], &[0, 2, 3][..]),
        ("any", [now, ahead, now, ahead], &[1, 3]),
    ] {
        for codec in [Codec::None, Codec::Gzip] {
            let batch = batch_at(codec, &times);
            let mut client = served.client().await;
            let refused = client.produce(topic, 0, batch).await;
            assert_eq!(refused.error_code, ErrorCode::INVALID_TIMESTAMP);
            assert_eq!(at_fault(&refused), expected, "{topic}, {codec:?}");
        }
    }
}

fn at_fault(refused: &PartitionProduceResponse) -> Vec<i32> {
    let records = refused.record_errors.iter();
    records.map(|record| record.batch_index).collect()
}

/// A batch of one record at each of these times.
fn batch_at(codec: Codec, times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for time in times {
        builder.append(&NewRecord {
            timestamp: TimestampMs(*time),
            key: None,
            value: Some(b"v"),
            headers: &[],
        });
    }
    builder.build().unwrap().bytes
}

#[tokio::test]
async fn a_full_queue_refuses_its_topic_alone_and_until_there_is_room() {
    let served = Served::start().await;
    for topic in ["orders", "copied", "free"] {
        served.memory_topic(topic, 1).await;
    }
    let topic = served.broker.topic("orders").unwrap();
    let policy = QueuePolicy {
        length: Some(LengthPolicy {
            records_max: 2,
            overflow: Overflow::Refuse,
        }),
        ..QueuePolicy::default()
    };
    let new = NewQueue {
        name: "work".to_owned(),
        topic,
        start: StartAt::Earliest,
        policy,
        filter: None,
        dead_letter_topic: None,
    };
    let queue = served.broker.create_queue(new).await.unwrap();
    let route = NewRoute {
        name: "copies".to_owned(),
        source: RouteSource::Topic(TopicName::new("copied").unwrap()),
        filter: None,
        targets: vec!["orders".to_owned()],
    };
    served.broker.routes().create(route).await.unwrap();
    let mut client = served.client().await;
    let produced = client.produce("orders", 0, batch(&["a", "b"])).await;
    assert_eq!(produced.error_code, ErrorCode::NONE);

    let mut request = produce_request("orders", 0, batch(&["c"]), -1);
    for topic in ["free", "copied"] {
        let other = produce_request(topic, 0, batch(&["c"]), -1);
        request.topic_data.extend(other.topic_data);
    }
    let codes = async |client: &mut Client| {
        let response = client.call(&request, 9).await;
        let topics = response.responses.iter();
        let partitions = topics.map(|topic| topic.partition_responses[0].clone());
        let told = partitions.map(|one| (one.error_code, one.error_message.is_some()));
        told.collect::<Vec<_>>()
    };
    let refused = (ErrorCode::KAFKA_STORAGE_ERROR, true);
    let taken = (ErrorCode::NONE, false);
    assert_eq!(codes(&mut client).await, [refused, taken, refused]);
    let never = client.produce("orders", 0, batch(&["d", "e", "f"])).await;
    assert_eq!(never.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(queue.purge().await.unwrap(), 2);
    assert_eq!(codes(&mut client).await, [taken, taken, taken]);
}
