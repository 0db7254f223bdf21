//! Routes: what is refused, what reaches the targets, and what crashes and producers that send again make of it.

use millstream_broker::filter::{Filter, TopicPattern};
use millstream_broker::produce::NewMessage;
use millstream_broker::routes::{NewRoute, RouteProblem, RouteSource, RouteStats};
use millstream_catalog::TopicName;

use super::*;

pub(super) fn from_topic(name: &str, source: &str, targets: &[&str]) -> NewRoute {
    NewRoute {
        name: name.to_owned(),
        source: RouteSource::Topic(TopicName::new(source).unwrap()),
        filter: None,
        targets: targets.iter().map(ToString::to_string).collect(),
    }
}

fn from_pattern(name: &str, source: &str, targets: &[&str]) -> NewRoute {
    NewRoute {
        source: RouteSource::Pattern(TopicPattern::new(source).unwrap()),
        ..from_topic(name, "-", targets)
    }
}

fn keyed(key: &str, value: &str) -> NewMessage {
    NewMessage {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..NewMessage::default()
    }
}

impl Server {
    async fn route(&self, route: NewRoute) {
        self.broker.routes().create(route).await.unwrap();
    }

    async fn read(&self, topic: &str, partition: u32) -> Vec<String> {
        let topic = self.broker.topic(topic).unwrap();
        self.values(&topic.partition(partition).unwrap(), 0).await
    }

    fn route_stats(&self, name: &str) -> RouteStats {
        self.broker.routes().stats(name).unwrap()
    }
}

fn problem(error: BrokerError) -> RouteProblem {
    match error {
        BrokerError::InvalidRoute(problem) => problem,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn one_publish_reaches_all_targets_and_routes_are_followed_on() {
    for kind in KINDS {
        let server = Server::start().await;
        let source = server.partition("a", &[]).await;
        for name in ["b", "c", "d"] {
            server.partition(name, kind).await;
        }
        server.route(from_topic("one", "a", &["b", "c"])).await;
        server.route(from_pattern("two", "c.#", &["d"])).await;
        server.publish(&source, &["1", "2"]).await;
        let topic = server.broker.topic("a").unwrap();
        server
            .broker
            .publish(&topic, &[keyed("k", "3")])
            .await
            .unwrap();
        let target = server.broker.topic("c").unwrap().partition(0).unwrap();
        server.publish(&target, &["to c alone"]).await;
        for name in ["a", "b"] {
            assert_eq!(server.read(name, 0).await, ["1", "2", "3"], "{name}");
        }
        for name in ["c", "d"] {
            assert_eq!(
                server.read(name, 0).await,
                ["1", "2", "3", "to c alone"],
                "{name}"
            );
        }
        assert_eq!(server.route_stats("one").records, 3);
        assert_eq!(server.route_stats("two").records, 4);
    }
}

/// A megabyte for three topics takes a megabyte of journal.
#[tokio::test]
async fn a_payload_is_stored_once_for_all_targets() {
    let server = Server::start().await;
    let source = server.partition("a", &[]).await;
    for name in ["b", "c"] {
        server.partition(name, &[]).await;
    }
    server.route(from_topic("one", "a", &["b", "c"])).await;
    let value = "x".repeat(900_000);
    let before = server.broker.stats().journal_bytes;
    server.publish(&source, &[&value]).await;
    let written = server.broker.stats().journal_bytes - before;
    assert!((900_000..1_000_000).contains(&written), "{written}");
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.partition(name, &[]).await;
    }
    let routes = server.broker.routes();
    server.route(from_topic("one", "a", &["b"])).await;
    let refused = async |route| problem(routes.create(route).await.unwrap_err());
    assert!(matches!(
        refused(from_topic("two", "b", &["nowhere"])).await,
        RouteProblem::UnknownTarget(name) if name.as_str() == "nowhere"
    ));
    assert!(matches!(
        refused(from_topic("two", "nowhere", &["b"])).await,
        RouteProblem::UnknownSource(_)
    ));
    server.route(from_topic("two", "b", &["c"])).await;
    let closing = routes
        .create(from_topic("three", "c", &["a"]))
        .await
        .unwrap_err();
    assert_eq!(
        closing.to_string(),
        "that makes a loop: c leads to a (route three), a leads to b (route one), b leads to c (route two); take one of \
         these steps out"
    );
    assert!(matches!(
        refused(from_pattern("all", "#", &["c"])).await,
        RouteProblem::Loop(_)
    ));
    assert!(matches!(
        routes
            .create(from_topic("one", "a", &["c"]))
            .await
            .unwrap_err(),
        BrokerError::RouteExists(_)
    ));
    assert!(matches!(
        routes.delete("none").await.unwrap_err(),
        BrokerError::UnknownRoute(_)
    ));
    routes.delete("two").await.unwrap();
    server.route(from_topic("three", "c", &["a"])).await;
    let names: Vec<_> = routes
        .list()
        .iter()
        .map(|route| route.name.clone())
        .collect();
    assert_eq!(names, ["one", "three"]);
}

#[tokio::test]
async fn routes_outlive_restarts_and_crashes() {
    let server = Server::start().await;
    let source = server.partition("a", &[]).await;
    server.partition("b", &[]).await;
    let route = NewRoute {
        filter: Some(Filter::parse(r#"{"key": {"prefix": "k"}}"#).unwrap()),
        ..from_topic("one", "a", &["b"])
    };
    server.route(route).await;
    server.publish(&source, &["1"]).await;
    let crashed = server.crashed().await;
    assert_eq!(
        crashed.broker.routes().list(),
        server.broker.routes().list()
    );
    let topic = crashed.broker.topic("a").unwrap();
    for (key, value) in [("k", "2"), ("other", "3")] {
        crashed
            .broker
            .publish(&topic, &[keyed(key, value)])
            .await
            .unwrap();
    }
    assert_eq!(crashed.read("b", 0).await, ["1", "2"]);
    crashed.broker.routes().delete("one").await.unwrap();
    let again = crashed.restart().await;
    assert!(again.broker.routes().list().is_empty());
}

/// Sent again after a crash, a batch is written to no target again, whether it went there as it is or taken apart.
#[tokio::test]
async fn a_batch_sent_again_reaches_each_target_once() {
    let server = Server::start().await;
    let source = server.partition("a", &[]).await;
    server.partition("whole", &[]).await;
    server
        .partition("gzip", &[("compression.type", "gzip")])
        .await;
    server
        .topic("apart", 2, &[("millstream.durability", "os")])
        .await;
    server
        .route(from_topic("one", "a", &["whole", "gzip", "apart"]))
        .await;
    let filter = Filter::parse(r#"{"key": {"equals": "key"}}"#).unwrap();
    server.partition("some", &[]).await;
    let route = NewRoute {
        filter: Some(filter),
        ..from_topic("two", "a", &["some"])
    };
    server.route(route).await;
    let (id, _) = server.broker.init_producer_id().await.unwrap();
    let mut builder = BatchBuilder::new(Codec::Lz4).producer(id, ProducerEpoch(0), Sequence(0));
    for key in ["key", "b", "c", "d", "key"] {
        builder.append(&NewRecord {
            timestamp: TimestampMs::NONE,
            key: Some(key.as_bytes()),
            value: Some(key.as_bytes()),
            headers: &[],
        });
    }
    let sent = builder.build().unwrap().bytes;
    let first = server.append(&source, sent.clone()).await.unwrap();
    assert!(!first.duplicate);
    let again = server
        .broker
        .append_unpacked(&source, sent.clone())
        .await
        .unwrap();
    assert!(again.durable().await.unwrap().duplicate);

    let crashed = server.crashed().await;
    let source = crashed.broker.topic("a").unwrap().partition(0).unwrap();
    assert!(crashed.append(&source, sent).await.unwrap().duplicate);
    for server in [&server, &crashed] {
        for name in ["a", "whole", "gzip"] {
            assert_eq!(
                server.read(name, 0).await,
                ["key", "b", "c", "d", "key"],
                "{name}"
            );
        }
        assert_eq!(server.read("some", 0).await, ["key", "key"]);
        let mut apart = server.read("apart", 0).await;
        apart.extend(server.read("apart", 1).await);
        apart.sort();
        assert_eq!(apart, ["b", "c", "d", "key", "key"]);
    }
    // The targets know nothing of the producer, who may write to them as well.
    let whole = crashed.broker.topic("whole").unwrap().partition(0).unwrap();
    let own = crashed
        .append(&whole, batch_by(id, 0, 0, &["own"]))
        .await
        .unwrap();
    assert_eq!((own.base_offset, own.duplicate), (Offset(5), false));
}

#[tokio::test]
async fn what_a_target_refuses_is_published_nowhere() {
    let server = Server::start().await;
    let source = server.partition("a", &[]).await;
    server.partition("b", &[]).await;
    server
        .partition("small", &[("max.message.bytes", "1000")])
        .await;
    server.route(from_topic("one", "a", &["b"])).await;
    server.route(from_topic("two", "a", &["small"])).await;
    server.publish(&source, &["fits"]).await;
    let long = "x".repeat(2000);
    let refused = server.append(&source, batch(&[&long])).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("route two leads to topic small, which refuses: "),
        "{refused}"
    );
    for name in ["a", "b", "small"] {
        assert_eq!(server.read(name, 0).await, ["fits"], "{name}");
    }
    assert_eq!(server.route_stats("two").refused, 1);
}

#[tokio::test]
async fn a_target_takes_a_batch_by_its_own_settings() {
    let server = Server::start().await;
    let source = server
        .partition("a", &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let target = server.partition("b", &[]).await;
    server.route(from_topic("one", "a", &["b"])).await;
    let sent = batch_at(TimestampMs(5), &["x"]);
    assert!(
        server
            .append(&source, sent)
            .await
            .unwrap()
            .log_append_time
            .is_some()
    );
    let fetched = server.fetch(&target, 0).await.unwrap();
    let header = fetched.batches().next().unwrap().unwrap().header;
    assert_eq!(header.max_timestamp, TimestampMs(5));
}

#[tokio::test]
async fn a_deleted_target_is_left_out_counted_and_reached_again_when_it_is_back() {
    let server = Server::start().await;
    let source = server.partition("a", &[]).await;
    let gone = server.partition("b", &[]).await;
    server.partition("c", &[]).await;
    server.route(from_topic("one", "a", &["b", "c"])).await;
    server.broker.delete_topic(gone.topic().id()).await.unwrap();
    server.publish(&source, &["1", "2"]).await;
    assert_eq!(server.read("c", 0).await, ["1", "2"]);
    assert_eq!(server.route_stats("one").skipped, 2);
    let described = server.broker.routes().describe("one").unwrap();
    assert_eq!(described.missing, [TopicName::new("b").unwrap()]);
    server.partition("b", &[]).await;
    server.publish(&source, &["3"]).await;
    assert_eq!(server.read("b", 0).await, ["3"]);
}

/// Deleting races with publishing: nothing that is published fails for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_target_fails_no_publish() {
    let server = Server::start().await;
    let source = server
        .partition("a", &[("millstream.durability", "os")])
        .await;
    server.partition("b", &[]).await;
    server.route(from_topic("one", "a", &["b"])).await;
    let (broker, stop) = (
        server.broker.clone(),
        Arc::new(std::sync::atomic::AtomicBool::new(false)),
    );
    let stopped = Arc::clone(&stop);
    let churn = tokio::spawn(async move {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let topic = broker.topic("b").unwrap();
            broker.delete_topic(topic.id()).await.unwrap();
            broker.create_topic(new_topic("b", 1, &[])).await.unwrap();
        }
    });
    for n in 0..500 {
        let value = n.to_string();
        server.append(&source, batch(&[&value])).await.unwrap();
        server
            .broker
            .publish(source.topic(), &[keyed("k", &value)])
            .await
            .unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    churn.await.unwrap();
    assert_eq!(source.offsets().high_watermark, Offset(1000));
}

/// What garbage under a right checksum hides cannot be spread.
#[tokio::test]
async fn a_batch_that_cannot_be_decoded_is_refused_where_it_must_be() {
    let server = Server::start().await;
    let source = server.partition("a", &[]).await;
    server.topic("b", 2, &[]).await;
    let mut garbage = batch(&["x", "y"]).to_vec();
    garbage[61..].fill(0xff);
    millstream_record::header::seal(&mut garbage);
    let garbage = Bytes::from(garbage);
    server.append(&source, garbage.clone()).await.unwrap();
    server.route(from_topic("one", "a", &["b"])).await;
    assert!(matches!(
        server.append(&source, garbage).await.unwrap_err(),
        BrokerError::InvalidBatch(_)
    ));
}
