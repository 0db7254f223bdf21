//! Topics that live in memory: never on the disk, bounded, and honest about what a restart has cost.

mod common;

use std::time::Duration;

use common::peer::{Peer, from_offset};
use common::process::{allocated_bytes, files_with, resident_bytes};
use common::records::{batch, read_all, value};
use common::{Server, Site};
use millstream_client::{NewTopic, OffsetSpec, Producer, ProducerConfig, TopicPartition};
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::OffsetForLeaderEpochRequest;
use millstream_kafka_wire::messages::fetch::FetchPartition;
use millstream_kafka_wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use millstream_record::{Codec, Offset};

/// In every record, to be looked for where it must not be.
const MARK: &[u8] = b"this must never be on a disk";

const RECORD_BYTES: usize = 10_000;

/// Each partition may hold so much.
const BOUND_BYTES: u64 = 4 << 20;

fn topic(name: &str, overflow: &str) -> NewTopic {
    NewTopic::new(name)
        .config("millstream.durability", "memory")
        .config("millstream.memory.bytes", BOUND_BYTES.to_string())
        .config("millstream.memory.overflow", overflow)
}

fn payload(number: i64) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    while payload.len() < RECORD_BYTES {
        payload.extend(MARK);
    }
    payload
}

/// Appends a record; gives its offset, or the error.
async fn append(peer: &mut Peer, topic: &str, number: i64) -> Result<i64, ErrorCode> {
    let produced = peer
        .produce(topic, 0, batch(Codec::None, &[value(&payload(number))]))
        .await;
    if produced.error_code.is_error() {
        Err(produced.error_code)
    } else {
        Ok(produced.base_offset)
    }
}

async fn ends(server: &Server, topic: &str) -> (i64, i64) {
    let client = server.client().await;
    let start = client
        .topic_offsets(topic, OffsetSpec::Earliest)
        .await
        .unwrap()[0]
        .1
        .offset
        .unwrap();
    let end = client
        .topic_offsets(topic, OffsetSpec::Latest)
        .await
        .unwrap()[0]
        .1
        .offset
        .unwrap();
    (start.0, end.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_topics_never_touch_the_disk() {
    let mut site = Site::new().restless();
    let server = site.start();
    let client = server.client().await;
    client
        .create_topic(&topic("volatile", "drop-oldest"), false)
        .await
        .unwrap();
    client
        .create_topic(&NewTopic::new("kept"), false)
        .await
        .unwrap();
    // So that the journal has its files, and something is settled beside it.
    let kept = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for _ in 0..400 {
        kept.send("kept", Some(0), &value(&[b'k'; RECORD_BYTES]))
            .await
            .unwrap();
    }
    kept.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = allocated_bytes(site.data_dir());

    let volatile = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for number in 0..5_000 {
        volatile
            .send("volatile", Some(0), &value(&payload(number)))
            .await
            .unwrap();
        if number % 100 == 0 {
            kept.send("kept", Some(0), &value(b"between"))
                .await
                .unwrap();
        }
    }
    volatile.flush().await.unwrap();
    kept.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = allocated_bytes(site.data_dir()).saturating_sub(before);
    println!("50 MB in memory: {} KiB more on the disk", grown >> 10);
    assert!(grown < 12 << 20, "grown by {grown} bytes");
    assert_eq!(
        files_with(site.data_dir(), MARK),
        [] as [std::path::PathBuf; 0]
    );

    server.stop().assert_success();
    assert_eq!(
        files_with(site.data_dir(), MARK),
        [] as [std::path::PathBuf; 0]
    );
    let server = site.start();
    assert_eq!(read_all(&server.client().await, "kept", 0).await.len(), 450);
    let (start, end) = ends(&server, "volatile").await;
    assert!(
        start >= 5_000 && start == end,
        "{start} to {end} after a stop"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_partition_drops_its_oldest_records() {
    let mut site = Site::new();
    let server = site.start();
    let client = server.client().await;
    client
        .create_topic(&topic("volatile", "drop-oldest"), false)
        .await
        .unwrap();
    let before = resident_bytes(server.pid());
    let mut peer = Peer::connect(server.address()).await;
    for number in 0..3_000 {
        assert_eq!(append(&mut peer, "volatile", number).await, Ok(number));
    }
    let found = read_all(&client, "volatile", 0).await;
    let held = found.len() * RECORD_BYTES;
    assert!(
        held as u64 <= BOUND_BYTES && held as u64 > BOUND_BYTES / 2,
        "{held} bytes are held"
    );
    assert_eq!(
        found.last().map(|record| record.offset),
        Some(Offset(2_999))
    );
    for pair in found.windows(2) {
        assert_eq!(pair[1].offset, pair[0].offset + 1);
    }
    for record in &found {
        assert!(
            record.value == payload(record.offset.0),
            "offset {} holds something else",
            record.offset
        );
    }
    // Who comes too late is told so.
    let late = peer.fetch("volatile", from_offset(0, 0)).await;
    assert_eq!(late.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    println!(
        "30 MB through a bound of 4 MiB: grown by {} MiB",
        grown >> 20
    );
    assert!(grown < 40 << 20, "grown by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn or_refuses_new_ones_until_there_is_room() {
    let mut site = Site::new();
    let server = site.start();
    let client = server.client().await;
    client
        .create_topic(&topic("volatile", "refuse"), false)
        .await
        .unwrap();
    let mut peer = Peer::connect(server.address()).await;
    let mut taken = 0;
    let refusal = loop {
        match append(&mut peer, "volatile", taken).await {
            Ok(offset) => assert_eq!(offset, taken),
            Err(code) => break code,
        }
        taken += 1;
        assert!(taken < 1_000, "nothing is ever refused");
    };
    assert_eq!(refusal, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(refusal.is_retriable());
    let held = taken as u64 * RECORD_BYTES as u64;
    assert!(
        held <= BOUND_BYTES && held > BOUND_BYTES / 2,
        "{held} bytes were taken"
    );
    assert_eq!(read_all(&client, "volatile", 0).await.len() as i64, taken);

    let partition = TopicPartition::new("volatile", 0);
    assert_eq!(
        client
            .delete_records(&partition, Some(Offset(taken / 2)))
            .await
            .unwrap(),
        Offset(taken / 2)
    );
    assert_eq!(append(&mut peer, "volatile", taken).await, Ok(taken));
    // Other topics are not affected by the bound of one.
    client
        .create_topic(&NewTopic::new("kept"), false)
        .await
        .unwrap();
    assert_eq!(append(&mut peer, "kept", 0).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_offsets_go_on_above_what_was_given_out() {
    let mut site = Site::new();
    let mut server = site.start();
    let client = server.client().await;
    client
        .create_topic(&topic("volatile", "drop-oldest"), false)
        .await
        .unwrap();
    let mut highest = -1;
    let mut epoch = client.topic("volatile").await.unwrap().partitions[0].leader_epoch;
    for _ in 0..4 {
        let mut peer = Peer::connect(server.address()).await;
        for number in 0..100 {
            let offset = append(&mut peer, "volatile", number).await.unwrap();
            assert!(offset > highest, "offset {offset} was given out before");
            highest = offset;
        }
        server.kill();
        server = site.start();

        let (start, end) = ends(&server, "volatile").await;
        assert!(
            start > highest && start == end,
            "{start} to {end} after {highest} was given out"
        );
        let mut peer = Peer::connect(server.address()).await;
        let now = server
            .client()
            .await
            .topic("volatile")
            .await
            .unwrap()
            .partitions[0]
            .leader_epoch;
        assert!(now > epoch, "epoch {now} after {epoch}");

        // A reader that goes on from where it was is told, whichever way it asks.
        let read_on = FetchPartition {
            current_leader_epoch: epoch,
            ..from_offset(0, highest + 1)
        };
        assert_eq!(
            peer.fetch("volatile", read_on).await.error_code,
            ErrorCode::FENCED_LEADER_EPOCH
        );
        let from_before = peer.fetch("volatile", from_offset(0, highest)).await;
        assert_eq!(from_before.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
        assert!(epoch_end(&mut peer, epoch).await <= start);

        // And it goes on with what is new.
        let offset = append(&mut peer, "volatile", 7).await.unwrap();
        let fetched = peer.fetch("volatile", from_offset(0, offset)).await;
        assert_eq!(fetched.error_code, ErrorCode::NONE);
        assert!(
            fetched
                .records
                .is_some_and(|records| records.len() > RECORD_BYTES)
        );
        (highest, epoch) = (offset, now);
    }
}

/// Where an epoch ends, as a consumer asks after a new leadership (KIP-320).
async fn epoch_end(peer: &mut Peer, epoch: i32) -> i64 {
    let partition = OffsetForLeaderPartition {
        partition: 0,
        current_leader_epoch: -1,
        leader_epoch: epoch,
    };
    let topic = OffsetForLeaderTopic {
        topic: "volatile".into(),
        partitions: vec![partition],
    };
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![topic],
    };
    let response = peer.call(&request, 4).await;
    let found = &response.topics[0].partitions[0];
    assert_eq!(found.error_code, ErrorCode::NONE);
    found.end_offset
}
