//! Topics that drop what all their queues have finished.

use std::time::Duration;

use millstream_broker::queues::machine::Retry;
use millstream_broker::queues::{NewQueue, QueueHandle, QueuePolicy, Received, StartAt};

use super::queues::{ack, asking, drain, new_queue, queue_on};
use super::retention::{be_eager, eager, eventually};
use super::*;

const CONSUMED: [(&str, &str); 2] = [
    ("millstream.retention", "consumed"),
    ("retention.bytes", "100000000"),
];

/// 10,000 bytes each, a batch each.
async fn fill(server: &Server, partition: &PartitionHandle, count: usize) {
    for n in 0..count {
        let value = format!("{n:05}{}", "x".repeat(9_995));
        server.append(partition, batch(&[&value])).await.unwrap();
    }
}

fn bytes_in_packs(server: &Server) -> u64 {
    let files = std::fs::read_dir(server.directory.path().join("packs")).unwrap();
    let sizes = files.map(|file| file.unwrap().metadata().map_or(0, |file| file.len()));
    sizes.sum()
}

fn offsets(received: &[Received]) -> Vec<i64> {
    let mut offsets: Vec<i64> = received
        .iter()
        .map(|one| one.message.offset.get())
        .collect();
    offsets.sort_unstable();
    offsets
}

/// Receives everything and acknowledges all but what `keeps` says, which is handed back.
async fn work(queue: &QueueHandle, keeps: impl Fn(i64) -> bool) -> Vec<Received> {
    let received = drain(queue, 100).await;
    let (kept, done): (Vec<_>, Vec<_>) = received
        .into_iter()
        .partition(|one| keeps(one.message.offset.get()));
    ack(queue, &done).await;
    kept
}

async fn second_queue(server: &Server, topic: &Arc<TopicHandle>, start: StartAt) -> QueueHandle {
    let new = NewQueue {
        start,
        ..new_queue("second", topic, QueuePolicy::default())
    };
    server.broker.create_queue(new).await.unwrap()
}

fn log_start(partition: &PartitionHandle) -> i64 {
    partition.offsets().log_start.get()
}

#[tokio::test]
async fn what_is_done_behind_stragglers_gives_its_disk_back() {
    let server = eager().await;
    let partition = server.partition("jobs", &CONSUMED).await;
    let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    fill(&server, &partition, 500).await;
    eventually("settling", || bytes_in_packs(&server) > 4_500_000).await;

    let kept = work(&queue, |offset| [0, 250, 499].contains(&offset)).await;
    assert_eq!(offsets(&kept), [0, 250, 499]);
    eventually("the disk comes back", || bytes_in_packs(&server) < 500_000).await;
    assert_eq!(log_start(&partition), 0);

    // What is left is whole.
    let receipts: Vec<_> = kept.iter().map(|one| one.receipt).collect();
    queue.nack(&receipts, Retry::Now).await.unwrap();
    let again = drain(&queue, 100).await;
    assert_eq!(offsets(&again), [0, 250, 499]);
    assert!(again.iter().all(|one| {
        let value = one.message.value.as_deref().unwrap();
        value.starts_with(format!("{:05}", one.message.offset).as_bytes())
    }));
    ack(&queue, &again).await;
    eventually("the log starts at its end", || log_start(&partition) == 500).await;
    assert_eq!(queue.describe().unwrap().totals.lost, 0);
}

#[tokio::test]
async fn the_slowest_queue_decides_and_a_deleted_one_no_more() {
    let server = eager().await;
    let partition = server.partition("jobs", &CONSUMED).await;
    let topic = partition.topic();
    fill(&server, &partition, 200).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(log_start(&partition), 0, "there is no queue");

    let slow = second_queue(&server, topic, StartAt::Earliest).await;
    let fast = queue_on(&server, topic, QueuePolicy::default()).await;
    assert!(work(&fast, |_| false).await.is_empty());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(log_start(&partition), 0, "one queue needs it all");

    let (some, _) = slow.receive(asking(80, 1_000)).await.unwrap();
    ack(&slow, &some).await;
    eventually("what both have done goes", || log_start(&partition) == 80).await;
    let rest = drain(&slow, 100).await;
    assert_eq!(offsets(&rest), (80..200).collect::<Vec<_>>());
    ack(&slow, &rest[..20]).await;
    eventually("some more goes", || log_start(&partition) == 100).await;

    slow.delete().await.unwrap();
    eventually("nobody needs the rest", || log_start(&partition) == 200).await;
    assert_eq!(fast.describe().unwrap().totals.lost, 0);
}

#[tokio::test]
async fn a_later_queue_begins_with_what_is_left() {
    let server = eager().await;
    let partition = server.partition("jobs", &CONSUMED).await;
    let first = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    fill(&server, &partition, 200).await;
    eventually("settling", || bytes_in_packs(&server) > 1_500_000).await;
    work(&first, |offset| offset >= 150 || offset == 3).await;
    eventually("the disk comes back", || bytes_in_packs(&server) < 700_000).await;

    // What is gone from the disk may still be in memory.
    drop((first, partition));
    let server = server.restart().await;
    let (first, topic) = (
        server.broker.queue("work").unwrap(),
        &server.broker.topic("jobs").unwrap(),
    );
    let later = second_queue(&server, topic, StartAt::Earliest).await;
    let found = offsets(&work(&later, |_| true).await);
    assert_mostly_left(&found);
    let described = later.describe().unwrap();
    let open = found.len() as u64;
    assert_eq!((described.totals.lost, described.depth.open), (0, open));

    // One of its name that is made anew finds the same, and holds it.
    later.delete().await.unwrap();
    let again = second_queue(&server, topic, StartAt::Earliest).await;
    assert!(drain(&first, 100).await.is_empty());
    assert_mostly_left(&offsets(&work(&again, |_| true).await));
}

/// What is not done is there, and little else: how much of what is done stays depends on where packs happen to end.
fn assert_mostly_left(found: &[i64]) {
    let is_left = |offset: &i64| *offset == 3 || *offset >= 150;
    assert_eq!(found.iter().filter(|at| is_left(at)).count(), 51);
    assert!(found.len() < 70, "{found:?}");
}

#[tokio::test]
async fn what_was_done_before_a_restart_goes_after_it() {
    let server = Server::start().await;
    let partition = server.partition("jobs", &CONSUMED).await;
    let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    fill(&server, &partition, 300).await;
    let kept = work(&queue, |offset| offset == 7).await;
    drop((queue, partition));
    server.broker.shutdown().await.unwrap();
    let Server { broker, directory } = server;
    drop(broker);

    let mut settings = BrokerSettings::new(directory.path());
    be_eager(&mut settings);
    let broker = Broker::open(settings, Env::real()).await.unwrap();
    let server = Server { broker, directory };
    let partition = server.broker.topic("jobs").unwrap().partition(0).unwrap();
    let queue = server.broker.queue("work").unwrap();
    eventually("the disk comes back", || bytes_in_packs(&server) < 300_000).await;
    eventually("the front goes", || log_start(&partition) == 7).await;
    queue.nack(&[kept[0].receipt], Retry::Now).await.unwrap();
    assert_eq!(offsets(&drain(&queue, 10).await), [7]);
}

/// The bound is there for what no queue finishes, and what it takes is counted.
#[tokio::test]
async fn what_no_queue_finishes_is_bounded_in_bytes() {
    let server = eager().await;
    let settings = [
        ("millstream.retention", "consumed"),
        ("retention.bytes", "300000"),
    ];
    let partition = server.partition("jobs", &settings).await;
    let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    fill(&server, &partition, 100).await;
    eventually("the oldest go", || log_start(&partition) >= 65).await;
    let mut seen = -1;
    while seen != log_start(&partition) {
        seen = log_start(&partition);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(seen <= 75, "{:?}", partition.offsets());
    let left = drain(&queue, 100).await;
    assert_eq!(
        offsets(&left),
        (log_start(&partition)..100).collect::<Vec<_>>()
    );
    let totals = queue.describe().unwrap().totals;
    assert_eq!(totals.lost, log_start(&partition) as u64);
}

/// A partition that is added is read from its beginning by all queues, and nothing of it goes before.
#[tokio::test]
async fn partitions_that_are_added_are_held_too() {
    let server = eager().await;
    let topic = server.topic("jobs", 1, &CONSUMED).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    server.broker.add_partitions(topic.id(), 3).await.unwrap();
    let added = topic.partition(2).unwrap();
    fill(&server, &added, 50).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(log_start(&added), 0);
    work(&queue, |offset| offset >= 40).await;
    eventually("what is done goes", || log_start(&added) == 40).await;
}

#[tokio::test]
async fn a_memory_topic_begins_after_what_is_done() {
    let server = eager().await;
    let settings = [
        ("millstream.retention", "consumed"),
        ("millstream.durability", "memory"),
    ];
    let partition = server.partition("jobs", &settings).await;
    let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    fill(&server, &partition, 50).await;
    work(&queue, |offset| offset >= 40).await;
    eventually("what is done goes", || log_start(&partition) == 40).await;
    assert_eq!(queue.describe().unwrap().depth.open, 10);
}
