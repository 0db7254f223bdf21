//! Whatever happens to a queue, it does what the naive model does, over crashes too.

use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::prelude::*;

use super::log::Entry;
use super::world::World;
use crate::queues::machine::Retry;
use crate::queues::policy::{Backoff, KeyPolicy, LengthPolicy, Overflow, QueuePolicy, RetryPolicy};

/// What is appended: kind, priority, key, delay, time to live.
type Spec = (u8, u8, Option<u64>, i64, i64);

#[derive(Clone, Debug)]
enum Event {
    Append {
        partition: usize,
        specs: Vec<Spec>,
    },
    Receive {
        max: u32,
        visibility_ms: u64,
        wait_ms: i64,
    },
    Ack {
        which: Vec<usize>,
    },
    Nack {
        which: Vec<usize>,
        retry: Retry,
    },
    Reject {
        which: Vec<usize>,
    },
    Extend {
        which: Vec<usize>,
        visibility_ms: u64,
    },
    Wait {
        duration_ms: i64,
    },
    Bury,
    Pause {
        paused: bool,
    },
    Purge,
    Trim {
        partition: usize,
        count: i64,
    },
    Restart {
        kept: usize,
    },
    Sweep,
}

/// Times are even, but for the ends of lives: so the two never coincide, and what comes first is beyond doubt.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let spec = (
        0..20_u8,
        0..3_u8,
        proptest::option::of(0..3_u64),
        prop_oneof![3 => Just(0_i64), 1 => (1..40_i64).prop_map(|delay| delay * 50)],
        prop_oneof![3 => Just(0_i64), 1 => (1..40_i64).prop_map(|ttl| ttl * 50 + 1)],
    );
    let which = || vec(any::<usize>(), 1..6);
    let retry = prop_oneof![
        Just(Retry::Now),
        Just(Retry::AsPolicySays),
        (1..20_u64).prop_map(|delay| Retry::After(delay * 40)),
    ];
    let event = prop_oneof![
        5 => (0..3_usize, vec(spec, 1..12))
            .prop_map(|(partition, specs)| Event::Append { partition, specs }),
        6 => (1..8_u32, 1..30_u64, prop_oneof![Just(0_i64), (0..10_i64).prop_map(|wait| wait * 60)])
            .prop_map(|(max, visibility, wait_ms)| Event::Receive {
                max, visibility_ms: visibility * 50, wait_ms,
            }),
        5 => which().prop_map(|which| Event::Ack { which }),
        3 => (which(), retry).prop_map(|(which, retry)| Event::Nack { which, retry }),
        1 => which().prop_map(|which| Event::Reject { which }),
        2 => (which(), 1..30_u64).prop_map(|(which, visibility)| Event::Extend {
            which, visibility_ms: visibility * 70,
        }),
        5 => (0..20_i64).prop_map(|duration| Event::Wait { duration_ms: duration * 30 }),
        1 => Just(Event::Bury),
        1 => any::<bool>().prop_map(|paused| Event::Pause { paused }),
        1 => Just(Event::Purge),
        1 => (0..3_usize, 1..10_i64).prop_map(|(partition, count)| Event::Trim { partition, count }),
        2 => any::<usize>().prop_map(|kept| Event::Restart { kept }),
        1 => Just(Event::Sweep),
    ];
    vec(event, 1..60)
}

prop_compose! {
    fn policy()(
        backoff in prop_oneof![
            Just(Backoff::Fixed { delay_ms: 0 }),
            Just(Backoff::Fixed { delay_ms: 100 }),
            Just(Backoff::Linear { delay_ms: 80 }),
            Just(Backoff::Exponential { delay_ms: 60 }),
        ],
        attempts_max in 0..4_u32,
        (dead_letters, priorities, delays, record_ttl) in any::<(bool, bool, bool, bool)>(),
        in_flight_max in proptest::option::of(1..12_u64),
        keys in proptest::option::of(1..4_u32),
    ) -> QueuePolicy {
        // What enters its key when is a question of its own.
        let keys = keys.filter(|_| !delays && !record_ttl);
        QueuePolicy {
            retry: RetryPolicy {
                attempts_max: NonZeroU32::new(attempts_max),
                backoff,
                ..RetryPolicy::default()
            },
            dead_letters,
            priorities,
            delays,
            record_ttl,
            in_flight_max,
            keys: keys.and_then(NonZeroU32::new).map(|in_flight_max| KeyPolicy {
                in_flight_max,
                interval_ms: 0,
            }),
            ..QueuePolicy::default()
        }
    }
}

impl World {
    fn happen(&mut self, event: Event) {
        let partitions = self.logs.len();
        match event {
            Event::Append { partition, specs } => {
                let partition = partition % partitions;
                let entries = (0..)
                    .zip(specs)
                    .map(|(ahead, (kind, priority, key, delay, ttl))| match kind {
                        0 => Entry::Gap,
                        1 => Entry::Control,
                        2 => Entry::Damaged,
                        _ => self.record(partition, ahead, (priority, key, delay, ttl)),
                    });
                let entries = entries.collect();
                self.append(partition, entries);
            }
            Event::Receive {
                max,
                visibility_ms,
                wait_ms,
            } => {
                self.receive(max, visibility_ms, wait_ms);
            }
            Event::Ack { which } => self.ack(&self.pick(&which)),
            Event::Nack { which, retry } => self.nack(&self.pick(&which), retry),
            Event::Reject { which } => self.reject(&self.pick(&which)),
            Event::Extend {
                which,
                visibility_ms,
            } => self.extend(&self.pick(&which), visibility_ms),
            Event::Wait { duration_ms } => self.wait(duration_ms),
            Event::Bury => self.bury(),
            Event::Pause { paused } => self.pause(paused),
            Event::Purge => self.purge(),
            Event::Trim { partition, count } => self.trim(partition % partitions, count),
            Event::Restart { kept } => self.restart(kept),
            Event::Sweep => self.queue.sweep(),
        }
    }

    /// Everybody does their work from now on: nothing may be left.
    fn finish_everything(&mut self) {
        self.pause(false);
        for _ in 0..400 {
            self.receive(1_000, 1_000, 0);
            let all = self.receipts.clone();
            self.ack(&all);
            self.receipts.clear();
            while self.queue.burials().next().is_some() {
                self.bury();
            }
            if self.queue.depth(None).open == 0 {
                return;
            }
            self.wait(400);
        }
        panic!("left: {:?}", self.queue.depth(None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_model_does(
        policy in policy(),
        partitions in 1..4_usize,
        look in prop_oneof![Just(1_000_usize), 1..5_usize],
        events in events(),
    ) {
        // Looked at one by one, what waits for an urgent record is served before that one is seen.
        let look = if policy.priorities { 1_000 } else { look };
        let mut world = World::new(policy, partitions, look);
        for event in events {
            world.happen(event);
        }
        world.finish_everything();
    }

    #[test]
    fn sheds_what_the_model_sheds(records_max in 1..20_u64, events in events()) {
        let length = LengthPolicy { records_max, overflow: Overflow::DropOldest };
        let policy = QueuePolicy { length: Some(length), ..QueuePolicy::default() };
        let mut world = World::new(policy, 1, 1_000);
        for event in events {
            // What a gap is counted as depends on whether it was looked at; that is no matter here.
            let plain = |(_, priority, key, delay, ttl)| (9, priority, key, delay, ttl);
            let event = match event {
                Event::Append { specs, .. } => Event::Append {
                    partition: 0,
                    specs: specs.into_iter().map(plain).collect(),
                },
                other => other,
            };
            world.happen(event);
        }
        world.finish_everything();
    }
}
