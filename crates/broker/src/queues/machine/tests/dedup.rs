//! Deduplication against a model: a record is new unless its id was new within the window before, and what was new stays so.

use std::collections::{BTreeMap, BTreeSet};

use millstream_record::Offset;
use proptest::collection::vec;
use proptest::prelude::*;

use super::disk::{Disk, create};
use super::log::{Entry, Log, answer_all};
use super::ms;
use crate::queues::ids::{ConsumerId, Receipt, RequestToken};
use crate::queues::machine::{
    Answers, Effects, Patience, Queue, Receive, RecordState, ScannedRecord,
};
use crate::queues::policy::QueuePolicy;

const PARTITIONS: usize = 3;

#[derive(Clone, Debug)]
enum Event {
    Append { partition: usize, ids: Vec<u8> },
    Wait { duration_ms: i64 },
    TakeOne,
    LookAgain,
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..PARTITIONS, vec(0..4_u8, 1..6))
            .prop_map(|(partition, ids)| Event::Append { partition, ids }),
        4 => (0..150_i64).prop_map(|duration_ms| Event::Wait { duration_ms }),
        1 => (900..3_000_i64).prop_map(|duration_ms| Event::Wait { duration_ms }),
        2 => Just(Event::TakeOne),
        1 => Just(Event::LookAgain),
        2 => Just(Event::Restart),
    ];
    vec(event, 1..60)
}

struct Stage {
    queue: Queue,
    policy: QueuePolicy,
    logs: Vec<Log>,
    now: i64,
    life: u32,
    disk: Disk,
    /// When each id was new last.
    new_at: BTreeMap<u8, i64>,
    open: BTreeSet<(u32, Offset)>,
}

impl Stage {
    fn new(window_ms: u64) -> Self {
        let policy = QueuePolicy {
            dedup_window_ms: window_ms,
            ..QueuePolicy::default()
        };
        let (queue, logs, effects) = create(&policy, PARTITIONS);
        let mut stage = Self {
            queue,
            policy,
            logs,
            now: 0,
            life: 1,
            disk: Disk::default(),
            new_at: BTreeMap::new(),
            open: BTreeSet::new(),
        };
        stage.take(effects);
        stage
    }

    fn happen(&mut self, event: Event) {
        let (now, mut effects) = (ms(self.now), Effects::default());
        match event {
            Event::Append { partition, ids } => {
                for id in ids {
                    self.append(partition, id);
                }
                let end = self.logs[partition].end();
                self.queue
                    .appended(partition as u32, end, now, &mut effects);
            }
            Event::Wait { duration_ms } => {
                self.now += duration_ms;
                self.queue.expire(ms(self.now), &mut effects);
            }
            Event::TakeOne => self.take_one(&mut effects),
            Event::LookAgain => {
                self.policy.priorities = !self.policy.priorities;
                let policy = self.policy.clone();
                self.queue.set_policy(policy, now, &mut effects);
            }
            Event::Restart => effects = self.restart(),
        }
        self.take(effects);
        self.compare();
    }

    fn append(&mut self, partition: usize, id: u8) {
        let log = &mut self.logs[partition];
        let mut record = ScannedRecord::new(log.end(), ms(self.now));
        record.id = Some(id.into());
        log.entries.push(Entry::Record(record));
        let window_ms = self.policy.dedup_window_ms as i64;
        let is_new = self
            .new_at
            .get(&id)
            .is_none_or(|at| self.now >= at + window_ms);
        if is_new {
            self.new_at.insert(id, self.now);
            self.open.insert((partition as u32, record.offset));
        }
    }

    /// Somebody receives a record and acknowledges it.
    fn take_one(&mut self, effects: &mut Effects) {
        let request = Receive {
            token: RequestToken(1),
            consumer: ConsumerId(1),
            max: 1,
            visibility_ms: 1_000,
            patience: Patience::Until(ms(self.now)),
        };
        let now = ms(self.now);
        self.queue.receive(request, now, effects).unwrap();
        self.queue.expire(now, effects);
        let Some(delivery) = effects.deliveries.pop() else {
            return;
        };
        let part = &delivery.parts[0];
        let offset = part.run.offsets().next().unwrap();
        let receipt = Receipt::new(delivery.lease, part.partition, offset);
        let mut answers = Answers::new();
        self.queue.ack(&[receipt], now, &mut answers, effects);
        assert!(self.open.remove(&(part.partition, offset)));
    }

    fn restart(&mut self) -> Effects {
        self.life += 1;
        let restored = (self.disk).restore(&self.policy, &self.logs, self.life, self.now);
        self.queue = restored.0;
        restored.1
    }

    fn take(&mut self, mut effects: Effects) {
        answer_all(&self.logs, &mut self.queue, &mut effects, 3, self.now);
        self.disk.write(&effects.writes);
    }

    fn compare(&self) {
        for (partition, log) in (0..).zip(&self.logs) {
            for offset in (0..log.end().get()).map(Offset) {
                let state = self.queue.state(partition, offset);
                let is_open = state != Some(RecordState::Finished);
                let place = (partition, offset);
                assert_eq!(is_open, self.open.contains(&place), "{place:?}: {state:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_id_is_new_once_a_window_and_what_was_new_stays_so(
        window_ms in 1..400_u64,
        events in events(),
    ) {
        let mut stage = Stage::new(window_ms);
        for event in events {
            stage.happen(event);
        }
    }
}
