//! The subscriber against models that can be checked by eye.

use std::collections::BTreeMap;

use millstream_record::{Headers, Record, TimestampMs};
use proptest::prelude::*;

use super::super::memory::{Counted, Half, LiveMemory};
use super::*;
use crate::live::message::LostReason;
use crate::{TopicName, live::SlowPolicy};

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

fn count(bytes: usize) -> Counted {
    LiveMemory::new(usize::MAX).count(Half::Offered, bytes)
}

fn message(source: Source, offset: i64, key: u8) -> Arc<LiveMessage> {
    let record = Record {
        offset: Offset(offset),
        timestamp: TimestampMs(0),
        key: (key > 0).then(|| Bytes::from(vec![key])),
        value: None,
        headers: Headers::default(),
    };
    Arc::new(LiveMessage::new(topic(), source, source, record, count))
}

fn machine(policy: SlowPolicy, records_max: usize, credit: u64) -> Machine {
    Machine::new(policy, records_max, 1 << 20, credit)
}

fn lost(from: i64, to: i64) -> Lost {
    Lost {
        topic: topic(),
        partition: 1,
        from: Offset(from),
        to: Offset(to),
        reason: LostReason::Retention,
        source: 1,
    }
}

/// A step in words.
fn told(machine: &mut Machine) -> String {
    match machine.step() {
        Step::Deliver(LiveItem::Record(message)) => {
            format!("{}:{}", message.source, message.offset)
        }
        Step::Deliver(LiveItem::Dropped { count }) => format!("dropped {count}"),
        Step::Deliver(LiveItem::Lost(lost)) => format!("lost {}-{}", lost.from, lost.to),
        Step::Deliver(LiveItem::Disconnected(reason)) => format!("{reason:?}"),
        Step::Read(source, from) => format!("read {source} from {from}"),
        Step::Wait => "wait".to_owned(),
    }
}

fn offer(machine: &mut Machine, source: Source, offsets: std::ops::Range<i64>) -> Effect {
    let end = Offset(offsets.end);
    let messages: Vec<_> = offsets.map(|offset| message(source, offset, 0)).collect();
    machine.offer(source, &messages, end, |_| true)
}

/// Offers, steps and what they should say, line by line.
fn transcript(machine: &mut Machine, expected: &[&str]) {
    for (line, &expected) in expected.iter().enumerate() {
        assert_eq!(told(machine), expected, "line {line}");
    }
}

#[test]
fn a_blocked_subscriber_empties_its_buffer_and_reads_on_from_the_log() {
    let mut machine = machine(SlowPolicy::Block, 2, u64::MAX);
    machine.add(1, Offset(5));
    transcript(&mut machine, &["read 1 from 5", "read 1 from 5"]);
    assert_eq!(
        offer(&mut machine, 1, 5..6),
        Effect::default(),
        "it is behind"
    );
    machine.joined(1, vec![Entry::Message(message(1, 5, 0))], Offset(6));
    assert!(
        offer(&mut machine, 1, 4..9).wake,
        "what it has is not taken twice"
    );
    assert_eq!(machine.place(1), Some(Place::Fallen(Offset(8))));
    transcript(&mut machine, &["1:5", "1:6"]);
    offer(&mut machine, 1, 9..10);
    transcript(&mut machine, &["1:7", "read 1 from 8"]);
    machine.replayed(1, vec![Entry::Message(message(1, 8, 0))], Offset(10));
    transcript(&mut machine, &["1:8", "read 1 from 10"]);
    machine.joined(1, Vec::new(), Offset(10));
    transcript(&mut machine, &["wait"]);
}

#[test]
fn a_partition_that_is_behind_and_a_busy_one_take_turns() {
    let mut machine = machine(SlowPolicy::DropOldest, 100, u64::MAX);
    machine.add(1, Offset(0));
    machine.add(2, Offset(0));
    machine.joined(2, Vec::new(), Offset(0));
    offer(&mut machine, 2, 0..10);
    transcript(&mut machine, &["read 1 from 0"]);
    let entries = (0..2).map(|offset| Entry::Message(message(1, offset, 0)));
    machine.replayed(1, entries.collect(), Offset(2));
    transcript(&mut machine, &["1:0", "1:1", "2:0", "2:1", "read 1 from 2"]);
}

#[test]
fn without_credit_nothing_is_delivered_but_the_end() {
    let mut machine = machine(SlowPolicy::DropNewest, 1, 0);
    machine.add(1, Offset(0));
    machine.joined(1, Vec::new(), Offset(0));
    assert_eq!(
        offer(&mut machine, 1, 0..3),
        Effect {
            wake: false,
            dropped: 2
        }
    );
    transcript(&mut machine, &["wait"]);
    assert!(machine.add_credit(1).wake);
    transcript(&mut machine, &["1:0", "wait"]);
    assert!(machine.end(Disconnected::TopicDeleted).wake);
    transcript(&mut machine, &["TopicDeleted", "TopicDeleted"]);
    machine.add_credit(1);
    transcript(&mut machine, &["dropped 2", "TopicDeleted"]);
}

#[test]
fn a_slow_subscriber_that_is_not_waited_for_gets_what_is_buffered_and_the_reason() {
    let mut machine = machine(SlowPolicy::Disconnect, 2, u64::MAX);
    machine.add(1, Offset(0));
    machine.joined(1, Vec::new(), Offset(0));
    offer(&mut machine, 1, 0..3);
    offer(&mut machine, 1, 3..4);
    transcript(&mut machine, &["1:0", "1:1", "TooSlow", "TooSlow"]);
}

#[test]
fn what_is_lost_is_told_in_its_place_or_counted_as_dropped() {
    let mut machine = machine(SlowPolicy::DropNewest, 2, u64::MAX);
    machine.add(1, Offset(0));
    machine.joined(1, Vec::new(), Offset(0));
    offer(&mut machine, 1, 0..1);
    machine.offer_lost(1, lost(0, 5));
    assert_eq!(machine.offer_lost(1, lost(5, 9)).dropped, 4);
    assert_eq!(
        machine.offer_lost(1, lost(0, 9)),
        Effect::default(),
        "known"
    );
    transcript(&mut machine, &["1:0", "lost 1-5", "dropped 4", "wait"]);
    let mut blocked = super::Machine::new(SlowPolicy::Block, 1, 1 << 20, u64::MAX);
    blocked.add(1, Offset(0));
    blocked.joined(1, Vec::new(), Offset(0));
    offer(&mut blocked, 1, 0..1);
    blocked.offer_lost(1, lost(0, 5));
    transcript(&mut blocked, &["1:0", "read 1 from 1"]);
}

#[test]
fn bytes_bound_the_buffer_but_one_record_always_fits() {
    let size = message(1, 0, 0).size_bytes();
    let mut machine = Machine::new(SlowPolicy::DropOldest, 100, size * 2, u64::MAX);
    machine.add(1, Offset(0));
    machine.joined(1, Vec::new(), Offset(0));
    offer(&mut machine, 1, 0..3);
    transcript(&mut machine, &["dropped 1", "1:1", "1:2", "wait"]);
    let mut small = Machine::new(SlowPolicy::DropNewest, 100, 1, u64::MAX);
    small.add(1, Offset(0));
    small.joined(1, Vec::new(), Offset(0));
    offer(&mut small, 1, 0..2);
    transcript(&mut small, &["1:0", "dropped 1", "wait"]);
}

#[test]
fn where_memory_is_short_the_policy_applies_early() {
    let size = message(1, 0, 0).size_bytes();
    for (policy, told) in [
        (SlowPolicy::DropOldest, ["dropped 1", "1:1", "1:2"]),
        (SlowPolicy::DropNewest, ["1:0", "1:1", "dropped 1"]),
        (SlowPolicy::Block, ["1:0", "1:1", "read 1 from 2"]),
        (SlowPolicy::Disconnect, ["1:0", "1:1", "TooSlow"]),
    ] {
        let mut machine = machine(policy, 100, u64::MAX);
        machine.add(1, Offset(0));
        machine.joined(1, Vec::new(), Offset(0));
        machine.let_have(size * 2);
        offer(&mut machine, 1, 0..3);
        transcript(&mut machine, &told);
    }
    for (policy, told) in [
        (SlowPolicy::DropOldest, "dropped 1"),
        (SlowPolicy::KeepLatest, "dropped 1"),
        (SlowPolicy::DropNewest, "dropped 1"),
        (SlowPolicy::Block, "read 1 from 0"),
        (SlowPolicy::Disconnect, "TooSlow"),
    ] {
        let joined = |credit| {
            let mut machine = machine(policy, 100, credit);
            machine.add(1, Offset(0));
            machine.joined(1, Vec::new(), Offset(0));
            machine.let_have(size - 1);
            machine
        };
        let mut idle = joined(0);
        offer(&mut idle, 1, 0..1);
        assert!(idle.add_credit(1).wake, "{policy:?}");
        transcript(&mut idle, &[told]);
        let mut waiting = joined(2);
        offer(&mut waiting, 1, 0..1);
        transcript(&mut waiting, &["1:0", "wait"]);
    }
}

#[test]
fn a_partition_that_is_gone_is_read_no_more() {
    let mut machine = machine(SlowPolicy::Block, 1, u64::MAX);
    machine.add(1, Offset(0));
    machine.joined(1, Vec::new(), Offset(0));
    machine.add(2, Offset(0));
    offer(&mut machine, 1, 0..2);
    machine.remove(1);
    machine.remove(2);
    transcript(&mut machine, &["1:0", "wait"]);
}

/// With each gap closed at once this would take minutes, in the task that serves all subscribers of the partition.
#[test]
fn keeping_the_latest_costs_the_same_in_a_large_buffer() {
    const KEYS: i64 = 65_536;
    let keyed = |offset: i64| {
        let record = Record {
            offset: Offset(offset),
            timestamp: TimestampMs(0),
            key: Some(Bytes::copy_from_slice(&(offset % KEYS).to_be_bytes())),
            value: None,
            headers: Headers::default(),
        };
        Arc::new(LiveMessage::new(topic(), 1, 1, record, count))
    };
    let mut machine = Machine::new(SlowPolicy::KeepLatest, KEYS as usize, 1 << 30, u64::MAX);
    machine.add(1, Offset(0));
    machine.joined(1, Vec::new(), Offset(0));
    let began = std::time::Instant::now();
    // Each key comes again when it lies in the middle of the buffer, where a gap is farthest from both ends.
    for offset in (0..KEYS).chain((KEYS / 2..KEYS).cycle().take(300_000)) {
        let next = machine.place(1).unwrap().next();
        let mut message = keyed(offset);
        Arc::get_mut(&mut message).unwrap().offset = next;
        machine.offer(1, &[message], next.next(), |_| true);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(15));
    let mut records = 0;
    let mut dropped = 0;
    loop {
        match machine.step() {
            Step::Deliver(LiveItem::Record(_)) => records += 1,
            Step::Deliver(LiveItem::Dropped { count }) => dropped += count,
            _ => break,
        }
    }
    assert_eq!((records, dropped), (KEYS, 300_000));
}

const POLICIES: [SlowPolicy; 4] = [
    SlowPolicy::Block,
    SlowPolicy::DropOldest,
    SlowPolicy::DropNewest,
    SlowPolicy::KeepLatest,
];

/// What a subscriber of one partition with a bounded buffer has before it: records, and holes where some were dropped.
#[derive(Default)]
struct Model(Vec<Option<(i64, u8)>>);

impl Model {
    fn offer(&mut self, policy: SlowPolicy, records_max: usize, offset: i64, key: u8) {
        if policy == SlowPolicy::KeepLatest && key > 0 {
            self.hole(|(_, other)| other == key);
        }
        let mut new = Some((offset, key));
        if self.0.iter().flatten().count() == records_max {
            if policy == SlowPolicy::DropNewest {
                new = None;
            } else {
                self.hole(|_| true);
            }
        }
        self.0.push(new);
    }

    fn hole(&mut self, is: impl Fn((i64, u8)) -> bool) {
        if let Some(first) = self.0.iter_mut().find(|place| place.is_some_and(&is)) {
            *first = None;
        }
    }

    fn take(&mut self) -> String {
        let holes = self.0.iter().take_while(|place| place.is_none()).count();
        if holes > 0 {
            self.0.drain(..holes);
            return format!("dropped {holes}");
        }
        if self.0.is_empty() {
            return "wait".to_owned();
        }
        let (offset, _) = self.0.remove(0).unwrap();
        format!("1:{offset}")
    }
}

#[derive(Debug, Clone)]
enum Event {
    Offer { source: Source, keys: Vec<u8> },
    Take(usize),
    Credit(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1u32..3, proptest::collection::vec(0u8..4, 1..6))
            .prop_map(|(source, keys)| Event::Offer { source, keys }),
        3 => (1usize..8).prop_map(Event::Take),
        1 => (1u64..8).prop_map(Event::Credit),
    ]
}

/// Two logs, and a driver that reads them a little at a time and joins when it is close to the end.
struct World {
    machine: Machine,
    logs: BTreeMap<Source, Vec<Arc<LiveMessage>>>,
    seen: BTreeMap<Source, Vec<i64>>,
    dropped: u64,
    step_records: usize,
    recent: usize,
}

impl World {
    fn offer(&mut self, source: Source, keys: &[u8]) {
        let log = self.logs.entry(source).or_default();
        let from = log.len();
        for &key in keys {
            log.push(message(source, log.len() as i64, key));
        }
        let end = Offset(log.len() as i64);
        self.dropped += self
            .machine
            .offer(source, &log[from..], end, |_| true)
            .dropped;
    }

    /// One step. Returns whether there was one.
    fn step(&mut self) -> bool {
        match self.machine.step() {
            Step::Wait => return false,
            Step::Deliver(LiveItem::Record(message)) => {
                let seen = self.seen.entry(message.source).or_default();
                seen.push(message.offset.get());
            }
            Step::Deliver(LiveItem::Dropped { .. }) => {}
            Step::Deliver(other) => panic!("{other:?}"),
            Step::Read(source, from) => {
                let log = &self.logs.get(&source).map_or(&[][..], Vec::as_slice);
                let rest = &log[from.get() as usize..];
                let entries = |count: usize| -> Vec<_> {
                    rest[..count].iter().cloned().map(Entry::Message).collect()
                };
                if rest.len() <= self.recent {
                    let end = Offset(log.len() as i64);
                    self.machine.joined(source, entries(rest.len()), end);
                } else {
                    let count = rest.len().min(self.step_records);
                    let next = from + count as i64;
                    self.machine.replayed(source, entries(count), next);
                }
            }
        }
        true
    }
}

proptest! {
    #[test]
    fn a_buffer_drops_what_its_policy_says_and_tells_it_in_place(
        policy in 1usize..4,
        records_max in 1usize..5,
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let policy = POLICIES[policy];
        let mut machine = machine(policy, records_max, u64::MAX);
        machine.add(1, Offset(0));
        machine.joined(1, Vec::new(), Offset(0));
        let mut model = Model::default();
        let mut next = 0;
        for event in events {
            match event {
                Event::Offer { keys, .. } => {
                    let mut messages = Vec::new();
                    for key in keys {
                        model.offer(policy, records_max, next, key);
                        messages.push(message(1, next, key));
                        next += 1;
                    }
                    let effect = machine.offer(1, &messages, Offset(next), |_| true);
                    prop_assert!(effect.wake);
                }
                Event::Take(count) => {
                    for _ in 0..count {
                        prop_assert_eq!(told(&mut machine), model.take());
                    }
                }
                Event::Credit(_) => {}
            }
        }
    }

    #[test]
    fn nothing_comes_twice_or_out_of_order_and_what_is_missing_is_counted(
        policy in 0usize..4,
        records_max in 1usize..5,
        step_records in 1usize..4,
        recent in 0usize..4,
        before in proptest::collection::vec(0u8..4, 0..12),
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let policy = POLICIES[policy];
        let mut world = World {
            machine: machine(policy, records_max, 0),
            logs: BTreeMap::new(),
            seen: BTreeMap::new(),
            dropped: 0,
            step_records,
            recent,
        };
        world.offer(1, &before);
        world.machine.add(1, Offset(0));
        world.machine.add(2, Offset(0));
        for event in events {
            match event {
                Event::Offer { source, keys } => world.offer(source, &keys),
                Event::Take(count) => drop((0..count).find(|_| !world.step())),
                Event::Credit(records) => drop(world.machine.add_credit(records)),
            }
        }
        world.machine.add_credit(u64::MAX);
        while world.step() {}
        let mut seen_count = 0;
        for seen in world.seen.values() {
            prop_assert!(seen.is_sorted_by(|a, b| a < b), "{:?}", seen);
            seen_count += seen.len();
        }
        let count: usize = world.logs.values().map(Vec::len).sum();
        prop_assert_eq!(seen_count as u64 + world.dropped, count as u64);
        if policy == SlowPolicy::Block {
            prop_assert_eq!(world.dropped, 0);
        }
    }
}
