//! Appending, and idempotent producers.

use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn offsets_follow_the_order_of_the_calls() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        let begun: Vec<_> = (0..50)
            .map(|n| {
                server
                    .broker
                    .append(&partition, batch(&[&format!("{n} a"), &format!("{n} b")]))
                    .unwrap()
            })
            .collect();
        for (n, appending) in (0..).zip(begun) {
            let appended = appending.durable().await.unwrap();
            assert_eq!(
                (appended.base_offset, appended.last_offset),
                (Offset(2 * n), Offset(2 * n + 1))
            );
        }
        assert_eq!(partition.offsets().high_watermark, Offset(100));
        let values = server.values(&partition, 0).await;
        let expected: Vec<_> = (0..50)
            .flat_map(|n| [format!("{n} a"), format!("{n} b")])
            .collect();
        assert_eq!(values, expected);
    }
}

#[tokio::test]
async fn log_append_time_is_told_and_stored() {
    let server = Server::start().await;
    let partition = server
        .partition("a", &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let appended = server
        .append(&partition, batch_at(TimestampMs(5), &["x"]))
        .await
        .unwrap();
    let time = appended.log_append_time.unwrap();
    assert!(time > TimestampMs(1_000_000_000_000));
    let fetched = server.fetch(&partition, 0).await.unwrap();
    let header = fetched.batches().next().unwrap().unwrap().header;
    assert_eq!(header.max_timestamp, time);
}

#[tokio::test]
async fn a_batch_sent_again_is_written_once() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        let (id, epoch) = server.broker.init_producer_id().await.unwrap();
        assert_eq!(epoch, ProducerEpoch(0));
        let send = async |sequence, value| {
            server
                .append(&partition, batch_by(id, 0, sequence, &[value]))
                .await
        };
        for sequence in 0..5 {
            let appended = send(sequence, "x").await.unwrap();
            assert_eq!(
                (appended.base_offset, appended.duplicate),
                (Offset(sequence.into()), false)
            );
        }
        for sequence in 0..5 {
            let appended = send(sequence, "x").await.unwrap();
            assert_eq!(
                (appended.base_offset, appended.duplicate),
                (Offset(sequence.into()), true)
            );
        }
        assert_eq!(partition.offsets().log_end, Offset(5));

        let gap = send(7, "x").await.unwrap_err();
        assert!(
            matches!(
                gap,
                BrokerError::OutOfOrderSequence {
                    expected: Sequence(5),
                    found: Sequence(7),
                    ..
                }
            ),
            "{gap}"
        );
        assert_eq!(partition.offsets().log_end, Offset(5));
    }
}

#[tokio::test]
async fn an_older_epoch_is_fenced() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    let (id, _) = server.broker.init_producer_id().await.unwrap();
    server
        .append(&partition, batch_by(id, 1, 0, &["x"]))
        .await
        .unwrap();
    let fenced = server
        .append(&partition, batch_by(id, 0, 1, &["x"]))
        .await
        .unwrap_err();
    assert!(
        matches!(
            fenced,
            BrokerError::InvalidProducerEpoch {
                current: ProducerEpoch(1),
                ..
            }
        ),
        "{fenced}"
    );
    server
        .append(&partition, batch_by(id, 2, 0, &["x"]))
        .await
        .unwrap();
}

#[tokio::test]
async fn no_producer_id_is_given_twice() {
    let server = Server::start().await;
    let mut ids = HashSet::new();
    for _ in 0..2_500 {
        assert!(ids.insert(server.broker.init_producer_id().await.unwrap().0));
    }
    let server = server.restart().await;
    for _ in 0..10 {
        assert!(ids.insert(server.broker.init_producer_id().await.unwrap().0));
    }
}

#[tokio::test]
async fn a_full_memory_topic_does_what_it_was_told() {
    let value = "x".repeat(1_000);
    let memory = |overflow| {
        [
            ("millstream.durability", "memory"),
            ("millstream.memory.bytes", "20000"),
            ("millstream.memory.overflow", overflow),
        ]
    };
    let server = Server::start().await;
    let refusing = server.partition("refusing", &memory("refuse")).await;
    let mut written = 0;
    let error = loop {
        match server.append(&refusing, batch(&[&value])).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the bound is not kept");
    };
    assert!(
        matches!(
            error,
            BrokerError::MemoryFull {
                bound_bytes: 20_000
            }
        ),
        "{error}"
    );
    assert_eq!(server.values(&refusing, 0).await.len(), written);

    let dropping = server.partition("dropping", &memory("drop-oldest")).await;
    for _ in 0..100 {
        server.append(&dropping, batch(&[&value])).await.unwrap();
    }
    let offsets = dropping.offsets();
    assert_eq!(offsets.high_watermark, Offset(100));
    assert!(
        offsets.log_start > Offset(0) && offsets.log_start < Offset(100),
        "{offsets:?}"
    );
    let old = server.fetch(&dropping, 0).await.unwrap_err();
    assert!(matches!(old, BrokerError::OffsetOutOfRange { .. }));
}
