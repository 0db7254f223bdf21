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

use super::{Content, Effects, PartitionBounds, Queue, ScannedBatch, Setup};
use crate::queues::ids::Incarnation;
use crate::queues::policy::QueuePolicy;

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

fn ms(time: i64) -> TimestampMs {
    TimestampMs(time)
}
