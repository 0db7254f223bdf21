//! Whatever the routes, every topic holds what following them record by record says, in order.

use std::collections::BTreeSet;

use millstream_broker::filter::Filter;
use millstream_broker::produce::NewMessage;
use millstream_broker::routes::NewRoute;
use millstream_record::Header;
use millstream_record::partitioner::partition_of_key;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::routes::from_topic;
use super::*;

const TOPICS: usize = 5;

/// A record: its key, if it has one, and its kind, which filters look at.
type Made = (Option<u8>, u8);

#[derive(Debug, Clone)]
struct Case {
    partitions: Vec<u32>,
    compressions: Vec<bool>,
    /// From, to, and the kind that is let through.
    routes: Vec<(usize, Vec<usize>, Option<u8>)>,
    /// For each publish: to which topic and partition, how, and what.
    sent: Vec<(usize, u32, bool, Vec<Made>)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let targets = proptest::collection::vec(0..TOPICS, 1..3);
    let route = (0..TOPICS, targets, proptest::option::of(0..3u8));
    let record = (proptest::option::of(0..6u8), 0..3u8);
    let records = proptest::collection::vec(record, 1..12);
    let sent = (0..TOPICS, 0..3u32, any::<bool>(), records);
    (
        proptest::collection::vec(1..4u32, TOPICS),
        proptest::collection::vec(any::<bool>(), TOPICS),
        proptest::collection::vec(route, 0..7),
        proptest::collection::vec(sent, 1..8),
    )
        .prop_map(|(partitions, compressions, routes, sent)| Case {
            partitions,
            compressions,
            routes,
            sent,
        })
}

#[test]
fn topics_hold_what_following_the_routes_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Server::start());
    let mut runner = TestRunner::new(Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&cases(), |case| {
            runtime.block_on(check(&server, &case));
            Ok(())
        })
        .unwrap();
}

async fn check(server: &Server, case: &Case) {
    let mut topics = Vec::new();
    for (at, partitions) in case.partitions.iter().enumerate() {
        let codec = if case.compressions[at] {
            "zstd"
        } else {
            "producer"
        };
        let settings = [("millstream.durability", "os"), ("compression.type", codec)];
        topics.push(
            server
                .topic(&format!("t{at}"), *partitions, &settings)
                .await,
        );
    }
    let mut routes = Vec::new();
    for (number, (from, to, kind)) in case.routes.iter().enumerate() {
        let filter = kind.map(|kind| {
            Filter::parse(format!(r#"{{"header": "kind", "equals": "{kind}"}}"#)).unwrap()
        });
        let names: Vec<_> = to.iter().map(|at| format!("t{at}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let route = NewRoute {
            filter,
            ..from_topic(&format!("r{number}"), &format!("t{from}"), &names)
        };
        // Those that would close a loop are refused.
        if server.broker.routes().create(route).await.is_ok() {
            routes.push((*from, to.clone(), *kind));
        }
    }
    let mut expected: BTreeMap<(usize, u32), Vec<String>> = BTreeMap::new();
    for (number, (to, partition, whole, records)) in case.sent.iter().enumerate() {
        let partition = partition % case.partitions[*to];
        for (at, made) in records.iter().enumerate() {
            let value = format!("{number}:{at}");
            for topic in reached(&routes, *to, made.1) {
                let count = case.partitions[topic];
                let partition = match made.0 {
                    _ if topic == *to => partition,
                    Some(key) => partition_of_key(&[key], count as i32) as u32,
                    None => partition % count,
                };
                expected
                    .entry((topic, partition))
                    .or_default()
                    .push(value.clone());
            }
        }
        send(server, &topics[*to], partition, *whole, number, records).await;
    }
    for (at, topic) in topics.iter().enumerate() {
        for partition in topic.partitions() {
            let found = server.values(&partition, 0).await;
            let expected = expected
                .remove(&(at, partition.index()))
                .unwrap_or_default();
            assert_eq!(found, expected, "{partition:?} of {case:?}");
        }
    }
    for route in server.broker.routes().list() {
        server.broker.routes().delete(&route.name).await.unwrap();
    }
    for topic in topics {
        server.broker.delete_topic(topic.id()).await.unwrap();
    }
}

/// Every topic that a record of that kind reaches from `start`.
fn reached(routes: &[(usize, Vec<usize>, Option<u8>)], start: usize, kind: u8) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([start]);
    for _ in 0..TOPICS {
        for (from, to, filter) in routes {
            if reached.contains(from) && filter.is_none_or(|only| only == kind) {
                reached.extend(to);
            }
        }
    }
    reached
}

/// As one batch of a producer, or record by record.
async fn send(
    server: &Server,
    topic: &Arc<TopicHandle>,
    partition: u32,
    whole: bool,
    number: usize,
    records: &[Made],
) {
    if whole {
        let codec = if number.is_multiple_of(2) {
            Codec::None
        } else {
            Codec::Snappy
        };
        let mut builder = BatchBuilder::new(codec);
        if number.is_multiple_of(3) {
            let (id, epoch) = server.broker.init_producer_id().await.unwrap();
            builder = builder.producer(id, epoch, Sequence(0));
        }
        for (at, (key, kind)) in records.iter().enumerate() {
            let kind = kind.to_string();
            builder.append(&NewRecord {
                timestamp: TimestampMs(7),
                key: key.as_ref().map(std::slice::from_ref),
                value: Some(format!("{number}:{at}").as_bytes()),
                headers: &[Header {
                    key: b"kind",
                    value: Some(kind.as_bytes()),
                }],
            });
        }
        let partition = topic.partition(partition).unwrap();
        let batch = builder.build().unwrap().bytes;
        let again = batch.clone();
        server.append(&partition, batch).await.unwrap();
        if number.is_multiple_of(3) {
            assert!(server.append(&partition, again).await.unwrap().duplicate);
        }
        return;
    }
    let messages: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(at, (key, kind))| NewMessage {
            partition: Some(partition),
            key: key.map(|key| Bytes::from(vec![key])),
            value: Some(Bytes::from(format!("{number}:{at}"))),
            headers: vec![(
                Bytes::from_static(b"kind"),
                Some(Bytes::from(kind.to_string())),
            )],
            ..NewMessage::default()
        })
        .collect();
    let published = server.broker.publish(topic, &messages).await.unwrap();
    let offsets: Vec<_> = published
        .iter()
        .map(|published| published.offset.0)
        .collect();
    let first = offsets[0];
    assert!(
        (first..)
            .zip(&offsets)
            .all(|(expected, found)| expected == *found)
    );
}
