//! What happens to a queue when somebody goes away in the middle, or something changes under those who wait.

use std::time::Duration;

use millstream_broker::produce::NewMessage;
use millstream_broker::queues::policy::{Access, QueuePolicy};
use millstream_broker::queues::{
    ConsumerId, QueueError, QueueHandle, QueueSubscription, Subscribe,
};

use super::queues::{asking, message, new_queue, publish, queue_on, values};
use super::*;

/// Sooner than a queue looks by itself, later than anything takes.
const SOON: Duration = Duration::from_secs(4);

/// Polls a request so many times, and drops it.
async fn begin<T>(polls: usize, request: impl Future<Output = T>) {
    let patience = async {
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = request => {}
        () = patience => {}
    }
}

#[tokio::test]
async fn a_queue_whose_creator_went_away_has_no_twin() {
    let mut server = Server::start().await;
    for polls in 0..12 {
        let topic = server.topic(&format!("orders-{polls}"), 1, &[]).await;
        let name = format!("work-{polls}");
        let new = || new_queue(&name, &topic, QueuePolicy::default());
        begin(polls, server.broker.create_queue(new())).await;
        // Nobody has told him, so he asks again.
        match server.broker.create_queue(new()).await {
            Ok(_) | Err(QueueError::QueueExists(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    server = server.restart().await;
    for polls in 0..12 {
        let topic = server.broker.topic(&format!("orders-{polls}")).unwrap();
        let queues = server.broker.queues_of(topic.id());
        assert_eq!(queues.len(), 1, "after {polls} polls");
    }
}

#[tokio::test]
async fn a_topic_whose_deleter_went_away_takes_its_queues_with_it() {
    for polls in 1..6 {
        let server = Server::start().await;
        let topic = server.topic("orders", 1, &[]).await;
        let policy = QueuePolicy::default();
        drop(queue_on(&server, &topic, policy.clone()).await);
        begin(polls, server.broker.delete_topic(topic.id())).await;
        let again = async {
            while server.broker.topic("orders").is_some() || server.broker.queue("work").is_ok() {
                let _ = server.broker.delete_topic(topic.id()).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, again).await.expect("it goes");
        let topic = server.topic("orders", 1, &[]).await;
        drop(queue_on(&server, &topic, policy).await);
    }
}

#[tokio::test]
async fn whoever_waits_gets_what_comes_to_a_new_partition() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    let adding = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.broker.add_partitions(topic.id(), 2).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let new = NewMessage {
            partition: Some(1),
            ..message("here")
        };
        server.broker.publish(&topic, &[new]).await.unwrap();
    };
    // Long before it would have to be told that there is nothing.
    let receiving = tokio::time::timeout(SOON, queue.receive(asking(1, 30_000)));
    let (received, ()) = tokio::join!(receiving, adding);
    let received = received.expect("it comes in time").unwrap().0;
    assert_eq!(values(&received), ["here"]);
}

#[tokio::test]
async fn a_standby_has_its_turn_when_the_active_consumer_has_left() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let policy = QueuePolicy {
        access: Access::SingleActive,
        consumer_idle_ms: 200,
        ..QueuePolicy::default()
    };
    let queue = queue_on(&server, &topic, policy).await;
    let active = subscribe(&queue, 1, 0);
    let mut standby = subscribe(&queue, 2, 1);
    publish(&server, &topic, 1).await;
    let early = tokio::time::timeout(Duration::from_millis(500), standby.next()).await;
    assert!(early.is_err(), "another one is active");
    drop(active);
    let next = tokio::time::timeout(SOON, standby.next()).await;
    let received = next.expect("it comes in time").unwrap().unwrap().0;
    assert_eq!(received.len(), 1);
}

fn subscribe(queue: &QueueHandle, consumer: u64, credit: u32) -> QueueSubscription {
    let spec = Subscribe {
        consumer: ConsumerId(consumer),
        max: 10,
        visibility_ms: 60_000,
        credit,
    };
    queue.subscribe(spec).unwrap()
}
