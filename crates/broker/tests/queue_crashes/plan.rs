//! What a run is like: what the queue is told to do, and what goes wrong.

use std::num::NonZeroU32;

use millstream_broker::queues::QueuePolicy;
use millstream_broker::queues::policy::{Backoff, KeyPolicy, RetryPolicy};
use millstream_env::SeededRng;
use millstream_env::sim::Faults;

use crate::model::{ATTEMPTS_MAX, Item};

/// Few, so that many messages are behind one another.
const KEYS: u64 = 5;

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) seed: u64,
    pub(crate) trouble: Trouble,
    kind: Kind,
    pub(crate) traced: bool,
}

/// What the queue is told to do, beside retrying and keeping its dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Messages of one key come one after another, in their order.
    Keys,
    /// Messages have keys and ids; some repeat one.
    Ids,
    /// Some messages go first, are delayed, or do not live long.
    Times,
}

/// What goes wrong, beside that the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The power goes.
    Power,
    /// The power goes, and syncs fail.
    Syncs,
    /// The power goes, and writes fail.
    Writes,
    /// The power goes, and reads fail.
    Reads,
    /// The power goes, and the disk fills up at times.
    Room,
    /// Nothing: the topic promises the page cache only.
    Kills,
    /// The power goes, and once the broker has started, syncs do nothing.
    Lies,
}

impl Plan {
    pub fn for_seed(seed: u64) -> Self {
        let trouble = match seed % 7 {
            2 => Trouble::Syncs,
            3 => Trouble::Writes,
            4 => Trouble::Room,
            5 => Trouble::Kills,
            6 => Trouble::Reads,
            _ => Trouble::Power,
        };
        let kind = match seed / 7 % 4 {
            1 => Kind::Keys,
            2 => Kind::Ids,
            3 => Kind::Times,
            _ => Kind::Plain,
        };
        Self {
            seed,
            trouble,
            kind,
            traced: false,
        }
    }

    pub fn traced(self) -> Self {
        Self {
            traced: true,
            ..self
        }
    }

    /// On a disk whose fsync does nothing.
    pub fn lying(seed: u64) -> Self {
        Self {
            trouble: Trouble::Lies,
            ..Self::for_seed(seed)
        }
    }

    /// What the disk does wrong while a broker lives, or while it begins.
    pub(crate) fn faults(&self, begins: bool) -> Faults {
        match self.trouble {
            Trouble::Syncs => Faults {
                sync_error_one_in: 80,
                ..Faults::default()
            },
            Trouble::Writes => Faults {
                write_error_one_in: 100,
                ..Faults::default()
            },
            Trouble::Reads => Faults {
                read_error_one_in: 40,
                ..Faults::default()
            },
            Trouble::Lies if !begins => Faults {
                fsync_is_a_lie: true,
                ..Faults::default()
            },
            _ => Faults::default(),
        }
    }

    pub(crate) fn is(&self, trouble: Trouble) -> bool {
        self.trouble == trouble
    }

    pub(crate) fn policy(&self) -> QueuePolicy {
        let fifo = KeyPolicy {
            in_flight_max: NonZeroU32::MIN,
            interval_ms: 0,
        };
        QueuePolicy {
            keys: self.has_keys().then_some(fifo),
            priorities: self.kind == Kind::Times,
            delays: self.kind == Kind::Times,
            record_ttl: self.kind == Kind::Times,
            retry: RetryPolicy {
                attempts_max: NonZeroU32::new(ATTEMPTS_MAX),
                backoff: Backoff::Fixed { delay_ms: 3 },
                ..RetryPolicy::default()
            },
            dead_letters: true,
            ..QueuePolicy::default()
        }
    }

    fn has_keys(&self) -> bool {
        matches!(self.kind, Kind::Keys | Kind::Ids)
    }

    /// What a message that is published at `now` says of itself. One of those that are `there` may come again.
    pub(crate) fn item(&self, rng: &SeededRng, now: i64, there: &[(u64, Option<u64>)]) -> Item {
        let mut item = Item::default();
        if self.has_keys() {
            item.key = Some(rng.below(KEYS));
        }
        if self.kind == Kind::Ids && !there.is_empty() && rng.one_in(4) {
            let (id, key) = there[rng.below(there.len() as u64) as usize];
            // With the same key they are in the same partition, and so looked at in the order in which they came.
            item.key = key;
            item.repeats = Some(id);
        }
        item.has_id = self.kind == Kind::Ids;
        if self.kind == Kind::Times {
            item.priority = rng.below(3) as u8;
            item.due = rng.one_in(3).then(|| now + rng.below(60) as i64);
            item.expires = rng.one_in(3).then(|| now + rng.below(80) as i64);
        }
        item
    }
}
