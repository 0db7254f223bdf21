//! Queues that refuse what would make them too long, whichever way it comes.

use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_broker::queues::policy::{LengthPolicy, Overflow, QueuePolicy};
use millstream_broker::queues::{QueueError, QueueHandle, Redrive};

use super::queues::{ack, asking, dead, drain, message, new_queue, publish, queue_on, retrying};
use super::routes::from_topic;
use super::*;

fn refusing(records_max: u64) -> QueuePolicy {
    QueuePolicy {
        length: Some(LengthPolicy {
            records_max,
            overflow: Overflow::Refuse,
        }),
        ..QueuePolicy::default()
    }
}

async fn ack_one(queue: &QueueHandle) {
    let (received, _held) = queue.receive(asking(1, 1_000)).await.unwrap();
    ack(queue, &received).await;
}

/// Makes dead letters of the queue's messages, which are so many.
async fn reject_all(queue: &QueueHandle, count: u64) {
    let received = drain(queue, 100).await;
    let receipts: Vec<_> = received.iter().map(|one| one.receipt).collect();
    queue.reject(&receipts).await.unwrap();
    super::queues::eventually("the letters are written", async || {
        queue.describe().unwrap().totals.dead_lettered == count
    })
    .await;
}

fn is_full<T: std::fmt::Debug>(result: &Result<T, BrokerError>) {
    assert!(
        matches!(result, Err(BrokerError::QueueFull { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_published() {
    for settings in KINDS {
        let server = Server::start().await;
        let topic = server.topic("orders", 2, settings).await;
        let queue = queue_on(&server, &topic, refusing(2)).await;
        publish(&server, &topic, 2).await;
        is_full(&server.broker.publish(&topic, &[message("x")]).await);
        ack_one(&queue).await;
        let two = [message("x"), message("y")];
        is_full(&server.broker.publish(&topic, &two).await);
        let three = [message("x"), message("y"), message("z")];
        let never = server.broker.publish(&topic, &three).await;
        assert!(
            matches!(never, Err(BrokerError::TooManyForQueue { records: 3, .. })),
            "{never:?}"
        );
        publish(&server, &topic, 1).await;
        // Other topics are no concern of it.
        let other = server.topic("other", 1, settings).await;
        publish(&server, &other, 9).await;
        queue.alter(refusing(3)).await.unwrap();
        publish(&server, &topic, 1).await;
        is_full(&server.broker.publish(&topic, &[message("x")]).await);
        queue.delete().await.unwrap();
        publish(&server, &topic, 9).await;
    }
}

/// One that is sent and not yet durable has its place too.
#[tokio::test]
async fn a_full_queue_refuses_batches_also_while_others_are_under_way() {
    let server = Server::start().await;
    let partition = server.partition("orders", &[]).await;
    let queue = queue_on(&server, partition.topic(), refusing(4)).await;
    let first = server.broker.append(&partition, batch(&["a", "b", "c"]));
    let too_many = server.broker.append(&partition, batch(&["d", "e"]));
    is_full(&too_many);
    first.unwrap().durable().await.unwrap();
    is_full(&server.append(&partition, batch(&["d", "e"])).await);
    let unpacked = server
        .broker
        .append_unpacked(&partition, batch(&["d", "e"]));
    is_full(&unpacked.await);
    server.append(&partition, batch(&["d"])).await.unwrap();
    is_full(&server.append(&partition, batch(&["e"])).await);
    ack_one(&queue).await;
    server.append(&partition, batch(&["e"])).await.unwrap();
    assert_eq!(queue.describe().unwrap().depth.open, 4);
}

/// What a producer sends again, because no answer came, is there: to refuse it would be a lie.
#[tokio::test]
async fn a_full_queue_takes_what_it_has_already() {
    let server = Server::start().await;
    let partition = server.partition("orders", &[]).await;
    let copy = server.partition("copy", &[]).await;
    let route = from_topic("copies", "orders", &["copy"]);
    server.broker.routes().create(route).await.unwrap();
    let queue = queue_on(&server, copy.topic(), refusing(2)).await;
    let (producer, _) = server.broker.init_producer_id().await.unwrap();
    let first = || batch_by(producer, 0, 0, &["a", "b"]);
    let appended = server.append(&partition, first()).await.unwrap();
    let again = server.append(&partition, first()).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.base_offset, appended.base_offset);
    let next = || batch_by(producer, 0, 2, &["c"]);
    is_full(&server.append(&partition, next()).await);
    ack_one(&queue).await;
    server.append(&partition, next()).await.unwrap();
}

#[tokio::test]
async fn a_publish_that_a_route_leads_to_a_full_queue_is_refused_as_a_whole() {
    let server = Server::start().await;
    let partition = server.partition("orders", &[]).await;
    let topic = partition.topic();
    let mails = server.partition("mails", &[]).await;
    let copy = server.partition("copy", &[]).await;
    let route = from_topic("both", "orders", &["copy", "mails"]);
    server.broker.routes().create(route).await.unwrap();
    let queue = queue_on(&server, mails.topic(), refusing(2)).await;
    server.append(&partition, batch(&["a", "b"])).await.unwrap();
    is_full(&server.append(&partition, batch(&["c"])).await);
    is_full(&server.broker.publish(topic, &[message("c")]).await);
    for partition in [&partition, &copy, &mails] {
        assert_eq!(partition.offsets().log_end, Offset(2));
    }

    // What is published with an acknowledgement goes the same ways.
    let other = server.topic("other", 1, &[]).await;
    publish(&server, &other, 1).await;
    let new = new_queue("others", &other, QueuePolicy::default());
    let others = server.broker.create_queue(new).await.unwrap();
    let (received, _held) = others.receive(asking(1, 1_000)).await.unwrap();
    let receipts = [received[0].receipt];
    let publishing = [(Arc::clone(topic), vec![message("c")])];
    let refused = others.ack_and_publish(&receipts, &publishing).await;
    assert!(
        matches!(
            refused,
            Err(QueueError::Broker(BrokerError::QueueFull { .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(others.describe().unwrap().depth.leased, 1);
    ack_one(&queue).await;
    let published = others.ack_and_publish(&receipts, &publishing).await;
    assert_eq!(published.unwrap()[0][0].offset, Offset(2));
    assert_eq!(mails.offsets().log_end, Offset(3));
}

#[tokio::test]
async fn a_redrive_moves_as_many_as_a_queue_has_room_for() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let policy = QueuePolicy {
        length: refusing(10).length,
        ..retrying(1)
    };
    let queue = queue_on(&server, &topic, policy).await;
    publish(&server, &topic, 10).await;
    reject_all(&queue, 10).await;
    publish(&server, &topic, 3).await;
    let redriven = queue.redrive(&Redrive::default()).await.unwrap();
    assert_eq!(redriven.moved, 7);
    is_full(&Err::<(), _>(of_broker(redriven.stopped.unwrap())));
    assert_eq!(queue.describe().unwrap().depth.open, 10);
    let refused = queue.redrive(&Redrive::default()).await.unwrap_err();
    is_full(&Err::<(), _>(of_broker(refused)));
    ack_one(&queue).await;
    ack_one(&queue).await;
    let one = Redrive {
        max: Some(1),
        ..Redrive::default()
    };
    let redriven = queue.redrive(&one).await.unwrap();
    assert!(
        redriven.moved == 1 && redriven.stopped.is_none(),
        "{redriven:?}"
    );
    assert_eq!(queue.describe().unwrap().depth.open, 9);
    assert_eq!(dead(&server).await.len(), 2);
}

#[tokio::test]
async fn a_redrive_moves_as_many_as_a_memory_topic_has_room_for() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    let messages = vec![message(&"x".repeat(1_000)); 100];
    server.broker.publish(&topic, &messages).await.unwrap();
    reject_all(&queue, 100).await;
    let settings = [
        ("millstream.durability", "memory"),
        ("millstream.memory.bytes", "20000"),
        ("millstream.memory.overflow", "refuse"),
    ];
    let redrive = Redrive {
        to: Some(server.topic("by-hand", 1, &settings).await),
        ..Redrive::default()
    };
    let redriven = queue.redrive(&redrive).await.unwrap();
    assert!((10..20).contains(&redriven.moved), "{redriven:?}");
    let stopped = of_broker(redriven.stopped.unwrap());
    assert!(
        matches!(stopped, BrokerError::MemoryFull { .. }),
        "{stopped}"
    );
    assert_eq!(dead(&server).await.len() as u64, 100 - redriven.moved);
}

/// What does not fit however few go with it is no want of room.
#[tokio::test]
async fn letters_that_are_larger_than_a_memory_topic_hold_up_no_other() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    let mut messages = vec![message("x"); 10];
    for large in [4, 5, 9] {
        messages[large] = message(&"x".repeat(30_000));
    }
    server.broker.publish(&topic, &messages).await.unwrap();
    reject_all(&queue, 10).await;
    let settings = [
        ("millstream.durability", "memory"),
        ("millstream.memory.bytes", "20000"),
    ];
    let redrive = Redrive {
        to: Some(server.topic("by-hand", 1, &settings).await),
        ..Redrive::default()
    };
    let redriven = queue.redrive(&redrive).await.unwrap();
    assert_eq!((redriven.moved, redriven.refused), (7, 3));
    assert!(redriven.stopped.is_none(), "{redriven:?}");
    assert_eq!(dead(&server).await.len(), 3);
}

/// Counts warnings about letters that are refused.
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().ends_with("redrive") && *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, _event: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _from: &tracing::span::Id) {}
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

/// However often a step has to be made smaller.
#[tokio::test]
async fn each_letter_that_is_refused_is_told_once() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let policy = QueuePolicy {
        length: refusing(10).length,
        ..retrying(1)
    };
    let queue = queue_on(&server, &topic, policy).await;
    let mut messages = vec![message("x"); 10];
    messages[0] = message(&"x".repeat(5_000));
    server.broker.publish(&topic, &messages).await.unwrap();
    reject_all(&queue, 10).await;
    publish(&server, &topic, 7).await;
    super::queues::bound(&server, "orders", "1000").await;
    let told = Arc::new(AtomicUsize::new(0));
    let subscriber = tracing::subscriber::set_default(Warnings(Arc::clone(&told)));
    let redriven = queue.redrive(&Redrive::default()).await.unwrap();
    drop(subscriber);
    assert_eq!((redriven.moved, redriven.refused), (3, 1));
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

fn of_broker(error: QueueError) -> BrokerError {
    match error {
        QueueError::Broker(error) => error,
        other => panic!("{other}"),
    }
}

/// Nobody comes between the answer that there is room and the append.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_publish_at_once_a_queue_is_filled_to_its_bound_and_no_further() {
    for settings in KINDS {
        let server = Server::start().await;
        let topic = server.topic("orders", 2, settings).await;
        let queue = queue_on(&server, &topic, refusing(500)).await;
        let publisher = |n: usize| {
            let (broker, topic) = (server.broker.clone(), Arc::clone(&topic));
            async move {
                for _ in 0..500 {
                    let refused = if n.is_multiple_of(2) {
                        let begun = broker.begin_publish(&topic, &[message("x")]).await;
                        begun.err()
                    } else {
                        let partition = topic.partition(1).unwrap();
                        broker.append(&partition, batch(&["x"])).err()
                    };
                    if let Some(error) = refused {
                        return is_full(&Err::<(), _>(error));
                    }
                }
            }
        };
        let publishers: Vec<_> = (0..8).map(|n| tokio::spawn(publisher(n))).collect();
        for publisher in publishers {
            publisher.await.unwrap();
        }
        super::queues::eventually("everything is durable", async || {
            let partitions = topic.partitions();
            let mut offsets = partitions.iter().map(PartitionHandle::offsets);
            offsets.all(|offsets| offsets.log_end == offsets.last_stable)
        })
        .await;
        assert_eq!(queue.describe().unwrap().depth.open, 500, "{settings:?}");
    }
}
