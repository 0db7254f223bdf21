//! The machine, by transcripts and by properties.

mod dedup;
mod disk;
mod everything;
mod ids_room;
mod log;
mod model;
mod properties;
mod size;
mod transcript;
mod words;
mod world;

use std::sync::Arc;

use millstream_record::{Offset, TimestampMs};

use super::{Content, Effects, PartitionBounds, Patience, Queue, Receive, ScannedBatch, Setup};
use crate::queues::ids::{ConsumerId, Incarnation, RequestToken};
use crate::queues::policy::{Access, QueuePolicy};

fn setup(policy: QueuePolicy, partitions: Vec<PartitionBounds>, incarnation: u32) -> Setup {
    Setup {
        policy,
        partitions,
        incarnation: Incarnation(incarnation),
        seed: 7,
        ids: Arc::default(),
    }
}

fn bounds(start: i64, end: i64) -> PartitionBounds {
    PartitionBounds {
        start: Offset(start),
        end: Offset(end),
    }
}

/// Batches that were appended after the queue was told where the log ends are no gaps, and come in later.
#[test]
fn what_a_scan_finds_beyond_the_end_is_left_for_the_next_one() {
    let mut effects = Effects::default();
    let setup = setup(QueuePolicy::default(), vec![bounds(0, 3)], 1);
    let mut queue = Queue::create(setup, ms(0), &mut effects);
    let batches = [(0, 2), (3, 5), (6, 8), (9, 9)].map(|(first, last)| ScannedBatch {
        first: Offset(first),
        last: Offset(last),
        content: Content::Whole { newest: ms(0) },
    });
    let request = effects.scans.pop().unwrap();
    queue.scanned(&request, Offset(10), &batches, ms(0), &mut effects);
    assert_eq!((queue.depth(None).ready, queue.totals().skipped), (3, 0));
    queue.appended(0, Offset(10), ms(0), &mut effects);
    let request = effects.scans.pop().unwrap();
    assert_eq!(request.from, Offset(3));
    queue.scanned(&request, Offset(10), &batches[1..], ms(0), &mut effects);
    assert_eq!((queue.depth(None).ready, queue.totals().skipped), (10, 0));
}

/// Somebody who waits behind the active consumer costs no more than a look now and then, however long that one works.
#[test]
fn the_active_consumer_is_not_looked_at_while_it_holds_something() {
    let policy = QueuePolicy {
        access: Access::SingleActive,
        consumer_idle_ms: 10,
        ..QueuePolicy::default()
    };
    let mut effects = Effects::default();
    let mut queue = Queue::create(setup(policy, vec![bounds(0, 3)], 1), ms(0), &mut effects);
    let batch = ScannedBatch {
        first: Offset(0),
        last: Offset(2),
        content: Content::Whole { newest: ms(0) },
    };
    let request = effects.scans.pop().unwrap();
    queue.scanned(&request, Offset(3), &[batch], ms(0), &mut effects);
    for consumer in [1, 2] {
        let request = Receive {
            token: RequestToken(consumer),
            consumer: ConsumerId(consumer),
            max: 1,
            visibility_ms: 100_000,
            patience: Patience::Until(ms(200_000)),
        };
        queue.receive(request, ms(0), &mut effects).unwrap();
    }
    let mut looks = 0;
    while effects.deliveries.len() < 2 {
        let next = queue.next_deadline().unwrap();
        queue.expire(next, &mut effects);
        looks += 1;
    }
    assert_eq!(effects.deliveries[1].deadline, ms(200_010));
    assert!(looks < 20, "{looks} looks");
}

fn ms(time: i64) -> TimestampMs {
    TimestampMs(time)
}
