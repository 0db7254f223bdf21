//! Requests that are well-formed and carry what is not to be taken.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_client::NewTopic;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::create_topics::CreatableTopic;
use millstream_kafka_wire::messages::metadata::MetadataRequestTopic;
use millstream_kafka_wire::messages::{ApiVersionsRequest, CreateTopicsRequest, MetadataRequest};
use millstream_record::{Codec, header};

use crate::common::peer::Peer;
use crate::common::process::{files_in, peak_resident_bytes, resident_bytes};
use crate::common::records::{batch, keyed, read_all, value};
use crate::neighbour::served;

/// Where the parts of a batch are; see `millstream_record::header`.
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 22;
const RECORD_COUNT_AT: usize = 57;

fn changed(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    bytes.into()
}

/// The same with a checksum that fits.
fn resealed(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    changed(batch, |bytes| {
        change(bytes);
        header::seal(bytes);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::too_many_lines,
    reason = "a table of what is refused, a few lines a row"
)]
async fn batches_that_are_not_right_are_refused_with_the_protocols_error() {
    let (server, neighbour, _site) = served().await;
    let client = server.client().await;
    client
        .create_topic(&NewTopic::new("plain"), false)
        .await
        .unwrap();
    client
        .create_topic(
            &NewTopic::new("compacted").config("cleanup.policy", "compact"),
            false,
        )
        .await
        .unwrap();
    let good = batch(Codec::None, &[keyed(b"key", b"one"), keyed(b"key", b"two")]);
    let without_key = batch(Codec::None, &[keyed(b"key", b"one"), value(b"two")]);
    let too_large = batch(Codec::None, &[keyed(b"key", &vec![b'x'; 2 << 20])]);

    let refused = [
        (
            "a flipped bit",
            "plain",
            changed(&good, |bytes| *bytes.last_mut().unwrap() ^= 1),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "a wrong checksum",
            "plain",
            changed(&good, |bytes| bytes[CRC_AT] ^= 1),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "a batch cut off",
            "plain",
            good.slice(..good.len() - 1),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "half a header",
            "plain",
            good.slice(..40),
            ErrorCode::INVALID_RECORD,
        ),
        ("nothing", "plain", Bytes::new(), ErrorCode::INVALID_RECORD),
        (
            "two batches",
            "plain",
            [&good[..], &good[..]].concat().into(),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a wrong count",
            "plain",
            resealed(&good, |bytes| bytes[RECORD_COUNT_AT + 3] = 3),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a control batch",
            "plain",
            resealed(&good, |bytes| bytes[ATTRIBUTES_AT] |= 0x20),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "an unknown codec",
            "plain",
            resealed(&good, |bytes| bytes[ATTRIBUTES_AT] = 6),
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        ),
        (
            "message format 0",
            "plain",
            changed(&good, |bytes| bytes[MAGIC_AT] = 0),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "message format 1",
            "plain",
            changed(&good, |bytes| bytes[MAGIC_AT] = 1),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a format of the future",
            "plain",
            changed(&good, |bytes| bytes[MAGIC_AT] = 3),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "more than max.message.bytes",
            "plain",
            too_large,
            ErrorCode::MESSAGE_TOO_LARGE,
        ),
        (
            "a record without a key",
            "compacted",
            without_key,
            ErrorCode::INVALID_RECORD,
        ),
        (
            "records that are garbage",
            "compacted",
            resealed(&good, |bytes| bytes[61..].fill(0xff)),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "garbage said to be zstd",
            "compacted",
            resealed(&good, |bytes| bytes[ATTRIBUTES_AT] = 4),
            ErrorCode::INVALID_RECORD,
        ),
    ];
    let mut peer = Peer::connect(server.address()).await;
    for (what, topic, batch, expected) in refused {
        let produced = peer.produce(topic, 0, batch).await;
        assert_eq!(
            produced.error_code, expected,
            "{what}: {:?}",
            produced.error_message
        );
        assert_eq!(produced.base_offset, -1, "{what}");
        assert!(
            produced
                .error_message
                .is_some_and(|message| !message.is_empty()),
            "{what} says nothing"
        );
    }
    // On the same connection, and at the first offset, for nothing of all that was taken.
    for topic in ["plain", "compacted"] {
        let produced = peer.produce(topic, 0, good.clone()).await;
        assert_eq!(
            (produced.error_code, produced.base_offset),
            (ErrorCode::NONE, 0)
        );
        assert_eq!(read_all(&client, topic, 0).await.len(), 2);
    }
    neighbour.assert_served().await;
}

/// A batch of less than a megabyte that would be 300 MiB.
fn bomb(codec: Codec) -> Bytes {
    let records: Vec<Vec<u8>> = (0..20).map(|_| vec![0; 15 << 20]).collect();
    let records: Vec<_> = records.iter().map(|value| keyed(b"key", value)).collect();
    batch(codec, &records)
}

/// Batches of less than a megabyte that would be gigabytes if anybody unpacked them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decompression_bombs_are_refused_where_records_are_looked_at() {
    let (server, neighbour, _site) = served().await;
    let client = server.client().await;
    client
        .create_topic(
            &NewTopic::new("compacted").config("cleanup.policy", "compact"),
            false,
        )
        .await
        .unwrap();
    client
        .create_topic(
            &NewTopic::new("recompressed").config("compression.type", "lz4"),
            false,
        )
        .await
        .unwrap();
    let bombs = [Codec::Zstd, Codec::Gzip].map(bomb);
    let before = resident_bytes(server.pid());
    for bomb in bombs {
        println!("a bomb of {} KiB", bomb.len() >> 10);
        for topic in ["compacted", "recompressed"] {
            let mut peers = tokio::task::JoinSet::new();
            for _ in 0..2 {
                let (address, bomb) = (server.address(), bomb.clone());
                peers.spawn(
                    async move { Peer::connect(address).await.produce(topic, 0, bomb).await },
                );
            }
            for produced in peers.join_all().await {
                assert_eq!(
                    produced.error_code,
                    ErrorCode::INVALID_RECORD,
                    "{:?}",
                    produced.error_message
                );
            }
        }
    }
    neighbour.assert_served().await;
    let peak = peak_resident_bytes(server.pid()) - before;
    println!("grown by {} MiB at the peak", peak >> 20);
    // Each of the threads that look at records may unpack one batch at a time, up to the bound for one, into a buffer
    // that doubles as it grows; never one of these, which are 300 MiB, whole.
    assert!(peak < 1 << 30, "grown by {peak} bytes");
}

/// Unpacking takes a processor for a tenth of a second and more; who asks for something else is answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_batches_unpacked_holds_nobody_up() {
    let (server, neighbour, _site) = served().await;
    let compacted = NewTopic::new("compacted").config("cleanup.policy", "compact");
    server
        .client()
        .await
        .create_topic(&compacted, false)
        .await
        .unwrap();
    let bomb = bomb(Codec::Gzip);
    let mut hostile = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (address, bomb) = (server.address(), bomb.clone());
        hostile.spawn(async move {
            let mut peer = Peer::connect(address).await;
            loop {
                peer.produce("compacted", 0, bomb.clone()).await;
            }
        });
    }
    let mut took = Vec::new();
    let mut peer = Peer::connect(server.address()).await;
    for _ in 0..300 {
        let asked = Instant::now();
        peer.call(&ApiVersionsRequest::default(), 2).await;
        took.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hostile.shutdown().await;
    took.sort();
    let (median, late) = (took[took.len() / 2], took[took.len() * 95 / 100]);
    println!(
        "beside unpacking: {median:?}, 95 % within {late:?}, at most {:?}",
        took[took.len() - 1]
    );
    assert!(late < Duration::from_millis(60), "answers take {late:?}");
    neighbour.assert_served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_would_lead_out_of_the_data_directory_are_refused() {
    let (server, neighbour, site) = served().await;
    let before = files_in(site.scratch());
    let mut peer = Peer::connect(server.address()).await;
    let long = "x".repeat(250);
    for name in [
        "../x",
        "..",
        ".",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "",
        "a\0b",
        "süß",
        "a b",
        &long,
    ] {
        let named = MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![named]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let response = peer.call(&request, 12).await;
        assert_eq!(
            response.topics[0].error_code,
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "{name:?}"
        );

        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 1000,
            ..Default::default()
        };
        let response = peer.call(&request, 7).await;
        assert_eq!(
            response.topics[0].error_code,
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "{name:?}"
        );

        let produced = peer
            .produce(name, 0, batch(Codec::None, &[value(b"x")]))
            .await;
        let expected = [
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ];
        assert!(
            expected.contains(&produced.error_code),
            "{name:?}: {produced:?}"
        );
    }
    let names: Vec<_> = server
        .client()
        .await
        .topics()
        .await
        .unwrap()
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    assert_eq!(names, ["neighbours"]);
    for file in files_in(site.scratch()) {
        assert!(
            before.contains(&file) || file.starts_with(site.data_dir()),
            "{}",
            file.display()
        );
    }
    neighbour.assert_served().await;
}
