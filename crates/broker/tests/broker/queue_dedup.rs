//! What repeats an id is dropped unless a queue says otherwise, however it was published.

use millstream_broker::headers;
use millstream_broker::queues::policy::QueuePolicy;
use millstream_broker::queues::{NewQueue, QueueHandle};
use millstream_record::Header;

use super::queues::{
    ack, asking, dead, drain, eventually, message, new_queue, queue_on, retrying, values, with,
};
use super::*;

fn named(id: &str, value: &str) -> millstream_broker::produce::NewMessage {
    with(message(value), headers::ID, &id)
}

/// A batch of records with these ids and values.
fn packed(codec: Codec, records: &[(Option<&str>, &str)]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (id, value) in records {
        let header = id.map(|id| Header {
            key: headers::ID.as_bytes(),
            value: Some(id.as_bytes()),
        });
        builder.append(&NewRecord {
            timestamp: TimestampMs::NONE,
            key: None,
            value: Some(value.as_bytes()),
            headers: header.as_slice(),
        });
    }
    builder.build().unwrap().bytes
}

async fn done(queue: &QueueHandle) -> Vec<String> {
    let received = drain(queue, 100).await;
    ack(queue, &received).await;
    values(&received)
}

#[tokio::test]
async fn ids_are_met_once_in_any_kind_of_batch_and_after_a_crash() {
    for codec in [Codec::None, Codec::Lz4] {
        let server = Server::start().await;
        let partition = server.partition("orders", &[]).await;
        let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
        let appends = [
            packed(codec, &[(None, "plain"), (None, "plain")]),
            packed(codec, &[(None, "plain"), (Some("x"), "first")]),
            packed(codec, &[(Some("x"), "again"), (Some("y"), "other")]),
            // Mentions the header, and has none.
            packed(codec, &[(None, "millstream.id"), (None, "millstream.id")]),
        ];
        for batch in appends {
            server.append(&partition, batch).await.unwrap();
        }
        let mentioned = "millstream.id";
        assert_eq!(
            done(&queue).await,
            [
                "plain", "plain", "plain", "first", "other", mentioned, mentioned
            ]
        );

        let crashed = server.crashed().await;
        let partition = crashed.broker.topic("orders").unwrap().partition(0);
        let partition = partition.unwrap();
        let queue = crashed.broker.queue("work").unwrap();
        let batch = packed(codec, &[(Some("y"), "again"), (Some("z"), "new")]);
        crashed.append(&partition, batch).await.unwrap();
        assert_eq!(done(&queue).await, ["new"]);
    }
}

#[tokio::test]
async fn a_queue_may_be_told_to_take_every_message() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let every = QueuePolicy {
        dedup_window_ms: 0,
        ..QueuePolicy::default()
    };
    let queue = queue_on(&server, &topic, every.clone()).await;
    let both = [named("x", "a"), named("x", "b")];
    server.broker.publish(&topic, &both).await.unwrap();
    assert_eq!(done(&queue).await, ["a", "b"]);
    queue.alter(QueuePolicy::default()).await.unwrap();
    server.broker.publish(&topic, &both).await.unwrap();
    assert_eq!(done(&queue).await, ["a"]);
    queue.alter(every).await.unwrap();
    server.broker.publish(&topic, &both).await.unwrap();
    assert_eq!(done(&queue).await, ["a", "b"]);
}

/// Their ids are of a first life, in which one message was of two queues.
#[tokio::test]
async fn letters_of_two_queues_about_one_message_are_both_taken() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let mut queues = Vec::new();
    for name in ["mail", "bill"] {
        let new = NewQueue {
            dead_letter_topic: Some("work.dead".to_owned()),
            ..new_queue(name, &topic, retrying(1))
        };
        queues.push(server.broker.create_queue(new).await.unwrap());
    }
    let sent = [named("x", "a")];
    server.broker.publish(&topic, &sent).await.unwrap();
    for queue in &queues {
        let (received, _held) = queue.receive(asking(1, 5_000)).await.unwrap();
        queue.reject(&[received[0].receipt]).await.unwrap();
    }
    eventually("both letters are written", async || {
        dead(&server).await.len() == 2
    })
    .await;
    let letters = server.broker.topic("work.dead").unwrap();
    let of_the_dead = queue_on(&server, &letters, QueuePolicy::default()).await;
    assert_eq!(done(&of_the_dead).await, ["a", "a"]);
}

/// What one look finds out may be more than one commit can hold where the disk is small.
#[tokio::test]
async fn many_ids_at_once_are_no_matter_of_the_size_of_journal_files() {
    let small = |settings: &mut BrokerSettings| settings.slot.journal_file_bytes = 256 << 10;
    let server = Server::start_with(small).await;
    let partition = server.partition("orders", &[]).await;
    let ids: Vec<String> = (0..20_000).map(|id| id.to_string()).collect();
    for some in ids.chunks(1_000) {
        let records: Vec<_> = some.iter().map(|id| (Some(&**id), "")).collect();
        server
            .append(&partition, packed(Codec::None, &records))
            .await
            .unwrap();
    }
    let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    let (received, _held) = queue.receive(asking(1, 5_000)).await.unwrap();
    assert_eq!(received.len(), 1);
    ack(&queue, &received).await;
    eventually("all are looked at", async || {
        queue.purge().await.unwrap();
        queue.describe().unwrap().depth.open == 0
    })
    .await;
}
