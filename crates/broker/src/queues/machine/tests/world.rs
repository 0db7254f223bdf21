//! A queue, the model beside it, a log below and a disk that forgets what was not synced.

use millstream_record::{Offset, TimestampMs};

use super::disk::{Disk, create};
use super::log::{Entry, Log, answer_all};
use super::model::{Model, Now, Place};
use super::ms;
use crate::queues::ids::{ConsumerId, Incarnation, Receipt, RequestToken};
use crate::queues::machine::{
    Answers, Effects, Patience, Queue, ReceiptError, Receive, Retry, ScannedRecord,
};
use crate::queues::policy::QueuePolicy;

/// What the disk holds after an event, and the model to go with it.
type Snapshot = (Disk, Model);

pub(super) struct World {
    pub(super) queue: Queue,
    pub(super) model: Model,
    pub(super) now: i64,
    pub(super) logs: Vec<Log>,
    disk: Disk,
    /// Since the last sync.
    unsynced: Vec<Snapshot>,
    pub(super) life: u32,
    pub(super) receipts: Vec<Receipt>,
    tokens: u64,
    /// Offsets that one look at the log brings at most.
    look: usize,
}

impl World {
    pub(super) fn new(policy: QueuePolicy, partitions: usize, look: usize) -> Self {
        let (queue, logs, effects) = create(&policy, partitions);
        let mut world = Self {
            queue,
            model: Model::new(policy),
            now: 0,
            logs,
            disk: Disk::default(),
            unsynced: Vec::new(),
            life: 1,
            receipts: Vec::new(),
            tokens: 0,
            look,
        };
        world.take(effects);
        world
    }

    pub(super) fn append(&mut self, partition: usize, entries: Vec<Entry>) {
        for entry in entries {
            let place = (partition as u32, self.logs[partition].end());
            self.logs[partition].entries.push(entry);
            self.look_at(place, entry);
        }
        let mut effects = Effects::default();
        let end = self.logs[partition].end();
        // The machine sheds before it looks; the oldest are the same either way.
        self.model.shorten();
        self.queue
            .appended(partition as u32, end, ms(self.now), &mut effects);
        self.take(effects);
    }

    pub(super) fn receive(&mut self, max: u32, visibility_ms: u64, wait_ms: i64) {
        self.tokens += 1;
        let request = Receive {
            token: RequestToken(self.tokens),
            consumer: match self.tokens % 3 {
                0 => ConsumerId::of_connection(0),
                other => ConsumerId(other),
            },
            max,
            visibility_ms,
            patience: Patience::Until(ms(self.now + wait_ms)),
        };
        let mut effects = Effects::default();
        self.queue
            .receive(request, ms(self.now), &mut effects)
            .unwrap();
        self.take(effects);
    }

    /// Picks receipts, out of those that were ever given.
    pub(super) fn pick(&self, which: &[usize]) -> Vec<Receipt> {
        let mut picked: Vec<Receipt> = which
            .iter()
            .filter(|_| !self.receipts.is_empty())
            .map(|index| self.receipts[index % self.receipts.len()])
            .collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    pub(super) fn ack(&mut self, receipts: &[Receipt]) {
        let expected = self.expect(receipts, true, |model, place, _| model.finish(place));
        let (mut answers, mut effects) = (Answers::new(), Effects::default());
        self.queue
            .ack(receipts, ms(self.now), &mut answers, &mut effects);
        assert_eq!(answers, expected);
        self.take(effects);
        self.unsynced.clear();
    }

    pub(super) fn nack(&mut self, receipts: &[Receipt], retry: Retry) {
        let delay_ms = match retry {
            Retry::Now => Some(0),
            Retry::After(delay_ms) => Some(delay_ms),
            Retry::AsPolicySays => None,
        };
        let expected = self.expect(receipts, false, |model, place, now| {
            model.come_back(place, delay_ms, now);
        });
        let (mut answers, mut effects) = (Answers::new(), Effects::default());
        self.queue
            .nack(receipts, retry, ms(self.now), &mut answers, &mut effects);
        assert_eq!(answers, expected);
        self.take(effects);
    }

    pub(super) fn reject(&mut self, receipts: &[Receipt]) {
        let expected = self.expect(receipts, true, |model, place, _| model.reject(place));
        let (mut answers, mut effects) = (Answers::new(), Effects::default());
        self.queue
            .reject(receipts, ms(self.now), &mut answers, &mut effects);
        assert_eq!(answers, expected);
        self.take(effects);
    }

    pub(super) fn extend(&mut self, receipts: &[Receipt], visibility_ms: u64) {
        let until = self.now + visibility_ms as i64;
        let expected = self.expect(receipts, false, |model, place, _| {
            let item = model.items.get_mut(&place).unwrap();
            if let Now::Leased { until: old, .. } = &mut item.now {
                *old = until;
            }
        });
        let (mut answers, mut effects) = (Answers::new(), Effects::default());
        self.queue.extend(
            receipts,
            visibility_ms,
            ms(self.now),
            &mut answers,
            &mut effects,
        );
        assert_eq!(answers, expected);
        self.take(effects);
    }

    /// What the answers will be, and what follows in the model.
    fn expect(
        &mut self,
        receipts: &[Receipt],
        late_counts: bool,
        mut then: impl FnMut(&mut Model, Place, i64),
    ) -> Answers {
        let life = Incarnation(self.life);
        let mut answers = Answers::new();
        for receipt in receipts {
            let mut answer = self.model.judge(receipt, life);
            if late_counts && answer == Err(ReceiptError::Lapsed) {
                answer = Ok(());
            }
            if answer.is_ok() {
                let place = (receipt.partition, receipt.offset);
                then(&mut self.model, place, self.now);
            }
            answers.push(answer);
        }
        answers
    }

    pub(super) fn wait(&mut self, duration_ms: i64) {
        let until = self.now + duration_ms;
        loop {
            let next = self.queue.next_deadline().map(TimestampMs::get);
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.expire();
        }
        self.now = until;
        self.expire();
    }

    fn expire(&mut self) {
        self.model.tick(self.now);
        let mut effects = Effects::default();
        self.queue.expire(ms(self.now), &mut effects);
        self.take(effects);
    }

    /// The dead letters of the first job are appended.
    pub(super) fn bury(&mut self) {
        let Some(letter) = self.queue.burials().next().cloned() else {
            return;
        };
        for offset in letter.part.run.offsets() {
            let place = (letter.part.partition, offset);
            if self.model.items[&place].now == Now::Dying {
                self.model.finish(place);
            }
        }
        let mut effects = Effects::default();
        assert!(
            self.queue
                .buried(letter.job, Offset(i64::MAX), ms(self.now), &mut effects)
        );
        self.take(effects);
    }

    pub(super) fn pause(&mut self, paused: bool) {
        let mut effects = Effects::default();
        self.model.paused = paused;
        if paused {
            self.queue.pause(&mut effects);
        } else {
            self.queue.resume(ms(self.now), &mut effects);
        }
        self.take(effects);
    }

    pub(super) fn purge(&mut self) {
        let mut purged = 0;
        for item in self.model.items.values_mut() {
            if matches!(item.now, Now::Ready | Now::Resting { .. } | Now::Behind) {
                item.now = Now::Done;
                purged += 1;
            }
        }
        let mut effects = Effects::default();
        assert_eq!(self.queue.purge(ms(self.now), &mut effects), purged);
        self.take(effects);
    }

    pub(super) fn trim(&mut self, partition: usize, count: i64) {
        let log = &mut self.logs[partition];
        log.start = (log.start + count).min(log.end().get());
        let start = Offset(log.start);
        let index = partition as u32;
        let mut lost = 0;
        for (_, item) in self
            .model
            .items
            .range_mut((index, Offset(0))..(index, start))
        {
            lost += u64::from(item.now != Now::Done);
            item.now = Now::Done;
        }
        let mut effects = Effects::default();
        let told = self.queue.trimmed(index, start, ms(self.now), &mut effects);
        assert_eq!(told, lost);
        self.take(effects);
    }

    /// The process ends and starts again. Of what was not synced, the disk has kept the first so many events.
    pub(super) fn restart(&mut self, kept: usize) {
        if !self.unsynced.is_empty() {
            let (disk, model) = self.unsynced[kept % self.unsynced.len()].clone();
            let policy = self.model.policy.clone();
            self.disk = disk;
            let mut newer = std::mem::replace(&mut self.model, model);
            // The log itself keeps what was appended and trimmed.
            newer
                .items
                .retain(|place, _| !self.model.items.contains_key(place));
            for (place, item) in newer.items {
                let fresh = self.logs[place.0 as usize].entries[place.1.get() as usize];
                self.model.items.insert(place, item);
                self.look_at(place, fresh);
            }
            self.model.policy = policy;
            for (partition, log) in (0..).zip(&self.logs) {
                let lost = (partition, Offset(0))..(partition, Offset(log.start));
                self.model
                    .items
                    .range_mut(lost)
                    .for_each(|(_, item)| item.now = Now::Done);
            }
        }
        self.model.crash(self.now);
        self.model.shorten();
        self.life += 1;
        let policy = &self.model.policy;
        let restored = (self.disk).restore(policy, &self.logs, self.life, self.now);
        let mut effects = restored.1;
        self.queue = restored.0;
        self.look_at_logs(&mut effects);
        self.model.tick(self.now);
        self.queue.expire(ms(self.now), &mut effects);
        self.take(effects);
    }

    /// The model learns of an entry.
    fn look_at(&mut self, place: Place, entry: Entry) {
        match entry {
            Entry::Record(record) => {
                let due = record.deliver_at.filter(|_| self.model.policy.delays);
                let expires = record.expires_at.filter(|_| self.model.policy.record_ttl);
                let priority = if self.model.policy.priorities {
                    record.priority
                } else {
                    0
                };
                let due = due.map_or(i64::MIN, TimestampMs::get);
                let expires = expires.map(TimestampMs::get);
                self.model.add(place, priority, due, expires, self.now);
                let has_keys = self.model.policy.keys.is_some();
                if let Some(key) = record.key.filter(|_| has_keys) {
                    self.model.has_key(place, key);
                }
            }
            Entry::Control | Entry::Gap => self.model.put(place, Now::Done, 0, None),
            Entry::Damaged => self.model.add_damaged(place),
        }
    }

    fn look_at_logs(&mut self, effects: &mut Effects) {
        answer_all(&self.logs, &mut self.queue, effects, self.look, self.now);
    }

    /// Does what is to be done, and compares everything.
    fn take(&mut self, mut effects: Effects) {
        self.look_at_logs(&mut effects);
        self.model.admit();
        for delivery in effects.deliveries.drain(..) {
            self.model.deliver(&delivery);
            for part in &delivery.parts {
                self.receipts.extend(
                    part.run
                        .offsets()
                        .map(|offset| Receipt::new(delivery.lease, part.partition, offset)),
                );
            }
        }
        self.disk.write(&effects.writes);
        self.unsynced.push((self.disk.clone(), self.model.clone()));
        self.compare();
    }

    pub(super) fn compare(&self) {
        for place in self.model.items.keys() {
            let state = self.queue.state(place.0, place.1).unwrap();
            assert_eq!(state, self.model.state(*place), "{place:?} at {}", self.now);
        }
        let depth = self.queue.depth(None);
        let model = &self.model;
        assert_eq!(depth.open, model.count(|now| *now != Now::Done));
        assert_eq!(depth.ready, model.count(|now| *now == Now::Ready));
        let leased = |now: &Now| matches!(now, Now::Leased { .. });
        assert_eq!(depth.leased, model.count(leased));
        assert_eq!(depth.behind_key, model.count(|now| *now == Now::Behind));
        assert_eq!(depth.waiting, 0);
        let may_deliver = !model.paused
            && model
                .policy
                .in_flight_max
                .is_none_or(|most| depth.leased < most);
        if self.queue.waiting_requests() > 0 && may_deliver {
            assert_eq!(depth.ready, 0, "somebody waits for what is ready");
        }
        for (partition, log) in (0..).zip(&self.logs) {
            let finished = self.queue.finished(partition, Offset(0), log.end());
            let told: Vec<Offset> = finished
                .iter()
                .flat_map(|range| (range.start.get()..range.end.get()).map(Offset))
                .collect();
            let done: Vec<Offset> = model
                .items
                .range((partition, Offset(0))..(partition, Offset(i64::MAX)))
                .filter(|(_, item)| item.now == Now::Done)
                .map(|(place, _)| place.1)
                .collect();
            assert_eq!(told, done);
        }
    }

    /// A record for the log, `delay_ms` and `ttl_ms` from now; 0 is none.
    pub(super) fn record(
        &self,
        partition: usize,
        ahead: i64,
        (priority, key, delay_ms, ttl_ms): (u8, Option<u64>, i64, i64),
    ) -> Entry {
        let offset = Offset(self.logs[partition].end().get() + ahead);
        let mut record = ScannedRecord::new(offset, ms(self.now));
        record.key = key;
        record.priority = priority;
        record.deliver_at = (delay_ms > 0).then(|| ms(self.now + delay_ms));
        record.expires_at = (ttl_ms > 0).then(|| ms(self.now + ttl_ms));
        Entry::Record(record)
    }
}
