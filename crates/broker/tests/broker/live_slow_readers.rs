//! Live subscriptions whose readers are slow: what is left out, and the memory they share.

use std::time::Duration;

use millstream_broker::live::{Disconnected, LiveItem, SlowPolicy, Start, SubscribeSpec};

use super::live::{from, named, next, publish, record, silence, text, texts};
use super::*;

#[tokio::test]
async fn a_slow_reader_is_told_what_was_dropped_in_its_place() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    let subscribe = |slow, credit| {
        server.broker.subscribe(SubscribeSpec {
            slow,
            credit,
            buffer_records: 2,
            ..named("t")
        })
    };
    let mut oldest = subscribe(SlowPolicy::DropOldest, 0).await.unwrap();
    let mut newest = subscribe(SlowPolicy::DropNewest, 0).await.unwrap();
    let mut latest = subscribe(SlowPolicy::KeepLatest, 0).await.unwrap();
    let mut gone = subscribe(SlowPolicy::Disconnect, 0).await.unwrap();
    publish(&server, &topic, &["a1", "b1", "a2", "a3"]).await;
    assert!(matches!(
        next(&mut gone).await,
        LiveItem::Disconnected(Disconnected::TooSlow)
    ));
    silence(&mut oldest).await;
    for (subscription, dropped_first, values) in [
        (&mut oldest, true, ["a2", "a3"]),
        (&mut newest, false, ["a1", "b1"]),
    ] {
        subscription.add_credit(2);
        if dropped_first {
            assert!(matches!(
                next(subscription).await,
                LiveItem::Dropped { count: 2 }
            ));
        }
        assert_eq!(texts(subscription, 2).await, values);
        subscription.add_credit(1);
        if !dropped_first {
            assert!(matches!(
                next(subscription).await,
                LiveItem::Dropped { count: 2 }
            ));
        }
    }
    latest.add_credit(9);
    assert!(matches!(
        next(&mut latest).await,
        LiveItem::Dropped { count: 1 }
    ));
    assert_eq!(texts(&mut latest, 1).await, ["b1"]);
    assert!(matches!(
        next(&mut latest).await,
        LiveItem::Dropped { count: 1 }
    ));
    assert_eq!(texts(&mut latest, 1).await, ["a3"]);
    assert_eq!(server.broker.live_stats().dropped, 6);
}

const MIB: usize = 1 << 20;

async fn small_server() -> (Server, Arc<TopicHandle>) {
    let server = Server::start_with(|settings| settings.read_memory_bytes = 4 * MIB).await;
    let topic = server.topic("t", 1, &[]).await;
    (server, topic)
}

#[tokio::test]
async fn readers_that_are_behind_share_memory_and_wait_for_it() {
    let (server, topic) = small_server().await;
    let value = "x".repeat(100_000);
    for _ in 0..20 {
        publish(&server, &topic, &[&value]).await;
    }
    let mut subscriptions = Vec::new();
    for _ in 0..40 {
        let spec = from(Start::Earliest, named("t"));
        subscriptions.push(server.broker.subscribe(spec).await.unwrap());
    }
    let reading: Vec<_> = subscriptions
        .into_iter()
        .map(|mut subscription| {
            tokio::spawn(async move {
                let message = record(&mut subscription).await;
                message.rendered(|message| message.value.clone().unwrap());
                (subscription, message)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = server.broker.live_stats().memory_bytes;
    assert!(held > MIB && held < 4 * MIB, "{held}");
    assert!(server.broker.live_readers_wait());
    let is_finished = tokio::task::JoinHandle::is_finished;
    let (done, waiting): (Vec<_>, Vec<_>) = reading.into_iter().partition(is_finished);
    assert!(done.len() >= 5, "{}", done.len());
    assert!(waiting.len() >= 20, "{}", waiting.len());
    // As others let go they are served, and so is everybody in the end.
    for reading in done.into_iter().chain(waiting) {
        drop(reading.await.unwrap());
    }
    assert!(!server.broker.live_readers_wait());
    assert_eq!(server.broker.live_stats().memory_bytes, 0);
}

#[tokio::test]
async fn a_reading_brings_no_more_than_its_reader_has_credit_for() {
    let (server, topic) = small_server().await;
    publish(&server, &topic, &["a"; 1_000]).await;
    publish(&server, &topic, &["b"; 1_000]).await;
    let spec = SubscribeSpec {
        credit: 5,
        ..from(Start::Earliest, named("t"))
    };
    let mut subscription = server.broker.subscribe(spec).await.unwrap();
    assert_eq!(texts(&mut subscription, 5).await, ["a"; 5]);
    silence(&mut subscription).await;
    assert_eq!(server.broker.live_stats().memory_bytes, 0);
    subscription.add_credit(1_500);
    assert_eq!(texts(&mut subscription, 1_500).await[995], "b");
}

#[tokio::test]
async fn a_record_larger_than_all_shares_comes_too() {
    let (server, topic) = small_server().await;
    let topic_large = server
        .topic("large", 1, &[("max.message.bytes", "16000000")])
        .await;
    let value = "x".repeat(6 * MIB);
    for _ in 0..2 {
        publish(&server, &topic_large, &[&value]).await;
    }
    publish(&server, &topic, &["small"]).await;
    let small = server.broker.subscribe(from(Start::Earliest, named("t")));
    let large = server
        .broker
        .subscribe(from(Start::Earliest, named("large")));
    let (mut small, mut large) = (small.await.unwrap(), large.await.unwrap());
    for _ in 0..2 {
        assert_eq!(text(&*record(&mut large).await).len(), value.len());
    }
    assert_eq!(texts(&mut small, 1).await, ["small"]);
}

#[tokio::test]
async fn buffers_of_all_subscriptions_are_bounded_together() {
    let (server, topic) = small_server().await;
    let subscribe = |slow, credit| {
        server.broker.subscribe(SubscribeSpec {
            slow,
            credit,
            buffer_records: 10_000,
            buffer_bytes: 16 * MIB,
            ..named("t")
        })
    };
    let mut quick = subscribe(SlowPolicy::Disconnect, u64::MAX).await.unwrap();
    let mut blocked = subscribe(SlowPolicy::Block, 0).await.unwrap();
    let value = "x".repeat(100_000);
    let mut idle = Vec::new();
    for _ in 0..30 {
        // Each holds others than those before it.
        idle.push(subscribe(SlowPolicy::DropNewest, 0).await.unwrap());
        for _ in 0..10 {
            publish(&server, &topic, &[&value]).await;
            assert_eq!(texts(&mut quick, 1).await[0].len(), value.len());
        }
    }
    let held = server.broker.live_stats().memory_bytes;
    assert!(held < 5 * MIB / 2, "{held}");
    assert!(server.broker.live_stats().dropped > 0);
    // Who waits has nothing dropped.
    blocked.add_credit(300);
    assert_eq!(texts(&mut blocked, 300).await.len(), 300);
    let mut first = idle.remove(0);
    first.add_credit(1_000);
    let mut seen = 0;
    while seen < 300 {
        seen += match next(&mut first).await {
            LiveItem::Record(_) => 1,
            LiveItem::Dropped { count } => count,
            other => panic!("{other:?}"),
        };
    }
    drop((quick, blocked, first, idle));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.broker.live_stats().memory_bytes, 0);
}
