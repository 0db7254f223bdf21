//! Queues over real logs.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use millstream_broker::headers;
use millstream_broker::produce::NewMessage;
use millstream_broker::queues::machine::{ReceiptError, Retry};
use millstream_broker::queues::policy::{Backoff, QueuePolicy, RetryPolicy};
use millstream_broker::queues::{
    ConsumerId, NewQueue, QueueError, QueueHandle, ReceiveSpec, Received, Redrive, StartAt,
    Subscribe,
};

use millstream_record::{Record, header};

use super::*;

pub(super) fn message(value: &str) -> NewMessage {
    NewMessage {
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..NewMessage::default()
    }
}

pub(super) fn with(
    mut message: NewMessage,
    name: &'static str,
    value: &impl ToString,
) -> NewMessage {
    let value = Bytes::from(value.to_string());
    let name = Bytes::from_static(name.as_bytes());
    message.headers.push((name, Some(value)));
    message
}

pub(super) fn new_queue(name: &str, topic: &Arc<TopicHandle>, policy: QueuePolicy) -> NewQueue {
    NewQueue {
        name: name.to_owned(),
        topic: Arc::clone(topic),
        start: StartAt::Earliest,
        policy,
        filter: None,
        dead_letter_topic: None,
    }
}

pub(super) async fn queue_on(
    server: &Server,
    topic: &Arc<TopicHandle>,
    policy: QueuePolicy,
) -> QueueHandle {
    let new = new_queue("work", topic, policy);
    server.broker.create_queue(new).await.unwrap()
}

pub(super) fn asking(max: u32, wait_ms: u64) -> ReceiveSpec {
    ReceiveSpec {
        consumer: ConsumerId(1),
        max,
        visibility_ms: 60_000,
        wait: Duration::from_millis(wait_ms),
    }
}

/// Receives until there is nothing for a while.
pub(super) async fn drain(queue: &QueueHandle, max: u32) -> Vec<Received> {
    let mut all = Vec::new();
    loop {
        let (some, _held) = queue.receive(asking(max, 200)).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

pub(super) fn values(received: &[Received]) -> Vec<String> {
    let value = |one: &Received| String::from_utf8(one.message.value.clone().unwrap().to_vec());
    received.iter().map(|one| value(one).unwrap()).collect()
}

pub(super) async fn publish(server: &Server, topic: &Arc<TopicHandle>, count: usize) {
    let messages: Vec<_> = (0..count).map(|n| message(&n.to_string())).collect();
    server.broker.publish(topic, &messages).await.unwrap();
}

pub(super) async fn ack(queue: &QueueHandle, received: &[Received]) {
    let receipts: Vec<_> = received.iter().map(|one| one.receipt).collect();
    let answers = queue.ack(&receipts).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

pub(super) fn retrying(attempts: u32) -> QueuePolicy {
    QueuePolicy {
        retry: RetryPolicy {
            attempts_max: NonZeroU32::new(attempts),
            backoff: Backoff::Fixed { delay_ms: 5 },
            ..RetryPolicy::default()
        },
        dead_letters: true,
        ..QueuePolicy::default()
    }
}

pub(super) async fn dead(server: &Server) -> Vec<BTreeMap<String, String>> {
    let topic = server.broker.topic("work.dead").unwrap();
    let partition = topic.partition(0).unwrap();
    let from = partition.offsets().log_start;
    let fetched = server.broker.fetch(FetchSpec::of(&partition, from)).await;
    let fetched = fetched.into_iter().next().unwrap().result.unwrap();
    let mut letters = Vec::new();
    for batch in fetched.batches() {
        for record in batch.unwrap().records(1 << 20) {
            let record = record.unwrap();
            if record.offset < from {
                continue;
            }
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = record.headers.iter();
            let mut letter: BTreeMap<_, _> = headers
                .map(|header| (text(header.key), text(header.value.unwrap_or_default())))
                .collect();
            letter.insert("value".to_owned(), text(&record.value.unwrap_or_default()));
            letters.push(letter);
        }
    }
    letters
}

pub(super) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn what_was_published_is_received_once_and_acknowledged_for_good() {
    let server = Server::start().await;
    let topic = server.topic("orders", 3, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    for _ in 0..5 {
        publish(&server, &topic, 100).await;
    }
    let received = drain(&queue, 70).await;
    let places: BTreeSet<_> = received
        .iter()
        .map(|one| (one.message.partition, one.message.offset))
        .collect();
    assert_eq!((received.len(), places.len()), (500, 500));
    assert!(received.iter().all(|one| one.attempts == 1));
    ack(&queue, &received).await;
    let described = queue.describe().unwrap();
    assert_eq!(
        (described.depth.open, described.totals.acknowledged),
        (0, 500)
    );

    let again = queue.ack(&[received[0].receipt]).await.unwrap();
    assert_eq!(again, [Err(ReceiptError::Finished)]);
    drop(queue);
    let server = server.restart().await;
    let queue = server.broker.queue("work").unwrap();
    assert_eq!(queue.describe().unwrap().depth.open, 0);
}

#[tokio::test]
async fn a_receive_waits_for_what_is_published_later() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move { queue.receive(asking(10, 20_000)).await.unwrap().0 })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    publish(&server, &topic, 1).await;
    assert_eq!(values(&waiting.await.unwrap()), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_received_without_a_wait() {
    let server = Server::start().await;
    let topic = server.topic("orders", 2, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    for _ in 0..100 {
        publish(&server, &topic, 3).await;
        let mut values = BTreeSet::new();
        while values.len() < 3 {
            let (received, _held) = queue.receive(asking(3, 0)).await.unwrap();
            assert!(!received.is_empty(), "only {values:?} were there");
            values.extend(received.iter().map(|one| one.message.value.clone()));
            ack(&queue, &received).await;
        }
        let (nothing, _held) = queue.receive(asking(3, 0)).await.unwrap();
        assert!(nothing.is_empty());
    }
}

#[tokio::test]
async fn after_a_kill_what_was_acknowledged_is_done_and_the_rest_comes_again() {
    let server = Server::start().await;
    let topic = server.topic("orders", 2, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    for _ in 0..4 {
        publish(&server, &topic, 50).await;
    }
    let received = drain(&queue, 30).await;
    let (done, held) = received.split_at(120);
    ack(&queue, done).await;

    let crashed = server.crashed().await;
    let queue = crashed.broker.queue("work").unwrap();
    assert_eq!(queue.describe().unwrap().depth.open, 80);
    // A receipt from before stays good until somebody else gets the record.
    ack(&queue, &held[..1]).await;
    let receipts: Vec<_> = held[1..].iter().map(|one| one.receipt).collect();
    queue.nack(&receipts, Retry::Now).await.unwrap();
    let again = drain(&queue, 100).await;
    let place = |one: &Received| (one.message.partition, one.message.offset);
    let expected: BTreeSet<_> = held[1..].iter().map(place).collect();
    assert_eq!(again.iter().map(place).collect::<BTreeSet<_>>(), expected);
    assert_eq!(again.len(), expected.len());
}

#[tokio::test]
async fn a_lease_that_runs_out_comes_back_and_its_receipt_is_refused() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 1).await;
    let spec = ReceiveSpec {
        visibility_ms: 50,
        ..asking(1, 1_000)
    };
    let (first, _) = queue.receive(spec).await.unwrap();
    let (second, _) = queue.receive(asking(1, 5_000)).await.unwrap();
    assert_eq!((second.len(), second[0].attempts), (1, 2));
    let late = queue.ack(&[first[0].receipt]).await.unwrap();
    assert_eq!(late, [Err(ReceiptError::Superseded)]);
    ack(&queue, &second).await;
}

#[tokio::test]
async fn a_receive_that_is_given_up_gives_back_what_it_was_sent() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    for round in 0..50 {
        let waiting = {
            let queue = queue.clone();
            tokio::spawn(async move { queue.receive(asking(10, 60_000)).await.unwrap().0.len() })
        };
        tokio::task::yield_now().await;
        publish(&server, &topic, 1).await;
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        let _ = waiting.await;
    }
    // None is stuck: those that somebody got are leased, all others come.
    eventually("everything is leased", async || {
        drain(&queue, 100).await;
        let depth = queue.describe().unwrap().depth;
        depth.ready == 0 && depth.open == depth.leased
    })
    .await;
    assert_eq!(queue.describe().unwrap().waiting_requests, 0);
}

/// How many were moved, and how many refused.
async fn redriven(queue: &QueueHandle) -> (u64, u64) {
    let redriven = queue.redrive(&Redrive::default()).await.unwrap();
    (redriven.moved, redriven.refused)
}

#[tokio::test]
async fn what_fails_too_often_ends_in_the_dead_letters_and_is_redriven_once() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(2)).await;
    let own = with(message("bad"), "colour", &"red");
    server
        .broker
        .publish(&topic, &[own, message("good")])
        .await
        .unwrap();
    for _ in 0..2 {
        let (received, _) = queue.receive(asking(10, 5_000)).await.unwrap();
        for one in received {
            if values(std::slice::from_ref(&one)) == ["bad"] {
                queue
                    .nack(&[one.receipt], Retry::AsPolicySays)
                    .await
                    .unwrap();
            } else {
                ack(&queue, &[one]).await;
            }
        }
    }
    eventually("the letter is written", async || {
        !dead(&server).await.is_empty()
    })
    .await;
    let letters = dead(&server).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    let said = |name: &str| letter[name].as_str();
    assert_eq!((said("value"), said("colour")), ("bad", "red"));
    assert_eq!(said(headers::DEAD_LETTER_REASON), "attempts");
    assert_eq!(said(headers::DEAD_LETTER_ATTEMPTS), "2");
    assert_eq!(said(headers::DEAD_LETTER_QUEUE), "work");
    assert_eq!(said(headers::DEAD_LETTER_TOPIC), "orders");
    assert_eq!(said(headers::DEAD_LETTER_OFFSET), "0");
    assert!(letter.contains_key(headers::DEAD_LETTER_FIRST_DELIVERED_AT));
    assert_eq!(queue.describe().unwrap().depth.open, 0);

    let crashed = server.crashed().await;
    let queue = crashed.broker.queue("work").unwrap();
    assert_eq!(redriven(&queue).await, (1, 0));
    assert_eq!(redriven(&queue).await, (0, 0));
    assert!(dead(&crashed).await.is_empty());
    let (back, _) = queue.receive(asking(10, 5_000)).await.unwrap();
    assert_eq!(values(&back), ["bad"]);
    let names: Vec<_> = back[0]
        .message
        .headers
        .iter()
        .map(|header| header.key.to_vec())
        .collect();
    assert_eq!(names, [b"colour"]);
}

#[tokio::test]
async fn dead_letters_are_not_redriven_to_where_they_lie() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    publish(&server, &topic, 1).await;
    let (received, _) = queue.receive(asking(1, 5_000)).await.unwrap();
    queue.reject(&[received[0].receipt]).await.unwrap();
    eventually("the letter is written", async || {
        !dead(&server).await.is_empty()
    })
    .await;
    let before = dead(&server).await;
    let redrive = Redrive {
        to: server.broker.topic("work.dead"),
        ..Redrive::default()
    };
    let refused = queue.redrive(&redrive).await;
    assert!(
        matches!(&refused, Err(QueueError::RedriveToDeadLetters(topic)) if topic.as_str() == "work.dead"),
        "{refused:?}"
    );
    assert_eq!(dead(&server).await, before);
    assert_eq!(redriven(&queue).await, (1, 0));
}

/// What a queue remembers of a message, or the message says of itself, is about its first life.
#[tokio::test]
async fn what_is_redriven_is_no_duplicate_and_has_not_expired() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let policy = QueuePolicy {
        dedup_window_ms: 3_600_000,
        delays: true,
        record_ttl: true,
        ttl_ms: Some(700),
        ..retrying(1)
    };
    let queue = queue_on(&server, &topic, policy).await;
    let now = server.broker.env().clock.wall_ms();
    let own = with(message("bad"), headers::ID, &"a");
    let own = with(own, headers::EXPIRES_AT, &(now + 700));
    let own = with(own, headers::DELIVER_AT, &(now - 10));
    let own = with(own, "colour", &"red");
    server.broker.publish(&topic, &[own]).await.unwrap();
    let (received, _) = queue.receive(asking(1, 5_000)).await.unwrap();
    queue.reject(&[received[0].receipt]).await.unwrap();
    eventually("the letter is written", async || {
        !dead(&server).await.is_empty()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(800)).await;

    let before = server.broker.env().clock.wall_ms();
    assert_eq!(redriven(&queue).await, (1, 0));
    let (back, _) = queue.receive(asking(1, 5_000)).await.unwrap();
    assert_eq!(values(&back), ["bad"]);
    assert!(back[0].message.timestamp.get() >= before);
    let names: Vec<_> = back[0]
        .message
        .headers
        .iter()
        .map(|header| header.key.to_vec())
        .collect();
    assert_eq!(names, [b"colour"]);
    let totals = queue.describe().unwrap().totals;
    assert_eq!((totals.duplicates, totals.expired), (0, 0));
}

pub(super) async fn bound(server: &Server, topic: &str, bytes: &str) {
    let id = server.broker.topic(topic).unwrap().id();
    let bound = [set("max.message.bytes", bytes)];
    server.broker.alter_topic(id, &bound).await.unwrap();
}

/// Each of them stays with the dead letters, whole, and is moved once it can be.
#[tokio::test]
async fn dead_letters_that_are_refused_or_garbage_stop_no_other() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    let large = "x".repeat(5_000);
    let messages = [message("a"), message(&large), message("b")];
    server.broker.publish(&topic, &messages).await.unwrap();
    for received in drain(&queue, 1).await {
        queue.reject(&[received.receipt]).await.unwrap();
    }
    eventually("the letters are written", async || {
        dead(&server).await.len() == 3
    })
    .await;
    let large_letter = dead(&server).await.remove(1);
    let letters = server.broker.topic("work.dead").unwrap();
    let letters = letters.partition(0).unwrap();
    let mut garbage = batch(&["a", "b", "c"]).to_vec();
    let end = garbage.len();
    garbage[end - 20..].fill(0xee);
    header::seal(&mut garbage);
    let garbage = Bytes::from(garbage);
    server.append(&letters, garbage.clone()).await.unwrap();
    // Larger than what the dead letters take by now, too.
    bound(&server, "orders", "1000").await;
    bound(&server, "work.dead", "1000").await;

    assert_eq!(redriven(&queue).await, (2, 2));
    assert_eq!(values(&drain(&queue, 10).await), ["a", "b"]);
    assert_eq!(redriven(&queue).await, (0, 1));
    let from = letters.offsets().log_start.get();
    let fetched = server.fetch(&letters, from).await.unwrap();
    let mut left = Vec::new();
    for batch in fetched.batches() {
        for record in batch.unwrap().records(1 << 20) {
            left.push(record.unwrap());
        }
    }
    left.retain(|record| record.offset.get() >= from);
    let has_the_bytes =
        |record: &Record| record.value.as_ref().unwrap().get(16..) == Some(&garbage[16..]);
    assert_eq!(left.len(), 2);
    assert!(left.iter().any(has_the_bytes));

    bound(&server, "orders", "100000").await;
    assert_eq!(redriven(&queue).await, (1, 0));
    assert_eq!(values(&drain(&queue, 10).await), [large.as_str()]);
    assert_eq!(large_letter["value"], large);
}

#[tokio::test]
async fn priority_delay_and_time_to_live_are_read_from_headers() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let policy = QueuePolicy {
        priorities: true,
        delays: true,
        record_ttl: true,
        dedup_window_ms: 60_000,
        ..QueuePolicy::default()
    };
    let queue = queue_on(&server, &topic, policy).await;
    let now = server.broker.env().clock.wall_ms();
    let messages = [
        with(message("low"), headers::PRIORITY, &1),
        with(message("high"), headers::PRIORITY, &9),
        with(message("later"), headers::DELIVER_AT, &(now + 300)),
        with(message("expired"), headers::EXPIRES_AT, &(now - 1)),
        with(message("once"), headers::ID, &"a"),
        with(message("twice"), headers::ID, &"a"),
    ];
    server.broker.publish(&topic, &messages).await.unwrap();
    let (first, _) = queue.receive(asking(10, 5_000)).await.unwrap();
    assert_eq!(values(&first), ["high", "low", "once"]);
    let (later, _) = queue.receive(asking(10, 5_000)).await.unwrap();
    assert_eq!(values(&later), ["later"]);
    assert!(server.broker.env().clock.wall_ms() >= now + 300);
    let totals = queue.describe().unwrap().totals;
    assert_eq!((totals.expired, totals.duplicates), (1, 1));
}

#[tokio::test]
async fn acknowledging_and_publishing_happen_together_or_not_at_all() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let target = server.topic("results", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 2).await;
    let (received, _) = queue.receive(asking(10, 5_000)).await.unwrap();
    let receipts: Vec<_> = received.iter().map(|one| one.receipt).collect();
    ack(&queue, &received[..1]).await;
    let refused = queue
        .ack_and_publish(&receipts, &[(Arc::clone(&target), vec![message("r")])])
        .await;
    assert!(matches!(refused, Err(QueueError::Receipt { index: 0, .. })));
    assert_eq!(target.partition(0).unwrap().offsets().log_end, Offset(0));
    assert_eq!(queue.describe().unwrap().depth.open, 1);
    let published = queue
        .ack_and_publish(&receipts[1..], &[(Arc::clone(&target), vec![message("r")])])
        .await
        .unwrap();
    assert_eq!(published[0][0].offset, Offset(0));
    assert_eq!(queue.describe().unwrap().depth.open, 0);
}

#[tokio::test]
async fn a_subscription_is_served_as_far_as_its_credit_goes() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    let mut subscription = queue
        .subscribe(Subscribe {
            consumer: ConsumerId(5),
            max: 100,
            visibility_ms: 60_000,
            credit: 3,
        })
        .unwrap();
    publish(&server, &topic, 5).await;
    let mut got = Vec::new();
    while got.len() < 3 {
        got.extend(subscription.next().await.unwrap().unwrap().0);
    }
    let more = tokio::time::timeout(Duration::from_millis(100), subscription.next()).await;
    assert!(more.is_err(), "there is no credit left");
    subscription.link().add_credit(10).unwrap();
    while got.len() < 5 {
        got.extend(subscription.next().await.unwrap().unwrap().0);
    }
    drop(subscription);
    queue.consumer_gone(ConsumerId(5));
    assert_eq!(drain(&queue, 10).await.len(), 5);
}

#[tokio::test]
async fn operators_pause_purge_browse_alter_and_delete() {
    let server = Server::start().await;
    let topic = server.topic("orders", 2, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 4).await;
    queue.pause().await.unwrap();
    assert!(queue.receive(asking(1, 50)).await.unwrap().0.is_empty());
    assert_eq!(queue.browse(3).await.unwrap().len(), 3);
    assert!(queue.oldest().await.unwrap().is_some());

    drop(queue);
    let server = server.restart().await;
    let queue = server.broker.queue("work").unwrap();
    assert!(queue.describe().unwrap().paused);
    queue.resume().await.unwrap();
    let (received, _) = queue.receive(asking(1, 1_000)).await.unwrap();
    assert_eq!(queue.purge().await.unwrap(), 3);
    ack(&queue, &received).await;
    assert_eq!(queue.describe().unwrap().depth.open, 0);

    queue.alter(retrying(3)).await.unwrap();
    assert!(server.broker.topic("work.dead").is_some());
    drop(queue);
    let server = server.restart().await;
    let queue = server.broker.queue("work").unwrap();
    assert_eq!(queue.definition().policy, retrying(3));
    queue.delete().await.unwrap();
    assert!(matches!(queue.describe(), Err(QueueError::UnknownQueue)));
    drop(queue);
    let server = server.restart().await;
    assert!(server.broker.queue("work").is_err());
}

/// The messages end with the process, the queue and what operators said of it do not.
#[tokio::test]
async fn a_queue_on_a_memory_topic_stays_paused() {
    let server = Server::start().await;
    let settings = [("millstream.durability", "memory")];
    let topic = server.topic("orders", 1, &settings).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 2).await;
    queue.pause().await.unwrap();
    drop((queue, topic));
    // At once: it is written down before the pause is confirmed.
    let crashed = server.crashed().await;
    assert!(is_paused(&crashed));
    let server = server.restart().await;
    assert!(is_paused(&server));
    let topic = server.broker.topic("orders").unwrap();
    let queue = server.broker.queue("work").unwrap();
    publish(&server, &topic, 1).await;
    assert!(queue.receive(asking(1, 50)).await.unwrap().0.is_empty());
    queue.resume().await.unwrap();
    assert_eq!(drain(&queue, 9).await.len(), 1);
    drop((queue, topic));
    let server = server.restart().await;
    assert!(!is_paused(&server));
}

fn is_paused(server: &Server) -> bool {
    let queue = server.broker.queue("work").unwrap();
    queue.describe().unwrap().paused
}

#[tokio::test]
async fn a_queue_goes_with_its_topic_and_tells_who_waits() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move { queue.receive(asking(10, 60_000)).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.broker.delete_topic(topic.id()).await.unwrap();
    assert!(matches!(
        waiting.await.unwrap(),
        Err(QueueError::UnknownQueue)
    ));
    assert!(server.broker.queue("work").is_err());
    drop(queue);
    let server = server.restart().await;
    assert!(server.broker.queues().is_empty());
}

#[tokio::test]
async fn what_retention_takes_is_counted_and_stops_nobody() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 10).await;
    let before = millstream_broker::streams::DeleteBefore::Offset(Offset(7));
    let partition = topic.partition(0).unwrap();
    server
        .broker
        .delete_records(&partition, before)
        .await
        .unwrap();
    assert_eq!(values(&drain(&queue, 10).await), ["7", "8", "9"]);
    assert_eq!(queue.describe().unwrap().totals.lost, 7);
}

#[tokio::test]
async fn a_queue_on_a_memory_topic_begins_anew_with_it() {
    let server = Server::start().await;
    let topic = server
        .topic("orders", 1, &[("millstream.durability", "memory")])
        .await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 3).await;
    let received = drain(&queue, 10).await;
    ack(&queue, &received).await;
    drop(queue);
    let server = server.restart().await;
    let (queue, topic) = (
        server.broker.queue("work").unwrap(),
        server.broker.topic("orders").unwrap(),
    );
    publish(&server, &topic, 2).await;
    assert_eq!(values(&drain(&queue, 10).await), ["0", "1"]);
}

#[tokio::test]
async fn figures_of_all_queues_are_there_without_a_look_at_the_log() {
    let server = Server::start().await;
    let topic = server.topic("orders", 2, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    let idle = new_queue(
        "idle",
        &server.topic("quiet", 1, &[]).await,
        QueuePolicy::default(),
    );
    server.broker.create_queue(idle).await.unwrap();
    let made = TimestampMs(server.broker.env().clock.wall_ms() - 60_000);
    let messages = (0..10).map(|n| NewMessage {
        partition: Some(n % 2),
        timestamp: Some(TimestampMs(made.get() + i64::from(n))),
        ..message("m")
    });
    let messages: Vec<_> = messages.collect();
    server.broker.publish(&topic, &messages).await.unwrap();
    let figures = || {
        let all = server.broker.queue_stats();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (&*all[0].0, all[0].2.depth.open, all[0].2.oldest),
            ("idle", 0, None)
        );
        assert_eq!((&*all[1].0, &*all[1].1.to_string()), ("work", "orders"));
        all[1].2
    };
    eventually("it is seen", async || figures().depth.open == 10).await;
    eventually("the oldest is known", async || {
        figures().oldest == Some(made)
    })
    .await;

    let (received, _) = queue.receive(asking(5, 1_000)).await.unwrap();
    let stats = figures();
    assert_eq!(
        (stats.depth.leased, stats.leases, stats.totals.delivered),
        (5, 1, 5)
    );
    ack(&queue, &received[..2]).await;
    queue.reject(&[received[2].receipt]).await.unwrap();
    eventually("the letter is written", async || {
        figures().totals.dead_lettered == 1
    })
    .await;
    let stats = figures();
    assert_eq!((stats.depth.leased, stats.totals.acknowledged), (2, 2));
}

#[tokio::test]
async fn queues_on_one_topic_know_nothing_of_each_other() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let first = queue_on(&server, &topic, QueuePolicy::default()).await;
    let filter = millstream_broker::filter::Filter::parse(r#"{"header":"colour","equals":"red"}"#);
    let second = server
        .broker
        .create_queue(NewQueue {
            name: "red".to_owned(),
            topic: Arc::clone(&topic),
            start: StartAt::Latest,
            policy: QueuePolicy::default(),
            filter: Some(filter.unwrap()),
            dead_letter_topic: None,
        })
        .await
        .unwrap();
    let messages = [with(message("a"), "colour", &"red"), message("b")];
    server.broker.publish(&topic, &messages).await.unwrap();
    assert_eq!(values(&drain(&first, 10).await), ["a", "b"]);
    let red = drain(&second, 10).await;
    assert_eq!(values(&red), ["a"]);
    let text = second.receipt_text(red[0].receipt).to_string();
    let parsed: millstream_broker::queues::ReceiptText = text.parse().unwrap();
    assert_eq!(
        (parsed.queue, parsed.receipt),
        (second.id(), red[0].receipt)
    );
}
