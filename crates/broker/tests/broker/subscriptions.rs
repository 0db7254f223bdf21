//! Subscriptions to queues: credit is never lost, deadlines are kept, and what nobody got does not count.

use std::time::Duration;

use millstream_broker::queues::{
    ConsumerId, QueueHandle, QueuePolicy, QueueSubscription, ReceiveSpec, Received, Subscribe,
};
use millstream_broker::streams::FetchPart;

use super::queues::{ack, asking, dead, eventually, message, publish, queue_on, retrying, values};
use super::*;

const MIB: usize = 1 << 20;
const SOON: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3);

fn subscribe(queue: &QueueHandle, consumer: u64, credit: u32) -> QueueSubscription {
    subscribe_for(queue, consumer, credit, 60_000)
}

fn subscribe_for(
    queue: &QueueHandle,
    consumer: u64,
    credit: u32,
    visibility_ms: u64,
) -> QueueSubscription {
    let spec = Subscribe {
        consumer: ConsumerId(consumer),
        max: 100,
        visibility_ms,
        credit,
    };
    queue.subscribe(spec).unwrap()
}

/// The next so many records, which have to come soon.
async fn take(subscription: &mut QueueSubscription, count: usize) -> Vec<Received> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = tokio::time::timeout(LONG, subscription.next()).await;
        taken.extend(next.expect("records come in time").unwrap().unwrap().0);
    }
    taken
}

async fn publish_large(server: &Server, topic: &Arc<TopicHandle>, count: u32, partitions: u32) {
    for n in 0..count {
        let large = millstream_broker::produce::NewMessage {
            partition: Some(n % partitions),
            ..message(&format!("{n} {}", "x".repeat(MIB)))
        };
        server.broker.publish(topic, &[large]).await.unwrap();
    }
}

const LARGE: [(&str, &str); 1] = [("max.message.bytes", "20000000")];

#[tokio::test]
async fn credit_for_what_does_not_fit_a_delivery_is_not_lost() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &LARGE).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    publish_large(&server, &topic, 20, 1).await;
    let mut subscription = subscribe(&queue, 1, 20);
    let taken = take(&mut subscription, 20).await;
    assert_eq!(taken.len(), 20);
    assert!(taken.iter().all(|one| one.attempts == 1));
    let more = tokio::time::timeout(SOON, subscription.next()).await;
    assert!(more.is_err(), "no more than there was credit for");
    assert_eq!(queue.describe().unwrap().depth.leased, 20);
}

/// Takes all memory that readers may have.
async fn hold_all_memory(server: &Server, partition: &PartitionHandle) -> Vec<impl Sized> {
    let mut held = Vec::new();
    loop {
        let spec = FetchSpec {
            parts: vec![FetchPart::of(partition, Offset(0), 50 * MIB)],
            max_bytes: 50 * MIB,
            min_bytes: 1,
            ..FetchSpec::of(partition, Offset(0))
        };
        match tokio::time::timeout(SOON, server.broker.fetch(spec)).await {
            Ok(fetched) => held.push(fetched),
            Err(_) => return held,
        }
    }
}

#[tokio::test]
async fn a_read_that_is_given_up_loses_neither_records_nor_credit() {
    let server = Server::start_with(|settings| settings.read_memory_bytes = 4 * MIB).await;
    let topic = server.topic("orders", 1, &LARGE).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    publish_large(&server, &topic, 4, 1).await;
    eventually("they are seen", async || {
        queue.describe().unwrap().depth.ready == 4
    })
    .await;
    let partition = topic.partition(0).unwrap();
    let held = hold_all_memory(&server, &partition).await;
    let mut subscription = subscribe(&queue, 1, 1);
    for _ in 0..3 {
        let next = tokio::time::timeout(SOON, subscription.next()).await;
        assert!(next.is_err(), "there is no memory for it");
    }
    drop(held);
    let taken = take(&mut subscription, 1).await;
    assert_eq!(taken[0].attempts, 1);
}

#[tokio::test]
async fn who_holds_memory_does_not_wait_for_more() {
    let server = Server::start_with(|settings| settings.read_memory_bytes = 4 * MIB).await;
    let topic = server.topic("orders", 2, &LARGE).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish_large(&server, &topic, 6, 2).await;
    eventually("they are seen", async || {
        queue.describe().unwrap().depth.ready == 6
    })
    .await;
    // One delivery from both partitions, and memory for little more than one of them.
    let mut subscription = subscribe(&queue, 1, 6);
    let next = tokio::time::timeout(LONG, subscription.next()).await;
    let (received, _held) = next.expect("it does not wait").unwrap().unwrap();
    assert_eq!(received.len(), 3);
}

#[tokio::test]
async fn what_a_silent_subscriber_holds_goes_to_the_next_when_its_lease_ends() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 3).await;
    let mut silent = subscribe_for(&queue, 1, 0, 300);
    let mut other = subscribe_for(&queue, 2, 0, 300);
    // The queue's task goes to sleep.
    tokio::time::sleep(SOON).await;
    silent.link().add_credit(3).unwrap();
    assert_eq!(values(&take(&mut silent, 3).await), ["0", "1", "2"]);
    other.link().add_credit(3).unwrap();
    assert_eq!(take(&mut other, 3).await.len(), 3);
}

#[tokio::test]
async fn what_a_queue_delivers_when_it_is_resumed_comes_back_in_time() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 1).await;
    queue.pause().await.unwrap();
    let mut subscription = subscribe_for(&queue, 1, 2, 300);
    tokio::time::sleep(SOON).await;
    queue.resume().await.unwrap();
    assert_eq!(take(&mut subscription, 1).await[0].attempts, 1);
    assert_eq!(take(&mut subscription, 1).await[0].attempts, 2);
}

#[tokio::test]
async fn what_comes_too_late_to_be_of_use_is_passed_over() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 2).await;
    let mut late = subscribe_for(&queue, 1, 2, 1_000);
    eventually("it is delivered", async || {
        queue.describe().unwrap().depth.leased == 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let taken = take(&mut late, 2).await;
    let now = server.broker.env().clock.wall_ms();
    assert!(taken.iter().all(|one| one.deadline.get() > now));
}

#[tokio::test]
async fn what_was_taken_and_reached_nobody_does_not_count() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    publish(&server, &topic, 2).await;
    let mut subscription = subscribe(&queue, 1, 2);
    for _ in 0..3 {
        let taken = take(&mut subscription, 2).await;
        assert!(taken.iter().all(|one| one.attempts == 1));
        let receipts: Vec<_> = taken.iter().map(|one| one.receipt).collect();
        subscription.link().undelivered(&receipts);
    }
    drop(subscription);
    queue.consumer_gone(ConsumerId(1));
    assert_eq!(queue.describe().unwrap().depth.ready, 2);
    assert!(dead(&server).await.is_empty());
}

/// What waits for a slow client may have to wait for long.
#[tokio::test]
async fn what_was_not_handed_on_when_its_time_ended_does_not_count() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    publish(&server, &topic, 2).await;
    let mut slow = subscribe_for(&queue, 1, 2, 1_000);
    let lease = take(&mut slow, 2).await[0].receipt.lease;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(!slow.link().handed(lease), "its time is over");
    let described = queue.describe().unwrap();
    assert_eq!((described.depth.ready, described.totals.timed_out), (2, 0));
    slow.link().add_credit(2).unwrap();
    let taken = take(&mut slow, 2).await;
    assert!(taken.iter().all(|one| one.attempts == 1));
    assert!(slow.link().handed(taken[0].receipt.lease));
    eventually("they had their attempt", async || {
        dead(&server).await.len() == 2
    })
    .await;
}

#[tokio::test]
async fn what_a_connection_held_goes_to_others_when_the_server_starts_again() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 3).await;
    let connection = ConsumerId::of_connection(7);
    let mut subscription = subscribe_for(&queue, connection.0, 2, 43_200_000);
    let held = take(&mut subscription, 2).await;
    let named = ReceiveSpec {
        visibility_ms: 43_200_000,
        ..asking(1, 5_000)
    };
    assert_eq!(values(&queue.receive(named).await.unwrap().0), ["2"]);
    // Grants are not waited for: this is, and comes after them.
    queue.pause().await.unwrap();
    queue.resume().await.unwrap();

    let crashed = server.crashed().await;
    let queue = crashed.broker.queue("work").unwrap();
    // Its receipts are good once the queue has looked at the messages, until somebody else gets them.
    eventually("it has looked", async || {
        queue.describe().unwrap().depth.waiting == 0
    })
    .await;
    ack(&queue, &held[..1]).await;
    let (received, _) = queue.receive(asking(10, 5_000)).await.unwrap();
    assert_eq!(values(&received), ["1"]);
    assert_eq!(received[0].attempts, 2);
    assert_eq!(queue.describe().unwrap().depth.leased, 2);
}
