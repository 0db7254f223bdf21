//! Fetching: bounds, waiting, and what a reader is told.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use millstream_broker::streams::{FetchPart, Isolation};
use millstream_record::LeaderEpoch;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn spec(
    parts: Vec<FetchPart>,
    max_bytes: usize,
    min_bytes: usize,
    max_wait: Duration,
) -> FetchSpec {
    FetchSpec {
        parts,
        max_bytes,
        min_bytes,
        max_wait,
        isolation: Isolation::default(),
    }
}

fn part(partition: &PartitionHandle, from: i64) -> FetchPart {
    FetchPart::of(partition, Offset(from), 1 << 20)
}

/// Runs `future` to its end and counts how often it was polled.
async fn polls<T>(future: impl Future<Output = T>) -> (T, u32) {
    let mut future = pin!(future);
    let mut polls = 0;
    let output = std::future::poll_fn(|context| {
        polls += 1;
        future.as_mut().poll(context)
    })
    .await;
    (output, polls)
}

#[tokio::test]
async fn a_batch_comes_whole_wherever_reading_starts() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        server
            .append(&partition, batch(&["0", "1", "2"]))
            .await
            .unwrap();
        server.append(&partition, batch(&["3", "4"])).await.unwrap();
        assert_eq!(
            server.values(&partition, 0).await,
            ["0", "1", "2", "3", "4"]
        );
        assert_eq!(
            server.values(&partition, 2).await,
            ["0", "1", "2", "3", "4"]
        );
        assert_eq!(server.values(&partition, 3).await, ["3", "4"]);
        assert!(server.values(&partition, 5).await.is_empty());
        for outside in [-1, 6] {
            let error = server.fetch(&partition, outside).await.unwrap_err();
            let BrokerError::OffsetOutOfRange {
                log_start,
                high_watermark,
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!((log_start, high_watermark), (Offset(0), Offset(5)));
        }
    }
}

#[tokio::test]
async fn sizes_are_bounded_but_for_the_first_batch() {
    for kind in KINDS {
        let server = Server::start().await;
        let topic = server.topic("a", 3, kind).await;
        let parts = topic.partitions();
        let value = "x".repeat(900);
        for partition in &parts {
            server.publish(partition, &[&value, &value, &value]).await;
        }
        let size = batch(&[&value]).len();
        let sizes = async |order: [usize; 3], per_part: usize, max_bytes: usize| {
            let asked = order.map(|n| FetchPart::of(&parts[n], Offset(0), per_part));
            let fetched = server
                .broker
                .fetch(spec(asked.into(), max_bytes, 1, LONG))
                .await;
            fetched
                .iter()
                .map(|part| part.result.as_ref().unwrap().batches().count())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes([0, 1, 2], 1 << 20, 1 << 20).await, [3, 3, 3]);
        assert_eq!(sizes([0, 1, 2], 2 * size, 1 << 20).await, [2, 2, 2]);
        assert_eq!(sizes([0, 1, 2], 1 << 20, 4 * size).await, [3, 1, 0]);
        // One batch is always returned, of the first partition that has one.
        assert_eq!(sizes([2, 1, 0], 1, 1).await, [1, 0, 0]);
        assert_eq!(sizes([0, 1, 2], 0, 0).await, [1, 0, 0]);
        assert_eq!(sizes([0, 1, 2], size - 1, 1 << 20).await, [1, 0, 0]);
    }
}

#[tokio::test]
async fn nothing_is_waited_for_when_there_is_enough() {
    let server = Server::start().await;
    let topic = server.topic("a", 2, &[]).await;
    server.publish(&topic.partition(1).unwrap(), &["x"]).await;
    let parts = topic
        .partitions()
        .iter()
        .map(|partition| part(partition, 0))
        .collect();
    let fetched = server.broker.fetch(spec(parts, 1 << 20, 1, LONG)).await;
    assert_eq!(fetched[1].partition.index(), 1);
    assert_eq!(values(fetched[1].result.as_ref().unwrap()), ["x"]);
    // Nothing wanted, nothing to read from, or no time to wait.
    let empty = topic.partition(0).unwrap();
    server
        .broker
        .fetch(spec(vec![part(&empty, 0)], 1 << 20, 0, LONG))
        .await;
    server
        .broker
        .fetch(spec(Vec::new(), 1 << 20, 1, LONG))
        .await;
    server
        .broker
        .fetch(spec(vec![part(&empty, 0)], 1 << 20, 1, Duration::ZERO))
        .await;
}

#[tokio::test]
async fn a_waiting_fetch_sleeps_until_something_comes() {
    for kind in KINDS {
        let server = Server::start().await;
        let topic = server.topic("a", 100, kind).await;
        let parts: Vec<_> = topic
            .partitions()
            .iter()
            .map(|partition| part(partition, 0))
            .collect();
        let fetch = server.broker.fetch(spec(parts, 1 << 20, 1, LONG));
        let append = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.publish(&topic.partition(57).unwrap(), &["x"]).await;
        };
        let ((fetched, polls), ()) = tokio::join!(polls(fetch), append);
        assert_eq!(values(fetched[57].result.as_ref().unwrap()), ["x"]);
        // `join!` polls both whenever either is woken, so a few polls are not the fetch's own.
        assert!(polls < 20, "{polls} polls");
    }
}

#[tokio::test]
async fn a_fetch_waits_for_as_much_as_it_wants() {
    for kind in KINDS {
        let server = Server::start().await;
        let topic = server.topic("a", 2, kind).await;
        let value = "x".repeat(1_000);
        let parts: Vec<_> = topic
            .partitions()
            .iter()
            .map(|partition| part(partition, 0))
            .collect();
        let fetch = tokio::spawn({
            let broker = server.broker.clone();
            async move { broker.fetch(spec(parts, 1 << 20, 9_000, LONG)).await }
        });
        for n in 0..8 {
            server
                .publish(&topic.partition(n % 2).unwrap(), &[&value])
                .await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(!fetch.is_finished());
        server
            .publish(&topic.partition(0).unwrap(), &[&value])
            .await;
        let fetched = fetch.await.unwrap();
        let counts: Vec<_> = fetched
            .iter()
            .map(|part| values(part.result.as_ref().unwrap()).len())
            .collect();
        assert_eq!(counts, [5, 4], "each batch once");
    }
}

#[tokio::test]
async fn waiting_ends_in_time() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    server.publish(&partition, &["x"]).await;
    let wait = Duration::from_millis(50);
    let (fetched, polls) = polls(server.broker.fetch(spec(
        vec![part(&partition, 0)],
        1 << 20,
        1 << 20,
        wait,
    )))
    .await;
    assert_eq!(
        values(fetched[0].result.as_ref().unwrap()),
        ["x"],
        "what there is comes, however little"
    );
    assert!(polls < 10, "{polls} polls");
}

#[tokio::test]
async fn a_waiting_fetch_is_told_of_a_deletion() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        let fetch = tokio::spawn({
            let (broker, partition) = (server.broker.clone(), partition.clone());
            async move {
                broker
                    .fetch(FetchSpec::of(&partition, Offset(0)).waiting(LONG))
                    .await
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        server
            .broker
            .delete_topic(partition.topic().id())
            .await
            .unwrap();
        let fetched = fetch.await.unwrap().remove(0);
        assert!(matches!(fetched.result, Err(BrokerError::UnknownPartition)));
    }
}

#[tokio::test]
async fn one_failure_ends_the_wait_for_all() {
    let server = Server::start().await;
    let topic = server.topic("a", 2, &[]).await;
    let parts = vec![
        part(&topic.partition(0).unwrap(), 0),
        part(&topic.partition(1).unwrap(), 99),
    ];
    let fetched = server.broker.fetch(spec(parts, 1 << 20, 1, LONG)).await;
    assert!(fetched[0].result.is_ok());
    assert!(matches!(
        fetched[1].result,
        Err(BrokerError::OffsetOutOfRange { .. })
    ));
}

#[tokio::test]
async fn a_wrong_leader_epoch_is_refused() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    server.publish(&partition, &["x"]).await;
    let current = partition.offsets().leader_epoch;
    let fetch = async |epoch: LeaderEpoch| {
        let asked = FetchPart {
            leader_epoch: Some(epoch),
            ..part(&partition, 0)
        };
        server
            .broker
            .fetch(spec(vec![asked], 1 << 20, 1, LONG))
            .await
            .remove(0)
            .result
    };
    assert!(fetch(current).await.is_ok());
    let unknown = fetch(LeaderEpoch(current.0 + 1)).await;
    assert!(matches!(
        unknown,
        Err(BrokerError::UnknownLeaderEpoch { .. })
    ));
    let fenced = fetch(LeaderEpoch(current.0 - 1)).await;
    assert!(matches!(fenced, Err(BrokerError::FencedLeaderEpoch { .. })));
}

#[tokio::test]
async fn a_reader_beyond_its_epochs_end_is_sent_back() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    server.publish(&partition, &["x", "y"]).await;
    let epoch = partition.offsets().leader_epoch;
    let fetch = async |from, last_fetched: LeaderEpoch| {
        let asked = FetchPart {
            last_fetched_epoch: Some(last_fetched),
            ..part(&partition, from)
        };
        server
            .broker
            .fetch(spec(vec![asked], 1 << 20, 1, Duration::ZERO))
            .await
            .remove(0)
            .result
    };
    assert!(fetch(1, epoch).await.unwrap().diverging.is_none());
    let beyond = fetch(3, epoch).await.unwrap();
    assert!(beyond.slices.is_empty());
    assert_eq!(beyond.diverging.unwrap().end, Offset(2));
    let never = fetch(1, LeaderEpoch(epoch.0 + 1)).await;
    assert!(matches!(never, Err(BrokerError::OffsetOutOfRange { .. })));
}

#[tokio::test]
async fn a_dropped_fetch_leaves_the_broker_as_it_was() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    for _ in 0..100 {
        let mut fetch = pin!(
            server
                .broker
                .fetch(FetchSpec::of(&partition, Offset(0)).waiting(LONG))
        );
        std::future::poll_fn(|context| {
            assert!(fetch.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    server.publish(&partition, &["x"]).await;
    assert_eq!(server.values(&partition, 0).await, ["x"]);
}
