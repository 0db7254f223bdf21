//! What a queue takes in memory: bits for what is leased in order, nothing for what merely lies in the log.

use std::num::NonZeroU32;

use millstream_record::Offset;

use super::{bounds, ms, setup};
use crate::queues::ids::{ConsumerId, Receipt, RequestToken};
use crate::queues::machine::{
    Answers, Content, Effects, Patience, Queue, Receive, ScannedBatch, ScannedRecord, Write,
};
use crate::queues::policy::{
    Backoff, KeyPolicy, LengthPolicy, Look, Overflow, QueuePolicy, RetryPolicy,
};

const MILLION: i64 = 1_000_000;

fn queue(policy: QueuePolicy, end: i64) -> (Queue, Effects) {
    let mut effects = Effects::default();
    let queue = Queue::create(setup(policy, vec![bounds(0, end)], 1), ms(0), &mut effects);
    (queue, effects)
}

/// Answers the queue's questions about a log of so many records, each made by `record`.
fn look(queue: &mut Queue, effects: &mut Effects, record: &impl Fn(Offset) -> ScannedRecord) {
    while let Some(request) = effects.scans.pop() {
        let to = request.from.get() + (request.records as i64).min(10_000);
        let to = Offset(to.min(MILLION));
        let offsets = (request.from.get()..to.get()).map(Offset);
        let records: Vec<ScannedRecord> = offsets.map(record).collect();
        let batch = ScannedBatch {
            first: request.from,
            last: to - 1,
            content: match request.look {
                Look::Inside => Content::Records(&records),
                Look::Past | Look::ForIds => Content::Whole { newest: ms(0) },
            },
        };
        queue.scanned(&request, to, &[batch], ms(0), effects);
        effects.writes.clear();
    }
}

fn plain(offset: Offset) -> ScannedRecord {
    ScannedRecord::new(offset, ms(0))
}

fn receive(queue: &mut Queue, effects: &mut Effects) {
    let request = Receive {
        token: RequestToken(1),
        consumer: ConsumerId(1),
        max: 100,
        visibility_ms: 30_000,
        patience: Patience::Until(ms(0)),
    };
    queue.receive(request, ms(0), effects).unwrap();
}

/// Ten million may take 100 MB; here it is one.
#[test]
fn a_million_outstanding_take_few_bytes_each() {
    let (mut queue, mut effects) = queue(QueuePolicy::default(), MILLION);
    let empty = queue.heap_bytes();
    assert!(empty < 2_000, "a backlog costs nothing: {empty} bytes");
    let mut receipts: Vec<Receipt> = Vec::new();
    while queue.depth(None).leased < MILLION as u64 {
        look(&mut queue, &mut effects, &plain);
        receive(&mut queue, &mut effects);
        for delivery in effects.deliveries.drain(..) {
            for part in delivery.parts {
                let receipt = |offset| Receipt::new(delivery.lease, part.partition, offset);
                receipts.extend(part.run.offsets().map(receipt));
            }
        }
    }
    receipts.retain(|receipt| receipt.offset.get() * 7_919 % 1_000 < 500);
    for batch in receipts.chunks(100) {
        queue.ack(batch, ms(0), &mut Answers::new(), &mut effects);
        effects.writes.clear();
    }
    assert_eq!(queue.depth(None).leased, 500_000);
    let bytes = queue.heap_bytes() - empty;
    assert!(bytes < 4_000_000, "{bytes} bytes");

    // All that are left come back at once: neighbours share what is remembered of them.
    while queue.next_deadline().is_some_and(|next| next <= ms(60_000)) {
        queue.expire(ms(60_000), &mut effects);
        effects.writes.clear();
    }
    assert_eq!(queue.depth(None).ready, 500_000);
    let bytes = queue.heap_bytes() - empty;
    assert!(bytes < 4_000_000, "{bytes} bytes after they have come back");
}

#[test]
fn a_million_delayed_take_less_than_64_bytes_each() {
    let policy = QueuePolicy {
        delays: true,
        ..QueuePolicy::default()
    };
    let (mut queue, mut effects) = queue(policy, MILLION);
    let empty = queue.heap_bytes();
    let delayed = |offset: Offset| ScannedRecord {
        deliver_at: Some(ms(1 + offset.get() * 7_919 % 3_600_000)),
        ..plain(offset)
    };
    look(&mut queue, &mut effects, &delayed);
    assert_eq!(queue.depth(None).parked, MILLION as u64);
    let bytes = (queue.heap_bytes() - empty) as i64;
    assert!(bytes < 40 * MILLION, "{} bytes each", bytes / MILLION);
}

/// What ends before its time counts no more for how much the queue knows ahead: it would look at nothing further.
#[test]
fn delayed_records_that_end_early_leave_no_timers_behind() {
    let ends: [fn(&mut Queue, &mut Effects); 4] = [
        |queue, effects| {
            queue.trimmed(0, Offset(MILLION - 10_000), ms(0), effects);
        },
        |queue, effects| {
            let offsets: Vec<Offset> = (0..MILLION - 10_000).map(Offset).collect();
            queue.gone(0, &offsets, ms(0), effects);
        },
        |queue, effects| {
            queue.damaged(0, Offset(0), Offset(MILLION - 10_000), ms(0), effects);
        },
        |queue, effects| {
            let length = LengthPolicy {
                records_max: 10_000,
                overflow: Overflow::DropOldest,
            };
            let policy = QueuePolicy {
                length: Some(length),
                ..queue.policy().clone()
            };
            queue.set_policy(policy, ms(0), effects);
            while queue.depth(None).open > 10_000 {
                queue.expire(ms(0), effects);
            }
        },
    ];
    for end in ends {
        let policy = QueuePolicy {
            delays: true,
            ..QueuePolicy::default()
        };
        let (mut queue, mut effects) = queue(policy, MILLION);
        let delayed = |offset: Offset| ScannedRecord {
            deliver_at: Some(ms(3_600_000)),
            ..plain(offset)
        };
        look(&mut queue, &mut effects, &delayed);
        assert_eq!(queue.scheduled, MILLION as usize);
        end(&mut queue, &mut effects);
        assert_eq!(queue.depth(None).parked, 10_000);
        assert!(queue.scheduled < 20_000, "{} timers", queue.scheduled);
        assert_eq!(queue.scheduled, queue.wheel.len());
    }
}

#[test]
fn acknowledged_records_leave_no_times_to_live_behind() {
    let policy = QueuePolicy {
        ttl_ms: Some(86_400_000),
        window_records: 1_000,
        ..QueuePolicy::default()
    };
    let (mut queue, mut effects) = queue(policy, MILLION);
    look(&mut queue, &mut effects, &plain);
    let mut bytes_max = 0;
    while queue.depth(None).open > 0 {
        receive(&mut queue, &mut effects);
        let lease = effects.deliveries.pop().unwrap().lease;
        queue.ack_lease(lease, ms(0), &mut effects);
        effects.writes.clear();
        look(&mut queue, &mut effects, &plain);
        bytes_max = bytes_max.max(queue.heap_bytes());
    }
    assert!(bytes_max < 1_500_000, "{bytes_max} bytes");
    assert_eq!(queue.expiring, queue.wheel.len());
}

#[test]
fn a_purge_leaves_nothing_that_rests() {
    let policy = QueuePolicy {
        retry: RetryPolicy {
            backoff: Backoff::Fixed {
                delay_ms: 3_600_000,
            },
            ..RetryPolicy::default()
        },
        ..QueuePolicy::default()
    };
    let (mut queue, mut effects) = queue(policy, MILLION);
    look(&mut queue, &mut effects, &plain);
    receive(&mut queue, &mut effects);
    queue.expire(ms(30_000), &mut effects);
    assert_eq!((queue.resting.len(), queue.wheel.len()), (1, 1));
    assert_eq!(
        queue.purge(ms(30_000), &mut effects),
        MILLION as u64,
        "what rests is purged too"
    );
    assert_eq!((queue.resting.len(), queue.wheel.len()), (0, 0));
}

/// However long the backlog, a queue with order by key knows no more than its window.
#[test]
fn order_by_key_takes_memory_for_the_window_only() {
    let policy = QueuePolicy {
        keys: Some(KeyPolicy {
            in_flight_max: NonZeroU32::MIN,
            interval_ms: 0,
        }),
        ..QueuePolicy::default()
    };
    let window = policy.window_records;
    let (mut queue, mut effects) = queue(policy, MILLION);
    let keyed = |offset: Offset| ScannedRecord {
        key: Some(offset.get() as u64 % 50_000),
        ..plain(offset)
    };
    look(&mut queue, &mut effects, &keyed);
    let depth = queue.depth(None);
    let ahead = (depth.ready + depth.behind_key) as usize;
    assert!((window..window + 10_000).contains(&ahead), "{depth:?}");
    assert!(
        queue.heap_bytes() < window * 200,
        "{} bytes",
        queue.heap_bytes()
    );
}

/// Ten thousand of them are ordinary.
#[test]
fn a_queue_at_rest_takes_next_to_nothing() {
    let (mut queue, mut effects) = queue(QueuePolicy::default(), 1_000);
    look(&mut queue, &mut effects, &plain);
    while queue.depth(None).open > 0 {
        receive(&mut queue, &mut effects);
        let lease = effects.deliveries.pop().unwrap().lease;
        assert_eq!(queue.ack_lease(lease, ms(0), &mut effects), 100);
    }
    queue.rest();
    let bytes = queue.heap_bytes() + size_of::<Queue>();
    assert!(bytes < 8_000, "{bytes} bytes");
}

/// State that was damaged in a way its encoding does not show must not cost memory, nor finish what is to come.
#[test]
fn what_is_written_of_offsets_beyond_the_end_is_not_believed() {
    let stored = [
        Write::Cursor {
            partition: 0,
            low: Offset(20),
        },
        Write::Block {
            partition: 0,
            block: 0,
            done: [u64::MAX; 16],
        },
        Write::Block {
            partition: 0,
            block: 1 << 44,
            done: [1; 16],
        },
        Write::Finished {
            partition: 0,
            chunk: 1 << 38,
        },
    ];
    let mut effects = Effects::default();
    let setup = setup(QueuePolicy::default(), vec![bounds(0, 100)], 2);
    let mut queue = Queue::restore(setup, stored, ms(0), &mut effects);
    assert_eq!(queue.low_water_mark(0), Some(Offset(100)));
    assert!(queue.heap_bytes() < 8_000);
    queue.appended(0, Offset(130), ms(0), &mut effects);
    look(&mut queue, &mut effects, &plain);
    assert_eq!(queue.depth(None).open, 30);
}
