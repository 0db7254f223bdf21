//! Order by key: at most so many records of one key are on their way at a time, the oldest first; other keys go on.
//!
//! A record enters its key when nothing else holds it back. If the key has a place, the record holds it until it is
//! finished, also while it is retried; else it waits. Keys are known by a 64-bit hash: two keys that share one wait for
//! each other needlessly, and nothing worse.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use millstream_record::{Offset, TimestampMs};

use crate::queues::policy::KeyPolicy;

/// Keys without open records that are kept before anybody looks which can be forgotten.
const IDLE_KEYS_KEPT: usize = 1_024;

/// What became of a record that entered its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It holds a place and may be delivered.
    Ready,
    /// It holds a place and may be delivered from then on.
    At(TimestampMs),
    /// Others are before it.
    Waits,
}

/// A record of a key that may be delivered, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) offset: Offset,
    pub(crate) priority: u8,
    /// From when on; none if at once.
    pub(crate) at: Option<TimestampMs>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has not entered: its own time has not come.
    Outside,
    Waits,
    Holds,
}

#[derive(Debug)]
struct Keyed {
    key: u64,
    priority: u8,
    standing: Standing,
}

#[derive(Debug, Default)]
struct KeyState {
    holding: u32,
    /// When the rate lets the next record pass.
    next_at: TimestampMs,
}

/// The keys of the open records of a partition that were looked at.
#[derive(Debug, Default)]
pub(crate) struct KeyOrder {
    records: BTreeMap<Offset, Keyed>,
    keys: HashMap<u64, KeyState>,
    waiting: BTreeSet<(u64, Offset)>,
}

impl KeyOrder {
    /// Records that wait for others of their key.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A record that is not to be delivered yet for another reason.
    pub(crate) fn stay_outside(&mut self, offset: Offset, key: u64, priority: u8) {
        self.insert(offset, key, priority, Standing::Outside);
    }

    /// A record that has been delivered already holds a place, whether there is one or not.
    pub(crate) fn adopt(&mut self, offset: Offset, key: u64, priority: u8) {
        self.insert(offset, key, priority, Standing::Holds);
        self.keys.entry(key).or_default().holding += 1;
    }

    /// A record wants to be delivered.
    pub(crate) fn enter(
        &mut self,
        offset: Offset,
        key: u64,
        priority: u8,
        policy: KeyPolicy,
        now: TimestampMs,
    ) -> Entry {
        let state = self.keys.entry(key).or_default();
        if state.holding >= policy.in_flight_max.get() {
            self.insert(offset, key, priority, Standing::Waits);
            self.waiting.insert((key, offset));
            return Entry::Waits;
        }
        let at = state.admit(policy, now);
        self.insert(offset, key, priority, Standing::Holds);
        at.map_or(Entry::Ready, Entry::At)
    }

    /// A record's own time has come. None if it holds a place already, or has no key.
    pub(crate) fn come_in(
        &mut self,
        offset: Offset,
        policy: KeyPolicy,
        now: TimestampMs,
    ) -> Option<Entry> {
        let keyed = self.records.get(&offset)?;
        if keyed.standing != Standing::Outside {
            return None;
        }
        let (key, priority) = (keyed.key, keyed.priority);
        Some(self.enter(offset, key, priority, policy, now))
    }

    /// A record no longer waits for its key, though it is not finished.
    pub(crate) fn withdraw(&mut self, offset: Offset) {
        if let Some(keyed) = self.records.get_mut(&offset)
            && keyed.standing == Standing::Waits
        {
            keyed.standing = Standing::Outside;
            self.waiting.remove(&(keyed.key, offset));
        }
    }

    /// A record is finished. The next of its key may be admitted by it.
    pub(crate) fn leave(
        &mut self,
        offset: Offset,
        policy: KeyPolicy,
        now: TimestampMs,
    ) -> Option<Admitted> {
        let keyed = self.records.remove(&offset)?;
        match keyed.standing {
            Standing::Outside => return None,
            Standing::Waits => {
                self.waiting.remove(&(keyed.key, offset));
                return None;
            }
            Standing::Holds => {}
        }
        let state = self.keys.get_mut(&keyed.key)?;
        state.holding -= 1;
        let next = self
            .waiting
            .range((keyed.key, Offset(i64::MIN))..=(keyed.key, Offset(i64::MAX)))
            .next()
            .copied();
        let Some((key, next)) = next.filter(|_| state.holding < policy.in_flight_max.get()) else {
            if state.holding == 0 && state.next_at <= now {
                self.keys.remove(&keyed.key);
            }
            return None;
        };
        let at = state.admit(policy, now);
        self.waiting.remove(&(key, next));
        let record = self.records.get_mut(&next)?;
        record.standing = Standing::Holds;
        Some(Admitted {
            offset: next,
            priority: record.priority,
            at,
        })
    }

    /// The records below an offset.
    pub(crate) fn below(&self, offset: Offset) -> Vec<Offset> {
        self.records
            .range(..offset)
            .map(|(offset, _)| *offset)
            .collect()
    }

    /// Forgets keys that were kept for the sake of their rate alone, when they have become many.
    pub(crate) fn forget_idle(&mut self, now: TimestampMs) {
        if self.keys.len() <= 2 * self.records.len() + IDLE_KEYS_KEPT {
            return;
        }
        self.keys
            .retain(|_, state| state.holding > 0 || state.next_at > now);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let record = size_of::<(Offset, Keyed)>() * 3 / 2;
        let key = size_of::<(u64, KeyState)>() * 3 / 2;
        let waiting = size_of::<(u64, Offset)>() * 3 / 2;
        self.records.len() * record + self.keys.capacity() * key + self.waiting.len() * waiting
    }

    fn insert(&mut self, offset: Offset, key: u64, priority: u8, standing: Standing) {
        self.records.insert(
            offset,
            Keyed {
                key,
                priority,
                standing,
            },
        );
    }
}

impl KeyState {
    /// Gives a place away; says from when on, if not at once.
    fn admit(&mut self, policy: KeyPolicy, now: TimestampMs) -> Option<TimestampMs> {
        self.holding += 1;
        let at = self.next_at.max(now);
        if policy.interval_ms > 0 {
            self.next_at = at.saturating_add(policy.interval_ms.into());
        }
        (at > now).then_some(at)
    }
}
