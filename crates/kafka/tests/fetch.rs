//! Fetching: waits, bounds, sessions, epochs; and finding offsets.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_kafka_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use millstream_kafka_wire::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use millstream_kafka_wire::messages::list_offsets::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsTopic,
    MAX_TIMESTAMP,
};
use millstream_kafka_wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use millstream_kafka_wire::messages::{
    DeleteRecordsRequest, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};
use millstream_kafka_wire::{ErrorCode, IsolationLevel};
use millstream_record::Codec;
use support::{Client, PATIENCE, Served, batch, compressed_batch, fetch_request};

/// A request for several partitions of topic `t`, each from an offset.
fn request(partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions
        .iter()
        .map(|&(partition, fetch_offset)| FetchPartition {
            partition,
            fetch_offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        });
    let topic = FetchTopic {
        topic: "t".into(),
        partitions: partitions.collect(),
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn bytes(data: &PartitionData) -> Bytes {
    data.records.clone().unwrap_or_default().into_bytes()
}

async fn first(client: &mut Client, request: &FetchRequest, version: i16) -> PartitionData {
    client.call(request, version).await.responses[0].partitions[0].clone()
}

#[tokio::test]
async fn every_version_carries_the_same_batches() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    let sent = batch(&["a", "b"]);
    client.produce("t", 0, sent.clone()).await;
    let id = client.metadata("t").await.topics[0].topic_id;
    for version in 4..=18 {
        let mut request = request(&[(0, 0)]);
        request.topics[0].topic_id = id;
        let data = first(&mut client, &request, version).await;
        assert_eq!(data.error_code, ErrorCode::NONE, "version {version}");
        assert_eq!(bytes(&data).len(), sent.len(), "version {version}");
        assert_eq!(
            (data.high_watermark, data.last_stable_offset),
            (2, 2),
            "version {version}"
        );
    }
}

/// KIP-110. As with Kafka it is the topic's `compression.type` that counts: what a producer has compressed by itself goes
/// to every client as it is.
#[tokio::test]
async fn topics_in_zstd_are_read_from_version_10_on() {
    let served = Served::start().await;
    for (topic, compression) in [("zstd", "zstd"), ("own", "producer"), ("lz4", "lz4")] {
        served
            .topic(topic, 1, &[("compression.type", compression)])
            .await;
        let sent = compressed_batch(Codec::Zstd, &["v"]);
        let produced = served.client().await.produce(topic, 0, sent).await;
        assert_eq!(produced.error_code, ErrorCode::NONE);
    }
    let mut client = served.client().await;
    for version in 4..=12 {
        for topic in ["zstd", "own", "lz4"] {
            let data = first(&mut client, &fetch_request(topic, 0), version).await;
            if topic == "zstd" && version < 10 {
                let expected = ErrorCode::UNSUPPORTED_COMPRESSION_TYPE;
                assert_eq!((data.error_code, data.high_watermark), (expected, -1));
                assert!(bytes(&data).is_empty());
            } else {
                assert_eq!(data.error_code, ErrorCode::NONE, "{topic} at {version}");
                assert!(!bytes(&data).is_empty(), "{topic} at {version}");
            }
        }
    }
}

#[tokio::test]
async fn a_fetch_waits_for_its_bytes_and_no_longer_than_asked() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    let begun = Instant::now();
    let nothing = FetchRequest {
        max_wait_ms: 150,
        ..request(&[(0, 0)])
    };
    assert!(bytes(&first(&mut client, &nothing, 11).await).is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(150));

    let one = batch(&["a"]).len() as i32;
    let two = FetchRequest {
        max_wait_ms: 60_000,
        min_bytes: 2 * one,
        ..request(&[(0, 0)])
    };
    client.send(&two, 11).await;
    let mut producer = served.client().await;
    producer.produce("t", 0, batch(&["a"])).await;
    let early =
        tokio::time::timeout(Duration::from_millis(100), client.socket.peek(&mut [0])).await;
    assert!(early.is_err(), "answered with too little");
    producer.produce("t", 0, batch(&["b"])).await;
    let (_, response) = tokio::time::timeout(PATIENCE, client.receive::<FetchRequest>(11))
        .await
        .unwrap();
    assert_eq!(
        bytes(&response.responses[0].partitions[0]).len() as i32,
        2 * one
    );
}

#[tokio::test]
async fn bytes_are_bounded_but_a_batch_always_fits() {
    let served = Served::start().await;
    served.memory_topic("t", 2).await;
    let mut client = served.client().await;
    let large = batch(&[&"x".repeat(10_000)]);
    for partition in [0, 1] {
        for _ in 0..3 {
            client.produce("t", partition, large.clone()).await;
        }
    }
    let tiny = FetchRequest {
        max_bytes: 1,
        ..request(&[(0, 0), (1, 0)])
    };
    let response = client.call(&tiny, 11).await;
    let sizes: Vec<_> = response.responses[0]
        .partitions
        .iter()
        .map(|data| bytes(data).len())
        .collect();
    assert_eq!(sizes, [large.len(), 0]);

    let mut per_partition = request(&[(0, 0), (1, 1)]);
    for partition in &mut per_partition.topics[0].partitions {
        partition.partition_max_bytes = 2 * large.len() as i32;
    }
    let response = client.call(&per_partition, 11).await;
    let sizes: Vec<_> = response.responses[0]
        .partitions
        .iter()
        .map(|data| bytes(data).len())
        .collect();
    assert_eq!(sizes, [2 * large.len(), 2 * large.len()]);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_at_once_with_its_error() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    client.produce("t", 0, batch(&["a"])).await;
    let cases = [
        (request(&[(0, 5)]), ErrorCode::OFFSET_OUT_OF_RANGE),
        (request(&[(0, -1)]), ErrorCode::OFFSET_OUT_OF_RANGE),
        (request(&[(9, 0)]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (request(&[(-1, 0)]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (
            fetch_request("nowhere", 0),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ),
    ];
    for (request, expected) in cases {
        let patient = FetchRequest {
            max_wait_ms: 60_000,
            ..request
        };
        let data = first(&mut client, &patient, 11).await;
        assert_eq!((data.error_code, data.high_watermark), (expected, -1));
    }
    let mut ahead = request(&[(0, 0)]);
    ahead.topics[0].partitions[0].current_leader_epoch = 99;
    assert_eq!(
        first(&mut client, &ahead, 11).await.error_code,
        ErrorCode::UNKNOWN_LEADER_EPOCH
    );

    let mut by_id = request(&[(0, 0)]);
    by_id.topics[0].topic_id = uuid::Uuid::from_u128(7);
    assert_eq!(
        first(&mut client, &by_id, 13).await.error_code,
        ErrorCode::UNKNOWN_TOPIC_ID
    );
}

#[tokio::test]
async fn a_session_tells_only_what_changed() {
    let served = Served::start().await;
    served.memory_topic("t", 3).await;
    let mut client = served.client().await;
    let full = FetchRequest {
        session_epoch: 0,
        ..request(&[(0, 0), (1, 0), (2, 0)])
    };
    let opened = client.call(&full, 11).await;
    assert_ne!(opened.session_id, 0);
    assert_eq!(opened.responses[0].partitions.len(), 3);

    served.client().await.produce("t", 1, batch(&["a"])).await;
    let more = |session_epoch| FetchRequest {
        session_id: opened.session_id,
        session_epoch,
        topics: Vec::new(),
        ..request(&[])
    };
    let changed = client.call(&more(1), 11).await;
    assert_eq!(changed.session_id, opened.session_id);
    assert_eq!(changed.responses[0].partitions.len(), 1);
    assert_eq!(changed.responses[0].partitions[0].partition_index, 1);

    let wrong = client.call(&more(7), 11).await;
    assert_eq!(wrong.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let unknown = FetchRequest {
        session_id: opened.session_id + 1,
        ..more(2)
    };
    assert_eq!(
        client.call(&unknown, 11).await.error_code,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
}

#[tokio::test]
async fn aborted_transactions_are_listed_for_those_who_read_committed() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    let plain = first(&mut client, &request(&[(0, 0)]), 11).await;
    assert_eq!(plain.aborted_transactions, None);
    let committed = FetchRequest {
        isolation_level: IsolationLevel::READ_COMMITTED,
        ..request(&[(0, 0)])
    };
    assert_eq!(
        first(&mut client, &committed, 11)
            .await
            .aborted_transactions,
        Some(Vec::new())
    );
}

async fn offset_of(client: &mut Client, timestamp: i64, version: i16) -> (ErrorCode, i64, i64) {
    let partition = ListOffsetsPartition {
        partition_index: 0,
        timestamp,
        ..Default::default()
    };
    let topic = ListOffsetsTopic {
        name: "t".into(),
        partitions: vec![partition],
    };
    let response = client
        .call(
            &ListOffsetsRequest {
                topics: vec![topic],
                ..Default::default()
            },
            version,
        )
        .await;
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

#[tokio::test]
async fn offsets_are_found_by_name_and_by_time() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    // All records of a test batch have this time.
    let time = 1_700_000_000_000;
    client.produce("t", 0, batch(&["a", "b", "c"])).await;
    for version in 1..=11 {
        assert_eq!(
            offset_of(&mut client, EARLIEST_TIMESTAMP, version).await,
            (ErrorCode::NONE, 0, -1)
        );
        assert_eq!(
            offset_of(&mut client, LATEST_TIMESTAMP, version).await,
            (ErrorCode::NONE, 3, -1)
        );
        assert_eq!(
            offset_of(&mut client, time, version).await,
            (ErrorCode::NONE, 0, time)
        );
        assert_eq!(
            offset_of(&mut client, time + 1, version).await,
            (ErrorCode::NONE, -1, -1)
        );
    }
    let none = (ErrorCode::NONE, -1, -1);
    assert_eq!(
        offset_of(&mut client, MAX_TIMESTAMP, 7).await,
        (ErrorCode::NONE, 0, time)
    );
    assert_eq!(
        offset_of(&mut client, EARLIEST_LOCAL_TIMESTAMP, 8).await,
        (ErrorCode::NONE, 0, -1)
    );
    assert_eq!(
        offset_of(&mut client, LATEST_TIERED_TIMESTAMP, 9).await,
        none
    );
    assert_eq!(
        offset_of(&mut client, EARLIEST_PENDING_UPLOAD_TIMESTAMP, 11).await,
        none
    );
    assert_eq!(
        offset_of(&mut client, MAX_TIMESTAMP, 6).await.0,
        ErrorCode::UNSUPPORTED_VERSION
    );
    assert_eq!(
        offset_of(&mut client, -99, 11).await.0,
        ErrorCode::UNSUPPORTED_VERSION
    );
}

#[tokio::test]
async fn deleted_records_are_out_of_range() {
    let served = Served::start().await;
    served.topic("t", 1, &[]).await;
    let mut client = served.client().await;
    for _ in 0..10 {
        client.produce("t", 0, batch(&["a"])).await;
    }
    let delete = |offset| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset,
            }],
        }],
        ..Default::default()
    };
    let response = client.call(&delete(4), 2).await;
    let result = &response.topics[0].partitions[0];
    assert_eq!(
        (result.error_code, result.low_watermark),
        (ErrorCode::NONE, 4)
    );
    assert_eq!(
        first(&mut client, &request(&[(0, 3)]), 11).await.error_code,
        ErrorCode::OFFSET_OUT_OF_RANGE
    );
    let left = first(&mut client, &request(&[(0, 4)]), 11).await;
    assert_eq!(
        (left.error_code, left.log_start_offset),
        (ErrorCode::NONE, 4)
    );

    let beyond = client.call(&delete(11), 2).await;
    assert_eq!(
        beyond.topics[0].partitions[0].error_code,
        ErrorCode::OFFSET_OUT_OF_RANGE
    );
    let all = client.call(&delete(-1), 2).await;
    assert_eq!(all.topics[0].partitions[0].low_watermark, 10);
}

#[tokio::test]
async fn the_end_of_an_epoch_is_told() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    client.produce("t", 0, batch(&["a"])).await;
    let epoch = first(&mut client, &request(&[(0, 0)]), 11).await;
    assert_eq!(epoch.error_code, ErrorCode::NONE);
    let ask = |leader_epoch, current_leader_epoch| OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![OffsetForLeaderPartition {
                partition: 0,
                current_leader_epoch,
                leader_epoch,
            }],
        }],
        ..Default::default()
    };
    let current = client.metadata("t").await.topics[0].partitions[0].leader_epoch;
    let response = client.call(&ask(current, current), 4).await;
    let end = &response.topics[0].partitions[0];
    assert_eq!(
        (end.error_code, end.leader_epoch, end.end_offset),
        (ErrorCode::NONE, current, 1)
    );
    let ahead = client.call(&ask(current, current + 1), 4).await;
    assert_eq!(
        ahead.topics[0].partitions[0].error_code,
        ErrorCode::UNKNOWN_LEADER_EPOCH
    );
    let unknown = client.call(&ask(current + 1, -1), 4).await;
    assert_eq!(unknown.topics[0].partitions[0].end_offset, -1);
}
