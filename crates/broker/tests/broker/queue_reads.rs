//! How deliveries are read whose messages lie far apart in the log.

use std::num::NonZeroU32;
use std::time::Duration;

use millstream_broker::produce::NewMessage;
use millstream_broker::queues::policy::{KeyPolicy, QueuePolicy};

use super::queues::{asking, eventually, message, queue_on};
use super::*;

/// Messages further apart than this are parts of their own in a delivery.
const APART: usize = 600;

fn one_by_one() -> QueuePolicy {
    QueuePolicy {
        keys: Some(KeyPolicy {
            in_flight_max: NonZeroU32::MIN,
            interval_ms: 0,
        }),
        ..QueuePolicy::default()
    }
}

/// So many messages that may be delivered, far from each other, and the first of those that lie between them.
fn far_apart(count: usize, first_sizes: &[usize]) -> Vec<NewMessage> {
    let keyed = |key: String, bytes: usize| NewMessage {
        key: Some(key.into()),
        ..message(&"x".repeat(bytes))
    };
    let large = first_sizes.iter().enumerate();
    let mut messages: Vec<_> = large
        .map(|(at, bytes)| keyed(format!("large {at}"), *bytes))
        .collect();
    for n in 0..count {
        messages.extend((0..APART).map(|_| keyed("same".to_owned(), 1)));
        messages.push(keyed(n.to_string(), 1));
    }
    messages
}

#[tokio::test]
async fn what_does_not_fit_a_delivery_goes_back_in_one_commit() {
    const MIB: usize = 1 << 20;
    let server = Server::start().await;
    let topic = server
        .topic("orders", 1, &[("max.message.bytes", "20000000")])
        .await;
    let queue = queue_on(&server, &topic, one_by_one()).await;
    let messages = far_apart(50, &[9 * MIB, 9 * MIB]);
    let (large, small) = messages.split_at(2);
    for some in large.chunks(1).chain(small.chunks(1_000)) {
        server.broker.publish(&topic, some).await.unwrap();
    }
    eventually("they are seen", async || {
        queue.describe().unwrap().depth.ready == 53
    })
    .await;
    let before = server.broker.stats().journal_commits;
    let (received, _held) = queue.receive(asking(1_000, 0)).await.unwrap();
    assert_eq!(received.len(), 2);
    let depth = queue.describe().unwrap().depth;
    assert_eq!((depth.leased, depth.ready), (2, 51));
    // Nobody waits for these commits.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let commits = server.broker.stats().journal_commits - before;
    assert!(commits <= 3, "{commits} commits");
}

#[tokio::test]
async fn a_batch_that_a_delivery_reaches_into_more_than_once_is_held_once() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, one_by_one()).await;
    let mut messages = far_apart(8, &[]);
    messages[1].value = Some(Bytes::from(vec![b'x'; 500_000]));
    server.broker.publish(&topic, &messages).await.unwrap();
    eventually("they are seen", async || {
        queue.describe().unwrap().depth.ready == 9
    })
    .await;
    let (received, _held) = queue.receive(asking(1_000, 0)).await.unwrap();
    assert_eq!(received.len(), 9);
    let (held, _) = server.broker.read_memory();
    assert!(held < 1_500_000, "{held} bytes");
}
