//! All policies at once, without a model: what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use millstream_record::Offset;
use proptest::collection::vec;
use proptest::prelude::*;

use super::disk::{Disk, create};
use super::log::{Entry, Log, answer_all};
use super::ms;
use crate::queues::ids::{ConsumerId, Receipt, RequestToken};
use crate::queues::machine::{
    Answers, Effects, Patience, Queue, Receive, RecordState, Redelivered, Retry, ScannedRecord,
    Totals, Write,
};
use crate::queues::policy::{
    Access, Backoff, KeyPolicy, LengthPolicy, Overflow, QueuePolicy, RatePolicy, RetryPolicy,
};

#[derive(Clone, Debug)]
enum Event {
    Append {
        partition: usize,
        specs: Vec<(u8, u8, u8, i64, i64)>,
    },
    Receive {
        consumer: u64,
        max: u32,
        credit: Option<u32>,
    },
    Settle {
        which: Vec<usize>,
        how: u8,
    },
    Gone {
        consumer: u64,
    },
    Handed {
        which: usize,
    },
    Wait {
        duration_ms: i64,
    },
    Policy {
        policy: Box<QueuePolicy>,
    },
    Purge,
    Sweep,
    Restart,
}

prop_compose! {
    fn policy()(
        (dead_letters, priorities, delays, record_ttl, dead_letter_expired, filtered)
            in any::<(bool, bool, bool, bool, bool, bool)>(),
        window_records in 1..30_usize,
        attempts_max in 0..4_u32,
        jitter_percent in 0..=100_u8,
        keys in proptest::option::of((1..3_u32, prop_oneof![Just(0_u32), 1..300_u32])),
        dedup_window_ms in prop_oneof![Just(0), 1..2_000_u64],
        length in proptest::option::of((1..20_u64, any::<bool>())),
        rate in proptest::option::of((1..50_u32, 1..10_u32)),
        access in prop_oneof![Just(Access::Shared), Just(Access::SingleActive)],
    ) -> QueuePolicy {
        let number = |number| NonZeroU32::new(number).unwrap();
        QueuePolicy {
            window_records,
            retry: RetryPolicy {
                attempts_max: NonZeroU32::new(attempts_max),
                backoff: Backoff::Exponential { delay_ms: 50 },
                delay_ms_max: Some(1_000),
                jitter_percent,
            },
            dead_letters, priorities, delays, record_ttl, dead_letter_expired, filtered,
            keys: keys.map(|(most, interval_ms)| KeyPolicy { in_flight_max: number(most), interval_ms }),
            dedup_window_ms,
            length: length.map(|(records_max, dead)| LengthPolicy {
                records_max,
                overflow: if dead { Overflow::DeadLetterOldest } else { Overflow::DropOldest },
            }),
            rate: rate.map(|(per_second, burst)| RatePolicy {
                per_second: number(per_second),
                burst: number(burst),
            }),
            access,
            consumer_idle_ms: 500,
            ..QueuePolicy::default()
        }
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let time = || prop_oneof![3 => Just(0_i64), 1 => 1..1_500_i64];
    let spec = (0..16_u8, 0..12_u8, 0..4_u8, time(), time());
    let event = prop_oneof![
        4 => (0..3_usize, vec(spec, 1..12))
            .prop_map(|(partition, specs)| Event::Append { partition, specs }),
        5 => (0..3_u64, 1..8_u32, proptest::option::of(0..6_u32))
            .prop_map(|(consumer, max, credit)| Event::Receive { consumer, max, credit }),
        5 => (vec(any::<usize>(), 1..6), 0..6_u8)
            .prop_map(|(which, how)| Event::Settle { which, how }),
        1 => (0..3_u64).prop_map(|consumer| Event::Gone { consumer }),
        3 => any::<usize>().prop_map(|which| Event::Handed { which }),
        4 => (0..700_i64).prop_map(|duration_ms| Event::Wait { duration_ms }),
        1 => policy().prop_map(|policy| Event::Policy { policy: Box::new(policy) }),
        1 => Just(Event::Purge),
        1 => Just(Event::Sweep),
        1 => Just(Event::Restart),
    ];
    vec(event, 1..60)
}

/// One of them is a connection.
fn consumer_id(number: u64) -> ConsumerId {
    match number {
        2 => ConsumerId::of_connection(2),
        other => ConsumerId(other),
    }
}

struct Stage {
    queue: Queue,
    policy: QueuePolicy,
    logs: Vec<Log>,
    now: i64,
    life: u32,
    tokens: u64,
    disk: Disk,
    receipts: Vec<Receipt>,
    /// Nothing that is finished may ever be delivered.
    finished: BTreeSet<(u32, Offset)>,
    /// What was delivered, whether or not it was handed on.
    met: BTreeSet<(u32, Offset)>,
    /// How many deliveries there were, and when, as the policy changed last in this life.
    delivered: (u64, i64),
    /// The policy has always been that the records of a key come one after the other, and nothing else holds one back.
    in_order: bool,
}

impl Stage {
    fn new(policy: QueuePolicy, partitions: usize) -> Self {
        let (queue, logs, effects) = create(&policy, partitions);
        let one_by_one = policy
            .keys
            .is_some_and(|keys| keys.in_flight_max.get() == 1);
        let nothing_overtakes =
            !policy.delays && policy.length.is_none() && !policy.dead_letter_expired;
        let in_order = one_by_one && nothing_overtakes;
        let mut stage = Self {
            queue,
            policy,
            logs,
            now: 0,
            life: 1,
            tokens: 0,
            disk: Disk::default(),
            receipts: Vec::new(),
            finished: BTreeSet::new(),
            met: BTreeSet::new(),
            delivered: (0, 0),
            in_order,
        };
        stage.take(effects);
        stage
    }

    fn happen(&mut self, event: Event) {
        let (now, mut effects) = (ms(self.now), Effects::default());
        match event {
            Event::Append { partition, specs } => self.append(partition, specs, &mut effects),
            Event::Receive {
                consumer,
                max,
                credit,
            } => {
                self.receive(consumer, max, credit, &mut effects);
            }
            Event::Settle { which, how } => {
                let mut picked: Vec<Receipt> = which
                    .iter()
                    .filter(|_| !self.receipts.is_empty())
                    .map(|index| self.receipts[index % self.receipts.len()])
                    .collect();
                picked.sort_unstable();
                self.settle(&picked, how, &mut effects);
            }
            Event::Gone { consumer } => {
                self.queue
                    .consumer_gone(consumer_id(consumer), now, &mut effects);
            }
            Event::Handed { which } => {
                let some = self.receipts.len().max(1);
                if let Some(receipt) = self.receipts.get(which % some) {
                    self.queue.handed(receipt.lease);
                }
            }
            Event::Wait { duration_ms } => return self.wait(duration_ms),
            Event::Policy { policy } => {
                self.policy = *policy;
                self.in_order = false;
                self.delivered = (self.queue.totals().delivered, self.now);
                self.queue
                    .set_policy(self.policy.clone(), now, &mut effects);
            }
            Event::Purge => {
                self.queue.purge(now, &mut effects);
            }
            Event::Sweep => self.queue.sweep(),
            Event::Restart => effects = self.restart(),
        }
        self.take(effects);
    }

    fn append(
        &mut self,
        partition: usize,
        specs: Vec<(u8, u8, u8, i64, i64)>,
        effects: &mut Effects,
    ) {
        let partition = partition % self.logs.len();
        let log = &mut self.logs[partition];
        for (kind, priority, name, delay, ttl) in specs {
            let mut record = ScannedRecord::new(log.end(), ms(self.now));
            record.priority = priority;
            record.key = (name > 0).then_some(name.into());
            record.id = (kind % 4 == 0).then_some(name.into());
            record.wanted = kind != 5;
            record.deliver_at = (delay > 0).then(|| ms(self.now + delay));
            record.expires_at = (ttl > 0).then(|| ms(self.now + ttl));
            log.entries.push(match kind {
                0 => Entry::Gap,
                1 => Entry::Control,
                2 => Entry::Damaged,
                _ => Entry::Record(record),
            });
        }
        let end = log.end();
        self.queue
            .appended(partition as u32, end, ms(self.now), effects);
    }

    fn receive(&mut self, consumer: u64, max: u32, credit: Option<u32>, effects: &mut Effects) {
        self.tokens += 1;
        let until = Patience::Until(ms(self.now + 300));
        let request = Receive {
            token: RequestToken(self.tokens),
            consumer: consumer_id(consumer),
            max,
            visibility_ms: if max.is_multiple_of(2) { 400 } else { 1_000 },
            patience: credit.map_or(until, |credit| Patience::Standing { credit }),
        };
        self.queue.receive(request, ms(self.now), effects).unwrap();
    }

    fn settle(&mut self, receipts: &[Receipt], how: u8, effects: &mut Effects) {
        let (now, mut answers) = (ms(self.now), Answers::new());
        match how {
            0..=2 => self.queue.ack(receipts, now, &mut answers, effects),
            3 => self
                .queue
                .nack(receipts, Retry::AsPolicySays, now, &mut answers, effects),
            4 => self.queue.reject(receipts, now, &mut answers, effects),
            _ => self.queue.extend(receipts, 900, now, &mut answers, effects),
        }
        assert_eq!(answers.len(), receipts.len());
    }

    fn wait(&mut self, duration_ms: i64) {
        let until = self.now + duration_ms;
        let mut steps = 0;
        while let Some(next) = self
            .queue
            .next_deadline()
            .filter(|next| next.get() <= until)
        {
            self.now = self.now.max(next.get());
            let mut effects = Effects::default();
            self.queue.expire(ms(self.now), &mut effects);
            self.take(effects);
            steps += 1;
            assert!(steps < 20_000, "time stands still at {}", self.now);
        }
        self.now = until;
    }

    fn restart(&mut self) -> Effects {
        self.life += 1;
        self.delivered = (0, self.now);
        let restored = (self.disk).restore(&self.policy, &self.logs, self.life, self.now);
        self.queue = restored.0;
        restored.1
    }

    fn take(&mut self, mut effects: Effects) {
        answer_all(&self.logs, &mut self.queue, &mut effects, 5, self.now);
        self.check_rate();
        let mut keys: BTreeMap<(u32, u64), u32> = BTreeMap::new();
        for delivery in &effects.deliveries {
            for part in &delivery.parts {
                for offset in part.run.offsets() {
                    let place = (part.partition, offset);
                    assert!(!self.finished.contains(&place), "{place:?} is finished");
                    let receipt = Receipt::new(delivery.lease, part.partition, offset);
                    self.receipts.push(receipt);
                    let entry = self.logs[part.partition as usize].entries[offset.get() as usize];
                    let Entry::Record(record) = entry else {
                        panic!("{place:?} is no record");
                    };
                    if self.in_order
                        && let Some(key) = record.key
                    {
                        self.check_turn(place, key);
                    }
                    let told = |again: &Redelivered| (again.partition, again.offset) == place;
                    let is_new = self.met.insert(place);
                    if !is_new || delivery.redelivered.iter().any(told) {
                        // It may have been delivered first under another policy.
                        continue;
                    }
                    assert!(record.wanted || !self.policy.filtered);
                    if let Some(key) = record.key {
                        *keys.entry((part.partition, key)).or_default() += 1;
                    }
                }
            }
        }
        // Deliveries of one event are out together.
        if let Some(most) = self.policy.keys {
            let most = most.in_flight_max.get();
            assert!(
                keys.values().all(|count| *count <= most),
                "too many of a key"
            );
        }
        self.disk.write(&effects.writes);
        self.check();
        let tokens: Vec<_> = effects.deliveries.iter().map(|one| one.token).collect();
        for token in tokens {
            let mut more = Effects::default();
            self.queue.taken(token, 1, ms(self.now), &mut more);
            if !more.is_empty() {
                self.take(more);
            }
        }
    }

    /// At once as many as may burst, and then so many a second. What reached nobody does not count.
    fn check_rate(&self) {
        let (before, since) = self.delivered;
        let count = self.queue.totals().delivered.saturating_sub(before);
        if let Some(rate) = self.policy.rate {
            let elapsed_ms = (self.now - since) as u64;
            let per_second = u64::from(rate.per_second.get());
            let most = u64::from(rate.burst.get()) + elapsed_ms * per_second / 1_000;
            assert!(count <= most, "{count} in {elapsed_ms} ms: {rate:?}");
        }
    }

    /// Everything before it with the same key is finished.
    fn check_turn(&self, (partition, offset): (u32, Offset), key: u64) {
        let before = &self.logs[partition as usize].entries[..offset.get() as usize];
        for (earlier, entry) in (0..).map(Offset).zip(before) {
            let is_kin = matches!(entry, Entry::Record(record) if record.key == Some(key));
            if is_kin {
                let state = self.queue.state(partition, earlier);
                assert_eq!(
                    state,
                    Some(RecordState::Finished),
                    "{earlier} before {offset}"
                );
            }
        }
    }

    fn check(&mut self) {
        let depth = self.queue.depth(None);
        assert_eq!(
            depth.open,
            depth.ready + depth.leased + depth.parked + depth.behind_key + depth.waiting
        );
        let mut open = 0;
        for (partition, log) in (0..).zip(&self.logs) {
            for offset in (0..log.end().get()).map(Offset) {
                let place = (partition, offset);
                if self.queue.state(partition, offset) == Some(RecordState::Finished) {
                    self.finished.insert(place);
                } else {
                    open += 1;
                    assert!(
                        !self.finished.contains(&place),
                        "{place:?} came to life again"
                    );
                }
            }
        }
        assert_eq!(depth.open, open);
    }

    /// Everybody does their work, and no policy stands in the way: nothing may be left.
    fn finish_everything(&mut self) {
        let policy = QueuePolicy {
            access: Access::Shared,
            rate: None,
            ..self.policy.clone()
        };
        let in_order = self.in_order;
        self.happen(Event::Policy {
            policy: Box::new(policy),
        });
        self.in_order = in_order;
        for consumer in 0..3 {
            self.happen(Event::Gone { consumer });
        }
        for _ in 0..600 {
            let mut effects = Effects::default();
            self.receive(9, 1_000, None, &mut effects);
            self.take(effects);
            let all = std::mem::take(&mut self.receipts);
            let mut effects = Effects::default();
            self.settle(&all, 0, &mut effects);
            self.take(effects);
            let jobs: Vec<_> = self.queue.burials().map(|letter| letter.job).collect();
            for job in jobs {
                let mut effects = Effects::default();
                assert!(
                    self.queue
                        .buried(job, Offset(i64::MAX), ms(self.now), &mut effects)
                );
                self.take(effects);
            }
            if self.queue.depth(None).open == 0 {
                return self.nothing_is_left();
            }
            self.wait(300);
        }
        panic!("left: {:?}", self.queue.depth(None));
    }

    /// What is written down of a queue that has finished is little, and a restart finds it finished.
    fn nothing_is_left(&mut self) {
        self.wait(1_000_000);
        assert_eq!((self.queue.scheduled, self.queue.expiring), (0, 0));
        assert_eq!(self.queue.resting.len(), 0);
        let most = self.logs.len() * 2 + 1;
        let found: Vec<Write> = self.disk.found().collect();
        let is_of_ids = |write: &Write| matches!(write, Write::Ids(_));
        assert!(!found.iter().any(is_of_ids), "ids are forgotten");
        assert!(found.len() <= most, "{} entries", found.len());
        let effects = self.restart();
        self.take(effects);
        assert_eq!(self.queue.depth(None).open, 0);
        assert_eq!(*self.queue.totals(), Totals::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_comes_back(
        policy in policy(),
        partitions in 1..4_usize,
        events in events(),
    ) {
        let mut stage = Stage::new(policy, partitions);
        for event in events {
            stage.happen(event);
        }
        stage.finish_everything();
    }
}
