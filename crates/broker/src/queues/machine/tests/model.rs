//! The naive model: every record by itself, every question answered by looking at all of them.

use std::collections::BTreeMap;

use millstream_record::Offset;

use crate::queues::ids::{Incarnation, LeaseNumber, Receipt};
use crate::queues::machine::{Delivery, ReceiptError, RecordState};
use crate::queues::policy::QueuePolicy;

pub(super) type Place = (u32, Offset);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    Ready,
    /// Behind others of its key.
    Behind,
    Leased {
        lease: LeaseNumber,
        until: i64,
        by_connection: bool,
    },
    Resting {
        until: i64,
    },
    Dying,
    Done,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) now: Now,
    pub(super) priority: u8,
    key: Option<u64>,
    pub(super) expires: Option<i64>,
    /// It cannot be decoded.
    pub(super) damaged: bool,
    /// Its time to live ended while it could not be touched.
    pub(super) overdue: bool,
    /// Deliveries that have ended.
    pub(super) attempts: u16,
    /// Until when it rests, or rested, after the last of them.
    rests_until: i64,
    /// The last lease it came back from.
    pub(super) last: Option<LeaseNumber>,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) policy: QueuePolicy,
    pub(super) items: BTreeMap<Place, Item>,
    pub(super) paused: bool,
}

impl Model {
    pub(super) fn new(policy: QueuePolicy) -> Self {
        Self {
            policy,
            items: BTreeMap::new(),
            paused: false,
        }
    }

    /// A record is added, and looked at at once.
    pub(super) fn add(
        &mut self,
        place: Place,
        priority: u8,
        due: i64,
        expires: Option<i64>,
        now: i64,
    ) {
        let state = if expires.is_some_and(|expires| expires <= now) {
            Now::Done
        } else if due > now {
            Now::Resting { until: due }
        } else {
            Now::Ready
        };
        self.put(place, state, priority, expires);
    }

    pub(super) fn put(&mut self, place: Place, now: Now, priority: u8, expires: Option<i64>) {
        let item = Item {
            now,
            priority,
            key: None,
            expires,
            damaged: false,
            overdue: false,
            attempts: 0,
            rests_until: i64::MIN,
            last: None,
        };
        self.items.insert(place, item);
    }

    /// A record that was added has a key, and waits if others have its places.
    pub(super) fn has_key(&mut self, place: Place, key: u64) {
        let item = self.items.get_mut(&place).unwrap();
        item.key = Some(key);
        if item.now == Now::Ready {
            item.now = Now::Behind;
            self.admit();
        }
    }

    /// The oldest behind a key that has a place get it.
    pub(super) fn admit(&mut self) {
        let Some(policy) = self.policy.keys else {
            return;
        };
        let most = policy.in_flight_max.get();
        let mut held: BTreeMap<(u32, u64), u32> = BTreeMap::new();
        for ((partition, _), item) in &self.items {
            if let (Some(key), false) = (item.key, matches!(item.now, Now::Done | Now::Behind)) {
                *held.entry((*partition, key)).or_default() += 1;
            }
        }
        for ((partition, _), item) in &mut self.items {
            let Some(key) = item.key.filter(|_| item.now == Now::Behind) else {
                continue;
            };
            let held = held.entry((*partition, key)).or_default();
            if *held < most {
                *held += 1;
                item.now = Now::Ready;
            }
        }
    }

    /// A batch of one that cannot be decoded.
    pub(super) fn add_damaged(&mut self, place: Place) {
        self.put(place, Now::Ready, 0, None);
        self.items.get_mut(&place).unwrap().damaged = true;
        self.die(place);
    }

    pub(super) fn state(&self, place: Place) -> RecordState {
        match self.items[&place].now {
            Now::Ready => RecordState::Ready(self.items[&place].priority),
            Now::Leased { .. } | Now::Dying => RecordState::Leased,
            Now::Resting { .. } | Now::Behind => RecordState::Parked,
            Now::Done => RecordState::Finished,
        }
    }

    pub(super) fn count(&self, what: impl Fn(&Now) -> bool) -> u64 {
        self.items.values().filter(|item| what(&item.now)).count() as u64
    }

    /// Those that may be delivered, in the order of a partition.
    pub(super) fn ready(&self) -> impl Iterator<Item = (Place, &Item)> {
        let all = self.items.iter();
        all.filter(|(_, item)| item.now == Now::Ready)
            .map(|(place, item)| (*place, item))
    }

    /// A delivery must hold what is most urgent, and of each partition what is oldest.
    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        let mut last: BTreeMap<(u32, u8), Offset> = BTreeMap::new();
        let mut lowest = u8::MAX;
        for part in &delivery.parts {
            for offset in part.run.offsets() {
                let item = self.items.get_mut(&(part.partition, offset)).unwrap();
                assert_eq!(item.now, Now::Ready, "{offset} was not ready");
                assert_eq!(item.priority, part.priority);
                assert!(part.priority <= lowest, "the urgent come first");
                lowest = part.priority;
                item.now = Now::Leased {
                    lease: delivery.lease,
                    until: delivery.deadline.get(),
                    by_connection: delivery.consumer.is_connection(),
                };
                let attempts = item.attempts + 1;
                let told = delivery
                    .redelivered
                    .iter()
                    .find(|told| (told.partition, told.offset) == (part.partition, offset));
                assert_eq!(told.map_or(1, |told| told.attempts), attempts);
                let before = last.insert((part.partition, part.priority), offset);
                assert!(before < Some(offset), "a partition's records come in order");
            }
        }
        for (place, item) in self.ready() {
            assert!(item.priority <= lowest, "{place:?} is more urgent");
            if let Some(last) = last.get(&(place.0, item.priority)) {
                assert!(place.1 > *last, "{place:?} is older");
            }
        }
    }

    /// What a receipt is worth: `Ok` if a lease holds the record.
    pub(super) fn judge(&self, receipt: &Receipt, life: Incarnation) -> Result<(), ReceiptError> {
        let Some(item) = self.items.get(&(receipt.partition, receipt.offset)) else {
            return Err(ReceiptError::Unknown);
        };
        match item.now {
            Now::Done | Now::Dying => Err(ReceiptError::Finished),
            Now::Leased { lease, .. } if lease == receipt.lease => Ok(()),
            Now::Leased { .. } => Err(ReceiptError::Superseded),
            Now::Ready | Now::Resting { .. } | Now::Behind => Err(match item.last {
                Some(last) if last == receipt.lease => ReceiptError::Lapsed,
                Some(last) if last > receipt.lease => ReceiptError::Superseded,
                _ if receipt.lease.incarnation() < life => ReceiptError::Lapsed,
                _ => ReceiptError::Unknown,
            }),
        }
    }

    pub(super) fn finish(&mut self, place: Place) {
        self.items.get_mut(&place).unwrap().now = Now::Done;
    }

    pub(super) fn die(&mut self, place: Place) {
        let dead_letters = self.policy.dead_letters;
        let item = self.items.get_mut(&place).unwrap();
        item.now = if dead_letters { Now::Dying } else { Now::Done };
    }

    /// A consumer has no hope for it.
    pub(super) fn reject(&mut self, place: Place) {
        let item = self.items.get_mut(&place).unwrap();
        if let Now::Leased { lease, .. } = item.now {
            item.attempts += 1;
            item.rests_until = i64::MIN;
            item.last = Some(lease);
        }
        self.die(place);
    }

    /// A delivery ends without success.
    pub(super) fn come_back(&mut self, place: Place, delay_ms: Option<u64>, now: i64) {
        let retry = self.policy.retry;
        let item = self.items.get_mut(&place).unwrap();
        let Now::Leased { lease, .. } = item.now else {
            panic!("{place:?} was not leased");
        };
        if item.overdue {
            return self.finish(place);
        }
        item.attempts += 1;
        item.rests_until = i64::MIN;
        item.last = Some(lease);
        let delay_ms = delay_ms.unwrap_or_else(|| retry.delay_ms(item.attempts, 0));
        if retry.is_exhausted(item.attempts) {
            self.die(place);
        } else if delay_ms > 0 {
            let until = now + delay_ms as i64;
            item.rests_until = until;
            item.now = Now::Resting { until };
        } else {
            item.now = Now::Ready;
        }
    }

    /// Everything whose time has come.
    pub(super) fn tick(&mut self, now: i64) {
        let places: Vec<Place> = self.items.keys().copied().collect();
        for place in places {
            self.tick_one(place, now);
        }
    }

    fn tick_one(&mut self, place: Place, now: i64) {
        let item = self.items.get_mut(&place).unwrap();
        let is_over = item.expires.is_some_and(|expires| expires <= now);
        match item.now {
            Now::Ready if is_over => item.now = Now::Done,
            Now::Leased { until, .. } => {
                // After a stop, more than one thing is late; they happen in the order in which they were due.
                item.overdue |= is_over && item.expires.is_some_and(|expires| expires < until);
                if until <= now {
                    self.come_back(place, None, now);
                    self.tick_one(place, now);
                }
            }
            Now::Resting { until } => {
                item.overdue |= is_over;
                if until <= now {
                    item.now = if is_over { Now::Done } else { Now::Ready };
                }
            }
            _ => {}
        }
    }

    /// Drops the oldest that nobody holds until the queue is as long as it may be.
    pub(super) fn shorten(&mut self) {
        let Some(length) = self.policy.length else {
            return;
        };
        let counted = |now: &Now| !matches!(now, Now::Done | Now::Dying);
        while self.count(counted) > length.records_max {
            let idle = |now: &Now| matches!(now, Now::Ready | Now::Resting { .. });
            let oldest = self.items.iter().find(|(_, item)| idle(&item.now));
            let Some(place) = oldest.map(|(place, _)| *place) else {
                return;
            };
            self.finish(place);
        }
    }

    /// The process ends, and all connections with it. What was on its way to the dead letters is not there: it starts over,
    /// unless it had its last attempt.
    pub(super) fn crash(&mut self, now: i64) {
        let retry = self.policy.retry;
        let of_connections = self.items.iter().filter(|(_, item)| {
            matches!(
                item.now,
                Now::Leased {
                    by_connection: true,
                    ..
                }
            )
        });
        let of_connections: Vec<Place> = of_connections.map(|(place, _)| *place).collect();
        for place in of_connections {
            self.items.get_mut(&place).unwrap().overdue = false;
            self.come_back(place, Some(0), now);
        }
        for item in self.items.values_mut() {
            let is_over = item.expires.is_some_and(|expires| expires <= now);
            item.overdue = false;
            let starts_over = match item.now {
                Now::Dying if item.damaged => false,
                Now::Dying if retry.is_exhausted(item.attempts) && !is_over => false,
                Now::Dying if item.rests_until > now => {
                    // It was rejected by the last to hold it, while it rested.
                    let until = item.rests_until;
                    item.now = Now::Resting { until };
                    item.overdue = is_over;
                    false
                }
                Now::Ready | Now::Dying => true,
                // It waits for its first delivery, which leaves no trace.
                Now::Resting { .. } => item.attempts == 0 && is_over,
                _ => false,
            };
            if starts_over {
                item.now = if is_over { Now::Done } else { Now::Ready };
            }
        }
    }
}
