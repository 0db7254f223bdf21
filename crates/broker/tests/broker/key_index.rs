//! Positions of keys: publishing with an expected one, and reading one key.

use millstream_broker::produce::{ExpectedPosition, NewMessage};
use millstream_broker::streams::DeleteBefore;

use super::routes::from_topic;
use super::*;

const INDEXED: (&str, &str) = ("millstream.key.index", "true");

fn event(key: &str, value: &str, expected: Option<ExpectedPosition>) -> NewMessage {
    NewMessage {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        expected: expected.map(Into::into),
        ..NewMessage::default()
    }
}

impl Server {
    async fn history(
        &self,
        partition: &PartitionHandle,
        key: &str,
        from: i64,
    ) -> Vec<(i64, String)> {
        let read = self
            .broker
            .read_key(partition, key.as_bytes(), Offset(from), 1000, 1 << 20);
        let records = read.await.unwrap().records;
        let text = |value: Option<Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        records
            .into_iter()
            .map(|record| (record.offset.0, text(record.value)))
            .collect()
    }

    async fn position(&self, partition: &PartitionHandle, key: &str) -> Option<i64> {
        let position = self
            .broker
            .key_position(partition, key.as_bytes())
            .await
            .unwrap();
        position.map(|offset| offset.0)
    }
}

#[tokio::test]
async fn who_expects_another_position_is_refused_and_nothing_is_written() {
    for kind in KINDS {
        let server = Server::start().await;
        let settings = [kind, &[INDEXED]].concat();
        let partition = server.partition("a", &settings).await;
        let topic = Arc::clone(partition.topic());
        let publish = async |expected, value| {
            let event = event("account", value, Some(expected));
            server.broker.publish(&topic, &[event]).await
        };
        let absent = ExpectedPosition::Absent;
        publish(absent, "opened").await.unwrap();
        let lost = publish(absent, "opened twice").await.unwrap_err();
        assert!(
            matches!(
                lost,
                BrokerError::PositionMismatch {
                    expected: None,
                    actual: Some(Offset(0)),
                    record: 0,
                }
            ),
            "{lost}"
        );
        server
            .broker
            .publish(&topic, &[event("other", "x", None)])
            .await
            .unwrap();
        publish(ExpectedPosition::At(Offset(0)), "paid in")
            .await
            .unwrap();
        for wrong in [0, 1, 3] {
            let wrong = ExpectedPosition::At(Offset(wrong));
            assert!(publish(wrong, "no").await.is_err(), "{wrong:?}");
        }
        // Together with others it is all or none.
        let both = [
            event("new", "x", None),
            event("account", "no", Some(absent)),
        ];
        assert!(server.broker.publish(&topic, &both).await.is_err());
        let expected = [(0, "opened".to_owned()), (2, "paid in".to_owned())];
        assert_eq!(server.history(&partition, "account", 0).await, expected);
        assert_eq!(
            server.history(&partition, "account", 1).await,
            expected[1..]
        );
        assert_eq!(server.position(&partition, "account").await, Some(2));
        assert_eq!(server.position(&partition, "new").await, None);
        assert_eq!(partition.offsets().high_watermark, Offset(3));
    }
}

#[tokio::test]
async fn every_way_to_produce_is_noted_once_and_outlives_a_crash() {
    let server = Server::start().await;
    let source = server.partition("a", &[]).await;
    let partition = server.partition("b", &[INDEXED]).await;
    server
        .broker
        .routes()
        .create(from_topic("r", "a", &["b"]))
        .await
        .unwrap();
    let (id, _) = server.broker.init_producer_id().await.unwrap();
    server.publish(&source, &["0", "1"]).await;
    for _ in 0..2 {
        let sent = batch_by(id, 0, 0, &["2", "3"]);
        server.append(&partition, sent).await.unwrap();
        let routed = batch_by(id, 0, 0, &["4"]);
        server.append(&source, routed).await.unwrap();
    }
    let topic = Arc::clone(partition.topic());
    server
        .broker
        .publish(&topic, &[event("key", "5", None)])
        .await
        .unwrap();
    let expected: Vec<_> = (0..6).map(|n| (n, n.to_string())).collect();
    assert_eq!(server.history(&partition, "key", 0).await, expected);
    let crashed = server.crashed().await;
    let again = crashed.broker.topic("b").unwrap().partition(0).unwrap();
    assert_eq!(crashed.history(&again, "key", 0).await, expected);
    assert_eq!(crashed.position(&again, "key").await, Some(5));
    let restarted = crashed.restart().await;
    let again = restarted.broker.topic("b").unwrap().partition(0).unwrap();
    assert_eq!(restarted.history(&again, "key", 3).await, expected[3..]);
    let expects = event("key", "6", Some(ExpectedPosition::At(Offset(5))));
    restarted
        .broker
        .publish(again.topic(), &[expects])
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_log_start_has_passed_is_nowhere() {
    let server = Server::start().await;
    let partition = server.partition("a", &[INDEXED]).await;
    server.publish(&partition, &["0", "1", "2"]).await;
    server
        .broker
        .delete_records(&partition, DeleteBefore::Offset(Offset(2)))
        .await
        .unwrap();
    assert_eq!(
        server.history(&partition, "key", 0).await,
        [(2, "2".to_owned())]
    );
    server
        .broker
        .delete_records(&partition, DeleteBefore::HighWatermark)
        .await
        .unwrap();
    assert_eq!(server.position(&partition, "key").await, None);
    assert!(server.history(&partition, "key", 0).await.is_empty());
    let again = event("key", "3", Some(ExpectedPosition::Absent));
    server
        .broker
        .publish(partition.topic(), &[again])
        .await
        .unwrap();
    assert_eq!(server.position(&partition, "key").await, Some(3));
}

/// Each of many who read, decide and write builds on the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost() {
    let server = Server::start().await;
    let partition = server.partition("a", &[INDEXED]).await;
    let writers = (0..4).map(|_| {
        let (broker, partition) = (server.broker.clone(), partition.clone());
        tokio::spawn(async move {
            for _ in 0..25 {
                loop {
                    let position = broker.key_position(&partition, b"sum").await.unwrap();
                    let from = position.unwrap_or(Offset(0));
                    let read = broker
                        .read_key(&partition, b"sum", from, 1, 1000)
                        .await
                        .unwrap();
                    let sum = read.records.first().map_or(0, |record| {
                        let text = String::from_utf8(record.value.clone().unwrap().to_vec());
                        text.unwrap().parse::<u32>().unwrap()
                    });
                    let expected = position.map_or(ExpectedPosition::Absent, ExpectedPosition::At);
                    let next = event("sum", &(sum + 1).to_string(), Some(expected));
                    match broker.publish(partition.topic(), &[next]).await {
                        Ok(_) => break,
                        Err(BrokerError::PositionMismatch { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let sums = server.history(&partition, "sum", 0).await;
    let expected: Vec<_> = (1..=100).map(|n: i64| (n - 1, n.to_string())).collect();
    assert_eq!(sums, expected);
}

#[tokio::test]
async fn a_key_whose_records_were_dropped_to_make_room_is_absent() {
    let server = Server::start().await;
    let settings = [
        INDEXED,
        ("millstream.durability", "memory"),
        ("millstream.memory.bytes", "20000"),
        ("millstream.memory.overflow", "drop-oldest"),
    ];
    let partition = server.partition("a", &settings).await;
    let topic = Arc::clone(partition.topic());
    let publish = async |event| server.broker.publish(&topic, &[event]).await;
    publish(event("account", "opened", None)).await.unwrap();
    for n in 0..50 {
        let noise = event(&n.to_string(), &"x".repeat(1_000), None);
        publish(noise).await.unwrap();
    }
    assert_eq!(server.position(&partition, "account").await, None);
    let stale = event("account", "no", Some(ExpectedPosition::At(Offset(0))));
    let refused = publish(stale).await.unwrap_err();
    assert!(
        matches!(refused, BrokerError::PositionMismatch { actual: None, .. }),
        "{refused}"
    );
    let again = event("account", "again", Some(ExpectedPosition::Absent));
    publish(again).await.unwrap();
    assert_eq!(server.position(&partition, "account").await, Some(51));
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let server = Server::start().await;
    let plain = server.partition("plain", &[]).await;
    let indexed = server.partition("indexed", &[INDEXED]).await;
    let expected = Some(ExpectedPosition::Absent);
    let refused = async |partition: &PartitionHandle, event| {
        server
            .broker
            .publish(partition.topic(), &[event])
            .await
            .unwrap_err()
    };
    assert!(matches!(
        refused(&plain, event("k", "v", expected)).await,
        BrokerError::NoKeyIndex
    ));
    let unkeyed = NewMessage {
        expected: expected.map(Into::into),
        ..NewMessage::default()
    };
    assert!(matches!(
        refused(&indexed, unkeyed).await,
        BrokerError::KeyNeeded
    ));
    let long = "k".repeat(9000);
    assert!(matches!(
        refused(&indexed, event(&long, "v", None)).await,
        BrokerError::KeyTooLong { .. }
    ));
    assert!(matches!(
        server.broker.key_position(&plain, b"k").await.unwrap_err(),
        BrokerError::NoKeyIndex
    ));
}
