//! What was written is read back, and what is damaged is refused.

use millstream_record::{Offset, TimestampMs};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::queues::ids::ConsumerId;
use crate::queues::machine::{BlockBits, IdsImage, LeaseImage, Part, Run, SeenId, Span};

const QUEUE_ID: QueueId = QueueId(0x0102_0304_0506_0708);

fn offset() -> impl Strategy<Value = Offset> {
    (0..1_i64 << 45).prop_map(Offset)
}

fn time() -> impl Strategy<Value = TimestampMs> {
    any::<i64>().prop_map(TimestampMs)
}

fn block() -> impl Strategy<Value = BlockBits> {
    let sparse = vec(0..1_024_usize, 0..70).prop_map(|offsets| {
        let mut bits = BlockBits::default();
        offsets
            .iter()
            .for_each(|bit| bits[bit / 64] |= 1 << (bit % 64));
        bits
    });
    let prefix = (0..=1_024_usize).prop_map(|count| {
        let mut bits = BlockBits::default();
        (0..count).for_each(|bit| bits[bit / 64] |= 1 << (bit % 64));
        bits
    });
    prop_oneof![sparse, prefix, any::<BlockBits>()]
}

fn part() -> impl Strategy<Value = Part> {
    let words = vec(any::<u64>(), 1..20);
    (any::<u32>(), 0..10_u8, 0..1_i64 << 40, 0..1_000_u16, words).prop_map(
        |(partition, priority, chunk, first_word, words)| Part {
            partition,
            priority,
            run: Run::from_words(chunk, first_word, &words).unwrap(),
        },
    )
}

fn puts() -> impl Strategy<Value = Write> {
    let span = (any::<(u32, u16, u64)>(), 0..10_u8, time(), time()).prop_map(
        |((length, attempts, lease), priority, first_delivered, due)| Span {
            length,
            attempts,
            priority,
            lease: LeaseNumber(lease),
            first_delivered,
            due,
        },
    );
    let lease = (any::<(u64, u32, u64)>(), time(), time(), vec(part(), 0..4)).prop_map(
        |((number, piece, consumer), granted, deadline, parts)| {
            Write::Lease(LeaseImage {
                number: LeaseNumber(number),
                piece,
                consumer: ConsumerId(consumer),
                granted,
                deadline,
                parts: parts.into(),
            })
        },
    );
    let seen = (any::<u128>(), offset(), time()).prop_map(|(id, offset, timestamp)| SeenId {
        id,
        offset,
        timestamp,
    });
    let ids = (any::<u32>(), offset(), vec(seen, 0..5)).prop_map(|(partition, from, ids)| {
        Write::Ids(IdsImage {
            partition,
            from,
            ids,
        })
    });
    let number = 0..1_i64 << 40;
    prop_oneof![
        any::<bool>().prop_map(|paused| Write::Queue(QueueImage { paused })),
        (any::<u32>(), offset()).prop_map(|(partition, low)| Write::Cursor { partition, low }),
        (any::<u32>(), number.clone(), block()).prop_map(|(partition, block, done)| {
            Write::Block {
                partition,
                block,
                done,
            }
        }),
        (any::<u32>(), number).prop_map(|(partition, chunk)| Write::Finished { partition, chunk }),
        (any::<u32>(), offset(), span).prop_map(|(partition, start, span)| Write::History {
            partition,
            start,
            span,
        }),
        lease,
        ids,
    ]
}

/// The one entry that a write makes.
fn entry(write: &Write) -> (Bytes, Option<Bytes>) {
    let mut entries = Entries::new();
    add_entries(QUEUE_ID, std::slice::from_ref(write), &mut entries);
    entries.pop_first().unwrap()
}

proptest! {
    #[test]
    fn what_was_written_is_read(write in puts()) {
        let (key, value) = entry(&write);
        let value = value.unwrap();
        prop_assert!(key.starts_with(&prefix(QUEUE_ID)));
        prop_assert_eq!(decode(QUEUE_ID, &key, &value), Ok(write));
        for length in 0..value.len() {
            prop_assert!(decode(QUEUE_ID, &key, &value[..length]).is_err(), "cut to {}", length);
        }
        let mut newer = value.to_vec();
        newer[0] = 2;
        prop_assert_eq!(decode(QUEUE_ID, &key, &newer), Err(RecordError::Newer(2)));
    }

    #[test]
    fn nothing_makes_it_stumble(kind in 1..8_u8, key in vec(any::<u8>(), 0..20), value in vec(any::<u8>(), 0..300)) {
        let key = [&*prefix(QUEUE_ID), &[kind], &key].concat();
        let value = [&[1], &*value].concat();
        let _ = decode(QUEUE_ID, &key, &value);
    }
}

#[test]
fn entries_come_in_the_order_in_which_they_are_loaded() {
    let (partition, start) = (1, Offset(3));
    let span = Span {
        length: 1,
        attempts: 1,
        priority: 0,
        lease: LeaseNumber(1),
        first_delivered: TimestampMs(0),
        due: TimestampMs(0),
    };
    let writes = [
        Write::Queue(QueueImage::default()),
        Write::Cursor {
            partition,
            low: start,
        },
        Write::Block {
            partition,
            block: 0,
            done: BlockBits::default(),
        },
        Write::Finished {
            partition,
            chunk: 1,
        },
        Write::History {
            partition,
            start,
            span,
        },
    ];
    let keys: Vec<Bytes> = writes.iter().map(|write| entry(write).0).collect();
    assert!(keys.is_sorted());
}

#[test]
fn the_last_change_to_a_key_counts() {
    let span = |attempts| Span {
        length: 1,
        attempts,
        priority: 0,
        lease: LeaseNumber(1),
        first_delivered: TimestampMs(0),
        due: TimestampMs(0),
    };
    let put = |attempts| Write::History {
        partition: 0,
        start: Offset(0),
        span: span(attempts),
    };
    let drop = Write::DropHistory {
        partition: 0,
        start: Offset(0),
    };
    let mut entries = Entries::new();
    add_entries(QUEUE_ID, &[put(1), drop, put(2)], &mut entries);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries.pop_first().unwrap().1, entry(&put(2)).1);
}
