//! When batches close, where records go, and how much memory they may hold.

use millstream_record::{Codec, TimestampMs};

use super::*;

const LINGER: Duration = Duration::from_millis(10);

fn accumulator(config: &ProducerConfig) -> Accumulator {
    let accumulator = Accumulator::new(config);
    accumulator.learn(&"t".into(), 3);
    accumulator
}

fn lingering() -> ProducerConfig {
    ProducerConfig {
        linger: LINGER,
        batch_bytes: 400,
        ..ProducerConfig::default()
    }
}

fn record<'a>(key: Option<&'a str>, value: &'a str) -> NewRecord<'a> {
    NewRecord {
        timestamp: TimestampMs(0),
        key: key.map(str::as_bytes),
        value: Some(value.as_bytes()),
        headers: &[],
    }
}

async fn append(
    accumulator: &Accumulator,
    partition: Option<i32>,
    record: &NewRecord<'_>,
) -> Delivery {
    accumulator.reserve(size_bytes(record)).await.unwrap();
    accumulator.append("t", partition, record).unwrap()
}

fn due(accumulator: &Accumulator) -> Vec<QueueIndex> {
    let mut due = Vec::new();
    accumulator.collect_due(Instant::now(), &mut due);
    due
}

fn record_count(batch: &WaitingBatch) -> i32 {
    match &batch.content {
        Content::Records(builder) => builder.record_count(),
        Content::Batch(batch) => batch.header.record_count,
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_has_lingered() {
    let accumulator = accumulator(&lingering());
    append(&accumulator, Some(1), &record(None, "a")).await;
    append(&accumulator, Some(1), &record(None, "b")).await;
    assert!(due(&accumulator).is_empty());
    tokio::time::advance(LINGER).await;
    assert_eq!(due(&accumulator), [1]);
    assert_eq!(record_count(&accumulator.take(1).unwrap()), 2);
    assert!(accumulator.take(1).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once_and_the_next_begins() {
    let accumulator = accumulator(&lingering());
    let value = "x".repeat(100);
    let deliveries: Vec<_> = [0; 5].map(|_| record(None, &value)).to_vec();
    let mut indexes = Vec::new();
    for record in &deliveries {
        indexes.push(append(&accumulator, Some(0), record).await.index);
    }
    assert_eq!(indexes, [0, 1, 2, 0, 1]);
    assert_eq!(due(&accumulator), [0]);
    assert_eq!(record_count(&accumulator.take(0).unwrap()), 3);
    assert!(
        accumulator.take(0).is_none(),
        "the open batch still lingers"
    );
}

#[tokio::test(start_paused = true)]
async fn without_linger_a_batch_fills_until_it_is_taken() {
    let accumulator = accumulator(&ProducerConfig {
        linger: Duration::ZERO,
        ..lingering()
    });
    append(&accumulator, Some(2), &record(None, "a")).await;
    assert_eq!(due(&accumulator), [2]);
    append(&accumulator, Some(2), &record(None, "b")).await;
    assert_eq!(record_count(&accumulator.take(2).unwrap()), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_choose_partitions_and_the_others_stick_to_one() {
    let accumulator = accumulator(&lingering());
    let keyed = append(&accumulator, None, &record(Some("key"), "a")).await;
    let partition = partition_of_key(b"key", 3);
    let again = append(&accumulator, None, &record(Some("key"), "b")).await;
    assert!(Arc::ptr_eq(&keyed.outcome, &again.outcome));
    assert_eq!(
        accumulator.partition(partition as usize).partition,
        partition
    );

    let first = append(&accumulator, None, &record(None, "a")).await;
    let second = append(&accumulator, None, &record(None, "b")).await;
    assert!(Arc::ptr_eq(&first.outcome, &second.outcome));
    let wrong = accumulator
        .append("t", Some(3), &record(None, "a"))
        .unwrap_err();
    assert!(matches!(
        wrong,
        ClientError::NoSuchPartition {
            partition: 3,
            partitions: 3,
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_built_batch_keeps_its_place_among_records() {
    let accumulator = accumulator(&lingering());
    append(&accumulator, Some(0), &record(None, "before")).await;
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..7 {
        builder.append(&record(None, "built"));
    }
    let batch = builder.build().unwrap();
    accumulator.reserve(batch.bytes.len()).await.unwrap();
    accumulator
        .append_batch(&TopicPartition::new("t", 0), batch)
        .unwrap();
    append(&accumulator, Some(0), &record(None, "after")).await;
    accumulator.close_open_batches();
    let counts: Vec<_> = std::iter::from_fn(|| accumulator.take(0))
        .map(|batch| record_count(&batch))
        .collect();
    assert_eq!(counts, [1, 7, 1]);
}

#[tokio::test(start_paused = true)]
async fn memory_is_held_until_a_batch_is_finished() {
    let accumulator = accumulator(&ProducerConfig {
        buffer_bytes: 100,
        ..lingering()
    });
    append(&accumulator, Some(0), &record(None, &"x".repeat(50))).await;
    let waiting = tokio::time::timeout(Duration::from_secs(1), accumulator.reserve(50)).await;
    assert!(waiting.is_err(), "there is no room");
    // Who waits for room has what lingers sent.
    assert_eq!(due(&accumulator), [0]);
    let batch = accumulator.take(0).unwrap();
    accumulator.finish(batch.id, batch.reserved_bytes, None);
    accumulator.reserve(50).await.unwrap();
    let huge = accumulator.reserve(101).await.unwrap_err();
    assert!(matches!(
        huge,
        ClientError::RecordTooLarge {
            size_bytes: 101,
            max_bytes: 100
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_told_once() {
    let accumulator = accumulator(&lingering());
    append(&accumulator, Some(0), &record(None, "a")).await;
    accumulator.close_open_batches();
    let batch = accumulator.take(0).unwrap();
    accumulator.finish(batch.id, batch.reserved_bytes, Some(&ClientError::Closed));
    assert!(matches!(
        accumulator.take_failure(),
        Some(ClientError::Closed)
    ));
    assert!(accumulator.take_failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn shutting_fails_what_is_not_delivered() {
    let accumulator = accumulator(&lingering());
    let delivery = append(&accumulator, Some(0), &record(None, "a")).await;
    accumulator.shut(&ClientError::Closed);
    assert!(matches!(delivery.wait().await, Err(ClientError::Closed)));
    assert!(matches!(
        accumulator.append("t", Some(0), &record(None, "b")),
        Err(ClientError::Closed)
    ));
    assert!(matches!(
        accumulator.reserve(1).await,
        Err(ClientError::Closed)
    ));
}
