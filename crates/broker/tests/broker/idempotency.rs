//! Publishing what may be sent again.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use millstream_broker::produce::{IdempotencyKey, NewMessage, PublishedOnce};
use millstream_env::{Clock, ManualClock};
use millstream_limits::{IDEMPOTENCY_WINDOW_MS, IDEMPOTENT_PUBLISHES_MAX};
use tokio::task::JoinSet;

use super::routes::from_topic;
use super::*;

fn message(value: &str) -> NewMessage {
    NewMessage {
        key: Some(Bytes::copy_from_slice(value.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..NewMessage::default()
    }
}

fn key(key: &str, request: &str) -> IdempotencyKey {
    IdempotencyKey::new(key.to_owned().into(), [request.as_bytes()]).unwrap()
}

impl Server {
    async fn once(&self, name: &str, values: &[&str]) -> Result<PublishedOnce, BrokerError> {
        let topic = self.broker.topic("a").unwrap();
        let messages = values.iter().map(|value| message(value)).collect();
        let key = key(name, &values.join(","));
        self.broker.publish_once(&topic, messages, key, ()).await
    }

    fn count(&self) -> i64 {
        let topic = self.broker.topic("a").unwrap();
        let ends = topic.partitions().into_iter().map(|partition| {
            let offsets = partition.offsets();
            offsets.high_watermark.get() - offsets.log_start.get()
        });
        ends.sum()
    }
}

#[tokio::test]
async fn what_is_sent_again_is_answered_the_same_and_published_once() {
    for kind in KINDS {
        let server = Server::start().await;
        server.topic("a", 3, kind).await;
        let values = ["1", "2", "3", "4", "5"];
        let first = server.once("k", &values).await.unwrap();
        assert!(!first.replayed);
        server.once("other", &values).await.unwrap();
        let again = server.once("k", &values).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.records, first.records);
        assert_eq!(server.count(), 10);
        let reused = server.once("k", &["6"]).await;
        assert!(matches!(reused, Err(BrokerError::IdempotencyKeyReused)));
        assert_eq!(server.count(), 10);
    }
}

#[tokio::test]
async fn it_outlives_a_crash_and_a_restart() {
    for kind in &KINDS[..2] {
        let server = Server::start().await;
        server.topic("a", 3, kind).await;
        let first = server.once("k", &["1", "2", "3"]).await.unwrap();
        let server = server.crashed().await;
        let again = server.once("k", &["1", "2", "3"]).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.records, first.records);
        let reused = server.once("k", &["6"]).await;
        assert!(matches!(reused, Err(BrokerError::IdempotencyKeyReused)));
        let server = server.restart().await;
        let again = server.once("k", &["1", "2", "3"]).await.unwrap();
        assert_eq!((again.replayed, again.records), (true, first.records));
        assert_eq!(server.count(), 3);
    }
}

#[tokio::test]
async fn what_a_memory_topic_has_lost_is_published_again() {
    let server = Server::start().await;
    server.topic("a", 1, KINDS[2]).await;
    server.once("k", &["1"]).await.unwrap();
    for server in [server.crashed().await, server.restart().await] {
        assert_eq!(server.count(), 0);
        let again = server.once("k", &["1"]).await.unwrap();
        assert!(!again.replayed);
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_come_at_once_share_the_first() {
    let server = Arc::new(Server::start().await);
    server.topic("a", 3, &[]).await;
    let mut all = JoinSet::new();
    for n in 0..200 {
        let server = Arc::clone(&server);
        all.spawn(async move { server.once(&format!("k{}", n % 10), &["1", "2"]).await });
    }
    let mut first = 0;
    while let Some(published) = all.join_next().await {
        first += i32::from(!published.unwrap().unwrap().replayed);
    }
    assert_eq!(first, 10);
    assert_eq!(server.count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_up_waiting_finds_it_done() {
    let server = Server::start().await;
    server.topic("a", 1, &[]).await;
    for n in 0..20 {
        let name = format!("k{n}");
        let gone = tokio::time::timeout(
            std::time::Duration::from_micros(50 * n),
            server.once(&name, &["1"]),
        );
        let _ = gone.await;
        server.once(&name, &["1"]).await.unwrap();
    }
    assert_eq!(server.count(), 20);
}

#[tokio::test]
async fn what_is_under_way_is_accounted_for_and_bounded() {
    let server = Server::start().await;
    let topic = server.topic("a", 1, KINDS[2]).await;
    // Nothing else runs between these, and whoever asks is gone at once.
    let held = Arc::new(());
    let begin = |n: usize| {
        let (name, held) = (n.to_string(), Arc::clone(&held));
        let (messages, key) = (vec![message(&name)], key(&name, &name));
        let once = pin!(server.broker.publish_once(&topic, messages, key, held));
        once.poll(&mut Context::from_waker(Waker::noop()))
    };
    for n in 0..IDEMPOTENT_PUBLISHES_MAX {
        assert!(begin(n).is_pending());
    }
    assert_eq!(Arc::strong_count(&held), 1 + IDEMPOTENT_PUBLISHES_MAX);
    let more = begin(IDEMPOTENT_PUBLISHES_MAX);
    assert!(matches!(
        more,
        Poll::Ready(Err(BrokerError::TooManyPublishes))
    ));
    while Arc::strong_count(&held) > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(server.count(), IDEMPOTENT_PUBLISHES_MAX as i64);
    server.once("another", &["1"]).await.unwrap();
}

#[tokio::test]
async fn what_was_refused_is_not_remembered() {
    let server = Server::start().await;
    server.topic("a", 1, &[("max.message.bytes", "200")]).await;
    let long = "x".repeat(300);
    assert!(server.once("k", &[&long]).await.is_err());
    assert!(server.once("k", &[&long]).await.is_err());
    assert!(!server.once("k", &["short"]).await.unwrap().replayed);
    for length in [0, 256] {
        let key = IdempotencyKey::new(vec![b'k'; length].into(), []);
        assert!(matches!(key, Err(BrokerError::IdempotencyKeyLength(_))));
    }
}

#[tokio::test]
async fn routes_are_followed_once_too() {
    let server = Server::start().await;
    server.topic("a", 2, &[]).await;
    let target = server.partition("b", &[]).await;
    let route = from_topic("r", "a", &["b"]);
    server.broker.routes().create(route).await.unwrap();
    for _ in 0..3 {
        server.once("k", &["1", "2", "3"]).await.unwrap();
    }
    assert_eq!(server.count(), 3);
    assert_eq!(target.offsets().high_watermark, Offset(3));
}

#[tokio::test]
async fn a_topic_that_is_made_again_knows_nothing_of_the_old_one() {
    let server = Server::start().await;
    let topic = server.topic("a", 1, &[]).await;
    server.once("k", &["1"]).await.unwrap();
    server.broker.delete_topic(topic.id()).await.unwrap();
    server.topic("a", 1, &[]).await;
    assert!(!server.once("k", &["2"]).await.unwrap().replayed);
}

#[tokio::test]
async fn after_the_window_a_key_is_a_new_one() {
    let clock = Arc::new(ManualClock::new(1_764_460_799_123));
    let directory = tempfile::tempdir().unwrap();
    let env = Env {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Env::real()
    };
    let settings = BrokerSettings::new(directory.path());
    let server = Server {
        broker: Broker::open(settings, env).await.unwrap(),
        directory,
    };
    server.topic("a", 1, &[("retention.ms", "-1")]).await;
    let window_ms = IDEMPOTENCY_WINDOW_MS as u64;
    for published in 1..=5 {
        assert!(!server.once("k", &["1"]).await.unwrap().replayed);
        for _ in 0..3 {
            clock.advance_ms(window_ms / 3 - 1);
            assert!(server.once("k", &["1"]).await.unwrap().replayed);
        }
        clock.advance_ms(3);
        assert_eq!(server.count(), published);
    }
}
