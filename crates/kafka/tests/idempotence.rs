//! Which sequence numbers of an idempotent producer are taken: those that Kafka's `ProducerAppendInfo` takes.

mod support;

use std::time::Duration;

use bytes::Bytes;
use millstream_kafka::KafkaSettings;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::DeleteRecordsRequest;
use millstream_kafka_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use millstream_record::{
    BatchBuilder, Codec, NewRecord, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use support::{Client, Served};

/// Two records of producer 7 in `epoch`, the first of which is number `sequence`.
fn two(epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).producer(
        ProducerId(7),
        ProducerEpoch(epoch),
        Sequence(sequence),
    );
    for value in [b"a", b"b"] {
        builder.append(&NewRecord {
            timestamp: TimestampMs(1_700_000_000_000),
            key: None,
            value: Some(value),
            headers: &[],
        });
    }
    builder.build().expect("there are two records").bytes
}

/// Sends such a batch to `t`; gives the offset, or the error.
async fn send(client: &mut Client, epoch: i16, sequence: i32) -> Result<i64, ErrorCode> {
    let produced = client.produce("t", 0, two(epoch, sequence)).await;
    match produced.error_code {
        ErrorCode::NONE => Ok(produced.base_offset),
        code => Err(code),
    }
}

async fn delete_all(client: &mut Client) {
    let partition = DeleteRecordsPartition {
        partition_index: 0,
        offset: -1,
    };
    let topic = DeleteRecordsTopic {
        name: "t".into(),
        partitions: vec![partition],
    };
    let request = DeleteRecordsRequest {
        topics: vec![topic],
        timeout_ms: 1_000,
    };
    let response = client.call(&request, 2).await;
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::NONE);
}

/// KIP-360: of a producer that is not known nobody can say what came before, so any number is a beginning.
#[tokio::test]
async fn a_producer_that_is_not_known_begins_anywhere() {
    let served = Served::start().await;
    served.topic("t", 1, &[]).await;
    let mut client = served.client().await;
    assert_eq!(send(&mut client, 3, 41).await, Ok(0));
    // From there on it is known.
    assert_eq!(send(&mut client, 3, 43).await, Ok(2));
    assert_eq!(send(&mut client, 3, 41).await, Ok(0), "sent again");
    let gap = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(send(&mut client, 3, 46).await, Err(gap));
    assert_eq!(send(&mut client, 3, 0).await, Err(gap));
    assert_eq!(send(&mut client, 3, 45).await, Ok(4));
}

#[tokio::test]
async fn a_new_epoch_begins_at_0_and_fences_the_old_one() {
    let served = Served::start().await;
    served.topic("t", 1, &[]).await;
    let mut client = served.client().await;
    assert_eq!(send(&mut client, 3, 0).await, Ok(0));
    let gap = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(send(&mut client, 4, 2).await, Err(gap));
    assert_eq!(send(&mut client, 4, 0).await, Ok(2));
    let fenced = ErrorCode::INVALID_PRODUCER_EPOCH;
    assert_eq!(send(&mut client, 3, 2).await, Err(fenced));
    assert_eq!(
        send(&mut client, 3, 0).await,
        Err(fenced),
        "even if sent again"
    );
    assert_eq!(send(&mut client, 4, 2).await, Ok(4));
}

#[tokio::test]
async fn numbers_go_on_at_0_after_the_largest() {
    let served = Served::start().await;
    served.topic("t", 1, &[]).await;
    let mut client = served.client().await;
    assert_eq!(send(&mut client, 0, i32::MAX - 1).await, Ok(0));
    assert_eq!(send(&mut client, 0, 0).await, Ok(2));
    assert_eq!(send(&mut client, 0, 2).await, Ok(4));
    // One batch may lie across.
    let served = Served::start().await;
    served.topic("t", 1, &[]).await;
    let mut client = served.client().await;
    assert_eq!(send(&mut client, 0, i32::MAX).await, Ok(0));
    assert_eq!(send(&mut client, 0, 1).await, Ok(2));
    assert_eq!(send(&mut client, 0, i32::MAX).await, Ok(0), "sent again");
}

/// Since KIP-360 a producer is remembered beyond its last record.
#[tokio::test]
async fn deleted_records_do_not_make_their_producer_unknown() {
    let served = Served::start().await;
    served.topic("t", 1, &[]).await;
    let mut client = served.client().await;
    for round in 0..5 {
        assert_eq!(
            send(&mut client, 0, 2 * round).await,
            Ok(2 * i64::from(round))
        );
    }
    delete_all(&mut client).await;
    assert_eq!(send(&mut client, 0, 8).await, Ok(8), "sent again");
    let gap = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(send(&mut client, 0, 30).await, Err(gap));
    assert_eq!(send(&mut client, 0, 10).await, Ok(10));
}

/// `producer.id.expiration.ms`: who has been silent for long enough is not known any more, and begins anywhere.
#[tokio::test]
async fn an_expired_producer_begins_anywhere() {
    let expiry = Duration::from_millis(300);
    let served = Served::start_on(KafkaSettings::default(), |settings| {
        settings.slot.producer_expiry = expiry;
    })
    .await;
    served.topic("t", 1, &[]).await;
    let mut client = served.client().await;
    assert_eq!(send(&mut client, 5, 0).await, Ok(0));
    tokio::time::sleep(2 * expiry).await;
    assert_eq!(send(&mut client, 5, 100).await, Ok(2));
    tokio::time::sleep(2 * expiry).await;
    // Its epoch is forgotten as well, and so is what it had sent.
    assert_eq!(send(&mut client, 4, 100).await, Ok(4));
    assert_eq!(send(&mut client, 4, 102).await, Ok(6));
}

/// What is sent again was appended when it was sent first.
#[tokio::test]
async fn a_batch_that_is_sent_again_keeps_its_log_append_time() {
    let served = Served::start().await;
    let settings = [("message.timestamp.type", "LogAppendTime")];
    served.topic("t", 1, &settings).await;
    let mut client = served.client().await;
    let first = client.produce("t", 0, two(3, 0)).await;
    assert!(first.log_append_time_ms > 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let again = client.produce("t", 0, two(3, 0)).await;
    assert_eq!(again.base_offset, first.base_offset);
    assert_eq!(again.log_append_time_ms, first.log_append_time_ms);
}
