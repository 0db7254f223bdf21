//! Live subscriptions over real logs.

use std::time::Duration;

use millstream_broker::filter::{Filter, TopicPattern};
use millstream_broker::live::{
    Disconnected, LiveError, LiveItem, LiveMessage, LostReason, ResumeToken, Start, SubscribeSpec,
    Subscription, Topics,
};
use millstream_broker::produce::NewMessage;
use millstream_broker::streams::DeleteBefore;
use millstream_record::header;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn named(topic: &str) -> SubscribeSpec {
    SubscribeSpec::to(Topics::Named(topic.to_owned()))
}

fn matching(pattern: &str) -> SubscribeSpec {
    SubscribeSpec::to(Topics::Matching(TopicPattern::new(pattern).unwrap()))
}

pub(crate) fn from(start: Start, spec: SubscribeSpec) -> SubscribeSpec {
    SubscribeSpec { start, ..spec }
}

pub(crate) async fn next(subscription: &mut Subscription) -> LiveItem {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
    next.expect("something should have come")
}

pub(crate) async fn record(subscription: &mut Subscription) -> Arc<LiveMessage> {
    match next(subscription).await {
        LiveItem::Record(message) => message,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn text(message: &LiveMessage) -> String {
    String::from_utf8(message.value.clone().unwrap().to_vec()).unwrap()
}

/// The values of the next records.
pub(crate) async fn texts(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(text(&*record(subscription).await));
    }
    texts
}

pub(crate) async fn silence(subscription: &mut Subscription) {
    let next = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await;
    assert!(next.is_err(), "{next:?}");
}

/// Publishes values with their first letter as key.
pub(crate) async fn publish(server: &Server, topic: &Arc<TopicHandle>, values: &[&str]) {
    let message = |value: &&str| NewMessage {
        key: Some(Bytes::copy_from_slice(&value.as_bytes()[..1])),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![(
            Bytes::from_static(b"length"),
            Some(value.len().to_string().into()),
        )],
        ..NewMessage::default()
    };
    let messages: Vec<_> = values.iter().map(message).collect();
    server.broker.publish(topic, &messages).await.unwrap();
}

#[tokio::test]
async fn a_subscription_begins_where_it_was_told_to() {
    for settings in KINDS {
        let server = Server::start().await;
        let partition = server.partition("t", settings).await;
        let time = TimestampMs(1_700_000_000_000);
        for (index, value) in ["a", "b", "c"].iter().enumerate() {
            let batch = batch_at(TimestampMs(time.0 + index as i64), &[value]);
            server.append(&partition, batch).await.unwrap();
        }
        let subscribe = |start| server.broker.subscribe(from(start, named("t")));
        let mut now = subscribe(Start::Now).await.unwrap();
        let mut earliest = subscribe(Start::Earliest).await.unwrap();
        let mut offset = subscribe(Start::Offsets(vec![(0, Offset(2))]))
            .await
            .unwrap();
        let mut since = subscribe(Start::Since(TimestampMs(time.0 + 1)))
            .await
            .unwrap();
        server.publish(&partition, &["d"]).await;
        assert_eq!(texts(&mut now, 1).await, ["d"]);
        assert_eq!(texts(&mut earliest, 4).await, ["a", "b", "c", "d"]);
        assert_eq!(texts(&mut offset, 2).await, ["c", "d"]);
        assert_eq!(texts(&mut since, 3).await, ["b", "c", "d"]);
        let refused = subscribe(Start::Offsets(vec![(0, Offset(9))])).await;
        assert!(matches!(
            refused,
            Err(LiveError::Broker(BrokerError::OffsetOutOfRange { .. }))
        ));
    }
}

#[tokio::test]
async fn topics_that_match_later_join_in_from_their_first_record() {
    let server = Server::start().await;
    let old = server.topic("orders.old", 1, &[]).await;
    publish(&server, &old, &["before"]).await;
    let mut subscription = server.broker.subscribe(matching("orders.#")).await.unwrap();
    server.topic("other", 1, &[]).await;
    let new = server.topic("orders.new.eu", 1, &[]).await;
    publish(&server, &new, &["first"]).await;
    publish(&server, &old, &["after"]).await;
    let mut seen = texts(&mut subscription, 2).await;
    seen.sort();
    assert_eq!(seen, ["after", "first"]);
    server.broker.add_partitions(new.id(), 2).await.unwrap();
    server
        .publish(&new.partition(1).unwrap(), &["second"])
        .await;
    assert_eq!(texts(&mut subscription, 1).await, ["second"]);
    // A topic that goes takes nothing else with it.
    server.broker.delete_topic(new.id()).await.unwrap();
    publish(&server, &old, &["still"]).await;
    assert_eq!(texts(&mut subscription, 1).await, ["still"]);
    drop(subscription);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(server.broker.live_stats().hubs, 0);
    assert_eq!(server.broker.live_stats().subscriptions, 0);
}

#[tokio::test]
async fn a_filter_picks_by_key_and_headers() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    let filter = r#"{"any":[{"key":{"equals":"b"}},{"header":"length","gt":2}]}"#;
    let spec = SubscribeSpec {
        filter: Some(Filter::parse(filter).unwrap()),
        ..named("t")
    };
    let mut live = server.broker.subscribe(spec.clone()).await.unwrap();
    publish(&server, &topic, &["a", "b", "aaa", "aa", "bb"]).await;
    assert_eq!(texts(&mut live, 3).await, ["b", "aaa", "bb"]);
    let earliest = from(Start::Earliest, spec);
    let mut replayed = server.broker.subscribe(earliest).await.unwrap();
    assert_eq!(texts(&mut replayed, 3).await, ["b", "aaa", "bb"]);
    silence(&mut replayed).await;
}

#[tokio::test]
async fn all_subscribers_share_one_message_and_what_it_is_rendered_to() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    let mut subscriptions = Vec::new();
    for _ in 0..100 {
        subscriptions.push(server.broker.subscribe(named("t")).await.unwrap());
    }
    publish(&server, &topic, &["a"]).await;
    let first = record(&mut subscriptions[0]).await;
    let rendered = first.rendered(|_| Bytes::from_static(b"once")).clone();
    for subscription in &mut subscriptions[1..] {
        let message = record(subscription).await;
        assert!(Arc::ptr_eq(&first, &message));
        assert_eq!(message.rendered(|_| panic!("again")), &rendered);
    }
    assert_eq!(server.broker.live_stats().hubs, 1);
    assert_eq!(server.broker.live_stats().delivered, 100);
}

/// Subscribers that begin anywhere, with buffers that are far too small, while two publishers go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_log_to_the_hub_and_back_nothing_is_missing_or_comes_twice() {
    const RECORDS: usize = 3_000;
    for settings in KINDS {
        let server = Arc::new(Server::start().await);
        let topic = server.topic("t", 2, settings).await;
        let publisher = {
            let (server, topic) = (Arc::clone(&server), Arc::clone(&topic));
            tokio::spawn(async move {
                for index in 0..RECORDS / 30 {
                    let values: Vec<_> = (0..30).map(|n| (index * 30 + n).to_string()).collect();
                    let values: Vec<_> = values.iter().map(String::as_str).collect();
                    publish(&server, &topic, &values).await;
                    if index % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        };
        let mut readers = Vec::new();
        for reader in 0..8 {
            let (server, topic) = (Arc::clone(&server), Arc::clone(&topic));
            readers.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(reader * 3)).await;
                let spec = SubscribeSpec {
                    start: Start::Earliest,
                    buffer_records: 1 + reader as usize * 20,
                    ..named("t")
                };
                let mut subscription = server.broker.subscribe(spec).await.unwrap();
                let mut next = [0, 0];
                for count in 0..RECORDS {
                    let message = record(&mut subscription).await;
                    let next = &mut next[message.partition as usize];
                    assert_eq!(message.offset, Offset(*next), "reader {reader}");
                    *next += 1;
                    if count % 500 == 0 {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
                silence(&mut subscription).await;
                drop(topic);
            }));
        }
        publisher.await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(server.broker.live_stats().dropped, 0);
    }
}

#[tokio::test]
async fn the_latest_of_each_key_comes_first_and_then_everything() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    publish(&server, &topic, &["a1", "b1", "c1", "a2", "b2"]).await;
    let gone = NewMessage {
        key: Some(Bytes::from_static(b"c")),
        ..NewMessage::default()
    };
    let keyless = NewMessage {
        value: Some(Bytes::from_static(b"x")),
        ..NewMessage::default()
    };
    server
        .broker
        .publish(&topic, &[gone, keyless])
        .await
        .unwrap();
    let spec = from(Start::LatestPerKey, named("t"));
    let mut subscription = server.broker.subscribe(spec).await.unwrap();
    assert_eq!(
        subscription.position(),
        None,
        "it could not resume in the middle"
    );
    publish(&server, &topic, &["a3", "a4"]).await;
    assert_eq!(texts(&mut subscription, 2).await, ["a2", "b2"]);
    assert!(subscription.position().is_some());
    assert_eq!(texts(&mut subscription, 2).await, ["a3", "a4"]);
    silence(&mut subscription).await;
}

#[tokio::test]
async fn what_retention_took_is_told() {
    let server = Server::start().await;
    let partition = server.partition("t", &[]).await;
    server.publish(&partition, &["a", "b", "c", "d"]).await;
    let spec = SubscribeSpec {
        credit: 1,
        ..from(Start::Earliest, named("t"))
    };
    let mut subscription = server.broker.subscribe(spec).await.unwrap();
    let before = DeleteBefore::Offset(Offset(2));
    server
        .broker
        .delete_records(&partition, before)
        .await
        .unwrap();
    match next(&mut subscription).await {
        LiveItem::Lost(lost) => {
            assert_eq!((lost.from, lost.to), (Offset(0), Offset(2)));
            assert_eq!(lost.reason, LostReason::Retention);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(texts(&mut subscription, 1).await, ["c"]);
}

#[tokio::test]
async fn a_batch_that_cannot_be_decoded_is_told_and_passed() {
    let server = Server::start().await;
    let partition = server.partition("t", &[]).await;
    let mut live = server.broker.subscribe(named("t")).await.unwrap();
    let mut damaged = batch(&["x", "y"]).to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 0x55;
    header::seal(&mut damaged);
    server.append(&partition, batch(&["a"])).await.unwrap();
    server.append(&partition, damaged.into()).await.unwrap();
    server.append(&partition, batch(&["b"])).await.unwrap();
    let spec = from(Start::Earliest, named("t"));
    let mut replayed = server.broker.subscribe(spec).await.unwrap();
    for subscription in [&mut live, &mut replayed] {
        assert_eq!(texts(subscription, 1).await, ["a"]);
        let mut item = next(subscription).await;
        if let LiveItem::Record(message) = &item {
            assert_eq!(message.offset, Offset(1), "the first of the two is whole");
            item = next(subscription).await;
        }
        match item {
            LiveItem::Lost(lost) => {
                assert_eq!((lost.to, lost.reason), (Offset(3), LostReason::Undecodable));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(texts(subscription, 1).await, ["b"]);
    }
}

/// Damage to what is stored costs a reader what is damaged, once, wherever it begins.
#[tokio::test]
async fn stored_records_that_are_damaged_are_told_and_passed() {
    let server = Server::start().await;
    let partition = server.partition("t", &[]).await;
    let filler = "x".repeat(5_000);
    for n in 0..100 {
        let value = format!("{n} {filler}");
        server.append(&partition, batch(&[&value])).await.unwrap();
    }
    drop(partition);
    let server = server.restart_after(damage_packs).await;
    let spec = from(Start::Earliest, named("t"));
    let mut subscription = server.broker.subscribe(spec).await.unwrap();
    let (mut next_offset, mut damaged) = (Offset(0), None);
    while next_offset < Offset(100) {
        match next(&mut subscription).await {
            LiveItem::Record(message) => {
                assert_eq!(message.offset, next_offset);
                next_offset = message.offset.next();
            }
            LiveItem::Lost(lost) => {
                assert_eq!((lost.from, lost.reason), (next_offset, LostReason::Damaged));
                next_offset = lost.to;
                assert_eq!(damaged.replace((lost.from, lost.to)), None);
            }
            other => panic!("{other:?}"),
        }
    }
    let (damaged, after) = damaged.expect("something is damaged");
    assert_eq!(
        damaged.next(),
        after,
        "only the batch that is damaged is lost"
    );
    // It goes on with what comes.
    let topic = server.broker.topic("t").unwrap();
    publish(&server, &topic, &["later"]).await;
    assert_eq!(texts(&mut subscription, 1).await, ["later"]);

    let spec = from(Start::Offsets(vec![(0, damaged)]), named("t"));
    let mut resumed = server.broker.subscribe(spec).await.unwrap();
    assert!(matches!(next(&mut resumed).await, LiveItem::Lost(lost) if lost.to == after));
    assert_eq!(record(&mut resumed).await.offset, after);

    let spec = from(Start::LatestPerKey, named("t"));
    let mut latest = server.broker.subscribe(spec).await.unwrap();
    assert!(matches!(next(&mut latest).await, LiveItem::Lost(lost) if lost.to == after));
    assert_eq!(record(&mut latest).await.offset, Offset(99));
    assert_eq!(texts(&mut latest, 1).await, ["later"]);
    publish(&server, &topic, &["last"]).await;
    assert_eq!(texts(&mut latest, 1).await, ["last"]);
}

/// A feed from a time on begins at damage that it comes across on the way there, and tells.
#[tokio::test]
async fn a_start_by_time_finds_its_way_around_damage() {
    // Of long values each batch is in the index; many short ones lie between two entries.
    for length in [5_000, 500] {
        let server = Server::start().await;
        let partition = server.partition("t", &[]).await;
        let filler = "x".repeat(length);
        for n in 0..100 {
            let value = format!("{n} {filler}");
            let batch = batch_at(TimestampMs(1_000 + n), &[&value]);
            server.append(&partition, batch).await.unwrap();
        }
        drop(partition);
        let server = server.restart_after(damage_packs).await;
        let mut everything = server
            .broker
            .subscribe(from(Start::Earliest, named("t")))
            .await
            .unwrap();
        let lost = loop {
            match next(&mut everything).await {
                LiveItem::Record(_) => {}
                LiveItem::Lost(lost) => break lost,
                other => panic!("{other:?}"),
            }
        };
        assert!(lost.to < Offset(100), "something is left behind the damage");
        for n in 0..100 {
            let since = Start::Since(TimestampMs(1_000 + n));
            let spec = from(since, named("t"));
            let mut subscription = server.broker.subscribe(spec).await.unwrap();
            let n = Offset(n);
            match next(&mut subscription).await {
                LiveItem::Record(first) => {
                    assert!(
                        n < lost.from || n >= lost.to,
                        "{n} is lost, and nobody is told"
                    );
                    assert_eq!(first.offset, n);
                }
                LiveItem::Lost(told) => {
                    assert!(n >= lost.from, "{n} lies before what is damaged");
                    assert_eq!(told, lost);
                    assert_eq!(record(&mut subscription).await.offset, lost.to);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_subscription_ends_with_its_topic_and_with_the_server() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    server.topic("u", 1, &[]).await;
    let mut on_topic = server.broker.subscribe(named("t")).await.unwrap();
    let mut on_other = server.broker.subscribe(named("u")).await.unwrap();
    publish(&server, &topic, &["a"]).await;
    assert_eq!(texts(&mut on_topic, 1).await, ["a"]);
    server.broker.delete_topic(topic.id()).await.unwrap();
    assert!(matches!(
        next(&mut on_topic).await,
        LiveItem::Disconnected(Disconnected::TopicDeleted)
    ));
    server.broker.shutdown().await.unwrap();
    assert!(matches!(
        next(&mut on_other).await,
        LiveItem::Disconnected(Disconnected::ShuttingDown)
    ));
    let refused = server.broker.subscribe(named("u")).await;
    assert!(matches!(
        refused,
        Err(LiveError::Broker(BrokerError::ShuttingDown))
    ));
    let refused = server.broker.subscribe(named("t")).await;
    assert!(matches!(
        refused,
        Err(LiveError::Broker(BrokerError::UnknownTopic))
    ));
}

#[tokio::test]
async fn a_position_resumes_after_a_restart_without_loss() {
    let server = Server::start().await;
    let topic = server.topic("t", 2, &[]).await;
    let partitions = topic.partitions();
    let mut subscription = server.broker.subscribe(named("t")).await.unwrap();
    server.publish(&partitions[0], &["a", "b", "c"]).await;
    assert_eq!(texts(&mut subscription, 1).await, ["a"]);
    let position = subscription.position().unwrap().to_string();
    server.publish(&partitions[1], &["d"]).await;
    drop(subscription);
    drop((topic, partitions));
    let server = server.restart().await;
    let token: ResumeToken = position.parse().unwrap();
    let spec = from(Start::Resume(token), named("t"));
    let mut resumed = server.broker.subscribe(spec).await.unwrap();
    let mut seen = texts(&mut resumed, 3).await;
    seen.sort();
    assert_eq!(seen, ["b", "c", "d"]);
}

/// What was seen and did not survive is no reason to pass over what was written in its place.
#[tokio::test]
async fn a_position_beyond_what_survived_resumes_where_that_ends() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    let partition = topic.partition(0).unwrap();
    server.publish(&partition, &["a", "b", "c"]).await;
    let crashed = server.crashed().await;
    let earliest = from(Start::Earliest, named("t"));
    let mut subscription = server.broker.subscribe(earliest).await.unwrap();
    server.publish(&partition, &["d", "e"]).await;
    assert_eq!(texts(&mut subscription, 5).await.len(), 5);
    let token = subscription.position().unwrap();

    let again = crashed.broker.topic("t").unwrap().partition(0).unwrap();
    crashed.publish(&again, &["v", "w", "x", "y"]).await;
    let resume = from(Start::Resume(token.clone()), named("t"));
    let mut resumed = crashed.broker.subscribe(resume).await.unwrap();
    assert_eq!(texts(&mut resumed, 4).await, ["v", "w", "x", "y"]);
    silence(&mut resumed).await;
}

/// What a filter leaves out was seen: it is neither read again nor lost when it goes.
#[tokio::test]
async fn a_position_is_behind_what_a_filter_left_out() {
    let server = Server::start().await;
    let topic = server.topic("t", 2, &[]).await;
    let partitions = topic.partitions();
    let spec = SubscribeSpec {
        filter: Some(Filter::parse(r#"{"key":{"equals":"other"}}"#).unwrap()),
        ..named("t")
    };
    let mut live = server.broker.subscribe(spec.clone()).await.unwrap();
    server.publish(&partitions[0], &["a", "b", "c"]).await;
    server.publish(&partitions[1], &["d"]).await;
    silence(&mut live).await;
    let position = live.position().unwrap();
    // The same from the log.
    let earliest = from(Start::Earliest, spec.clone());
    let mut replayed = server.broker.subscribe(earliest).await.unwrap();
    silence(&mut replayed).await;
    assert_eq!(replayed.position().unwrap(), position);
    assert!(position.to_string().ends_with("/0:3,1:1"), "{position}");

    // With them goes what the hub still has in memory.
    drop((live, replayed));
    let all = DeleteBefore::Offset(Offset(3));
    let deleted = server.broker.delete_records(&partitions[0], all).await;
    deleted.unwrap();
    let resume = from(Start::Resume(position.clone()), spec);
    let mut resumed = server.broker.subscribe(resume).await.unwrap();
    silence(&mut resumed).await;
    assert_eq!(resumed.position().unwrap(), position);
}

/// What waits for the reader has not been seen.
#[tokio::test]
async fn a_position_is_before_what_was_not_delivered() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    let spec = SubscribeSpec {
        filter: Some(Filter::parse(r#"{"key":{"equals":"a"}}"#).unwrap()),
        credit: 1,
        ..named("t")
    };
    let mut live = server.broker.subscribe(spec.clone()).await.unwrap();
    publish(&server, &topic, &["b1", "a1", "b2", "a2", "b3"]).await;
    let seen = |subscription: &Subscription| {
        let text = subscription.position().unwrap().to_string();
        text.rsplit(':').next().unwrap().to_owned()
    };
    assert_eq!(texts(&mut live, 1).await, ["a1"]);
    assert_eq!(seen(&live), "2");
    silence(&mut live).await;
    assert_eq!(seen(&live), "2");
    live.add_credit(1);
    assert_eq!(texts(&mut live, 1).await, ["a2"]);
    assert_eq!(seen(&live), "5");
}

#[tokio::test]
async fn waiting_can_be_given_up_at_any_time() {
    let server = Server::start().await;
    let topic = server.topic("t", 1, &[]).await;
    let spec = from(Start::Earliest, named("t"));
    let mut subscription = server.broker.subscribe(spec).await.unwrap();
    let mut seen = Vec::new();
    for index in 0..40 {
        publish(&server, &topic, &[&format!("{index:02}")]).await;
        let patience = Duration::from_micros(index * 10);
        if let Ok(LiveItem::Record(message)) =
            tokio::time::timeout(patience, subscription.next()).await
        {
            seen.push(text(&message));
        }
    }
    while seen.len() < 40 {
        seen.push(text(&*record(&mut subscription).await));
    }
    let expected: Vec<_> = (0..40).map(|index| format!("{index:02}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_buffer_that_cannot_be_is_refused() {
    let server = Server::start().await;
    server.topic("t", 1, &[]).await;
    for (buffer_records, buffer_bytes) in [(0, 1), (1, 0), (1 << 30, 1), (1, 1 << 30)] {
        let spec = SubscribeSpec {
            buffer_records,
            buffer_bytes,
            ..named("t")
        };
        let refused = server.broker.subscribe(spec).await;
        assert!(matches!(refused, Err(LiveError::Buffer)));
    }
}
