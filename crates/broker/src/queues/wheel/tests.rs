//! The wheel against a sorted map, and what it costs.

use std::collections::BTreeSet;

use millstream_record::TimestampMs;
use proptest::prelude::*;

use super::{TimerId, Wheel};

#[derive(Clone, Debug)]
enum Event {
    Insert { delay_ms: i64 },
    Cancel { which: usize },
    CancelIf { remainder: usize },
    Wait { duration_ms: i64 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let span = prop_oneof![
        -5..5_i64,
        0..200_i64,
        0..10_000_i64,
        0..100_000_000_i64,
        Just(i64::MAX)
    ];
    let pause = prop_oneof![0..3_i64, 0..300_i64, 0..50_000_000_i64];
    let event = prop_oneof![
        4 => span.prop_map(|delay_ms| Event::Insert { delay_ms }),
        1 => any::<usize>().prop_map(|which| Event::Cancel { which }),
        1 => (0..3_usize).prop_map(|remainder| Event::CancelIf { remainder }),
        2 => pause.prop_map(|duration_ms| Event::Wait { duration_ms }),
    ];
    proptest::collection::vec(event, 0..400)
}

proptest! {
    #[test]
    fn fires_what_is_due_in_order(start in 0..4_000_000_000_000_i64, events in events()) {
        let mut wheel = Wheel::default();
        let mut now = start;
        let mut model: BTreeSet<(i64, usize)> = BTreeSet::new();
        let mut ids: Vec<Option<(TimerId, i64)>> = Vec::new();
        prop_assert!(wheel.pop_due(TimestampMs(now)).is_none());
        for event in events {
            match event {
                Event::Insert { delay_ms } => {
                    let due = now.saturating_add(delay_ms);
                    let id = wheel.insert(TimestampMs(due), ids.len());
                    // What is late already is due now.
                    let due = due.max(now);
                    model.insert((due, ids.len()));
                    ids.push(Some((id, due)));
                }
                Event::Cancel { which } if !ids.is_empty() => {
                    let index = which % ids.len();
                    if let Some((id, due)) = ids[index].take() {
                        prop_assert_eq!(wheel.cancel(id), Some(index));
                        prop_assert!(model.remove(&(due, index)));
                    }
                }
                Event::Cancel { .. } => {}
                Event::CancelIf { remainder } => {
                    wheel.cancel_if(|index| index % 3 == remainder);
                    model.retain(|(_, index)| index % 3 != remainder);
                    let cancelled = ids.iter_mut().skip(remainder).step_by(3);
                    cancelled.for_each(|id| *id = None);
                }
                Event::Wait { duration_ms } => {
                    now += duration_ms;
                    while let Some((due, index)) = wheel.pop_due(TimestampMs(now)) {
                        let first = model.pop_first();
                        prop_assert_eq!(Some((due.get(), index)), first);
                        ids[index] = None;
                    }
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            let first = model.first().map(|(due, _)| *due);
            match (first, wheel.next_deadline()) {
                (None, deadline) => prop_assert_eq!(deadline, None),
                (Some(first), Some(deadline)) => prop_assert!(deadline.get() <= first),
                (Some(first), None) => prop_assert!(false, "{first} would be slept through"),
            }
        }
    }
}

/// A driver that sleeps until the deadline it is told wakes early at most once a level.
#[test]
fn a_lone_timer_wakes_its_driver_few_times() {
    let mut wheel = Wheel::default();
    let mut now = TimestampMs(1_700_000_000_000);
    assert!(wheel.pop_due(now).is_none());
    let due = now.saturating_add(12 * 60 * 60 * 1_000 + 7);
    wheel.insert(due, ());
    let mut wakes = 0;
    while wheel.pop_due(now).is_none() {
        now = wheel.next_deadline().unwrap();
        wakes += 1;
    }
    assert_eq!(now, due);
    assert!(wakes <= 6, "{wakes} wakes");
}

#[test]
fn a_million_timers_take_32_bytes_each() {
    let mut wheel: Wheel<[u64; 1]> = Wheel::default();
    for timer in 0..1_000_000_i64 {
        wheel.insert(TimestampMs(timer * 7_919 % 86_400_000), [0]);
    }
    assert!(
        wheel.heap_bytes() < 40_000_000,
        "{} bytes",
        wheel.heap_bytes()
    );
    while wheel.pop_due(TimestampMs(86_400_000)).is_some() {}
    assert!(wheel.heap_bytes() < 10_000);
}

#[test]
fn what_is_cancelled_together_leaves_no_memory_behind() {
    let mut wheel: Wheel<[u64; 1]> = Wheel::default();
    for timer in 0..100_000 {
        wheel.insert(TimestampMs(1 + timer as i64 % 1_000), [timer]);
    }
    wheel.cancel_if(|[timer]| *timer != 70);
    assert_eq!((wheel.len(), wheel.capacity()), (1, 128));
    for timer in 0..127 {
        wheel.insert(TimestampMs(1), [timer]);
    }
    assert_eq!((wheel.len(), wheel.capacity()), (128, 128));
}
