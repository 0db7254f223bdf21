//! What a queue is told to do: settings, without behaviour. A change takes effect on the live queue.

use std::num::NonZeroU32;

use millstream_limits::{
    QUEUE_CONSUMER_IDLE_MS_DEFAULT, QUEUE_DEDUP_WINDOW_MS_DEFAULT, QUEUE_WINDOW_RECORDS_DEFAULT,
};
use serde::{Deserialize, Deserializer, Serialize};

/// How one queue behaves. The default is a plain queue: first come first served, thirty seconds to answer, no end to
/// retries, and nothing to be known of records but whether they repeat an id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "settings that are on or off independently of each other"
)]
pub struct QueuePolicy {
    /// How far the queue looks ahead of delivery, in records; priority and key order hold within it.
    pub window_records: usize,
    /// What happens between attempts, and after the last.
    pub retry: RetryPolicy,
    /// Whether records that fail for good go to a dead-letter topic; else they are dropped, and counted.
    pub dead_letters: bool,
    /// Whether records are delivered by their priority.
    pub priorities: bool,
    /// Whether records' own delays and times to be delivered at count.
    pub delays: bool,
    /// Every record waits this long after its timestamp. 0 is not at all.
    pub delay_ms: u64,
    /// Whether records' own times to live count.
    pub record_ttl: bool,
    /// Every record lives this long from its timestamp.
    pub ttl_ms: Option<u64>,
    /// Whether expired records go to the dead letters.
    pub dead_letter_expired: bool,
    /// Order and limits by key.
    pub keys: Option<KeyPolicy>,
    /// Records with an id that was seen this recently are dropped. 0 is never.
    #[serde(deserialize_with = "zero_for_null")]
    pub dedup_window_ms: u64,
    /// Whether records are filtered: the caller says of each whether it belongs. It follows from whether there is a filter.
    #[serde(skip)]
    pub filtered: bool,
    /// How many records the queue may hold, and what happens beyond.
    pub length: Option<LengthPolicy>,
    /// How many records may be leased at a time.
    pub in_flight_max: Option<u64>,
    /// How fast records may be delivered.
    pub rate: Option<RatePolicy>,
    /// Who may receive.
    pub access: Access,
    /// When a consumer that shows no sign of life stops being the active one.
    pub consumer_idle_ms: u64,
}

/// What a queue has to know of records before it can sort them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing but that they are there.
    Past,
    /// Whether they have ids. Those of a batch in which none has one need not be told apart.
    ForIds,
    /// What each says of itself.
    Inside,
}

/// Attempts and the time between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// After so many deliveries a record that fails again is dead. None: never.
    pub attempts_max: Option<NonZeroU32>,
    /// How the delay grows.
    pub backoff: Backoff,
    /// The delay is at most this. None: as long as it gets.
    pub delay_ms_max: Option<u64>,
    /// Up to this part of the delay, in percent, is taken off at random.
    pub jitter_percent: u8,
}

/// How the delay before an attempt grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Backoff {
    /// Always the same.
    Fixed {
        /// The delay.
        delay_ms: u64,
    },
    /// The same more after each attempt.
    Linear {
        /// The delay after the first attempt, and what each further one adds.
        delay_ms: u64,
    },
    /// Twice as much after each attempt.
    Exponential {
        /// The delay after the first attempt.
        delay_ms: u64,
    },
}

/// What one key may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPolicy {
    /// Records of one key on their way at a time. One is first in, first out.
    pub in_flight_max: NonZeroU32,
    /// The least time between two records of one key. 0 is none.
    pub interval_ms: u32,
}

/// The most records a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthPolicy {
    /// Records that are not finished, leased ones included. With a filter only those that were looked at: see
    /// [`QueuePolicy::length_follows_looks`].
    pub records_max: u64,
    /// What happens beyond.
    pub overflow: Overflow,
}

/// What happens to a queue that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// New records are refused before they are written. Only those who ask can be: see [`super::Queue::has_room`].
    Refuse,
    /// The oldest that nobody holds are dropped.
    DropOldest,
    /// The oldest that nobody holds go to the dead letters.
    DeadLetterOldest,
}

/// How fast records may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatePolicy {
    /// Records a second.
    pub per_second: NonZeroU32,
    /// How many may come at once after a pause.
    pub burst: NonZeroU32,
}

/// Who may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Anybody, in turn.
    Shared,
    /// One consumer; others are refused while it lives.
    Exclusive,
    /// One consumer; others wait until it is gone.
    SingleActive,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            window_records: QUEUE_WINDOW_RECORDS_DEFAULT,
            retry: RetryPolicy::default(),
            dead_letters: false,
            priorities: false,
            delays: false,
            delay_ms: 0,
            record_ttl: false,
            ttl_ms: None,
            dead_letter_expired: false,
            keys: None,
            dedup_window_ms: QUEUE_DEDUP_WINDOW_MS_DEFAULT,
            filtered: false,
            length: None,
            in_flight_max: None,
            rate: None,
            access: Access::Shared,
            consumer_idle_ms: QUEUE_CONSUMER_IDLE_MS_DEFAULT,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: None,
            backoff: Backoff::Fixed { delay_ms: 0 },
            delay_ms_max: None,
            jitter_percent: 0,
        }
    }
}

impl QueuePolicy {
    /// What the queue has to know of records.
    pub fn look(&self) -> Look {
        let inside = self.priorities
            || self.delays
            || self.delay_ms > 0
            || self.record_ttl
            || self.ttl_ms.is_some()
            || self.keys.is_some()
            || self.filtered;
        match inside {
            true => Look::Inside,
            false if self.deduplicates() => Look::ForIds,
            false => Look::Past,
        }
    }

    /// Whether records that repeat an id are dropped.
    pub(crate) fn deduplicates(&self) -> bool {
        self.dedup_window_ms > 0
    }

    /// Whether a look at records may find that the queue does not want them.
    pub(crate) fn may_not_want_records(&self) -> bool {
        self.filtered || self.deduplicates()
    }

    /// Whether records are none of the queue's length before they were looked at. A filter may want none of them. That
    /// one repeats an id is the exception, for which nothing else may be dropped, but it takes a place where there is
    /// none for more.
    pub(crate) fn length_follows_looks(&self) -> bool {
        self.filtered
    }

    /// How far the queue looks ahead. One that does not know its length before it has looked at its records looks beyond
    /// the greatest, or it would not find out that it is too long.
    pub(crate) fn looks_ahead(&self) -> usize {
        let beyond = self.length.filter(|_| self.length_follows_looks());
        let beyond = beyond.map_or(0, |length| {
            usize::try_from(length.records_max).unwrap_or(usize::MAX)
        });
        self.window_records.saturating_add(beyond)
    }

    /// Whether records that were looked at under `earlier` have to be looked at again.
    pub(crate) fn sees_records_unlike(&self, earlier: &Self) -> bool {
        let sight = |policy: &Self| {
            (
                (policy.priorities, policy.delays, policy.delay_ms),
                (policy.record_ttl, policy.ttl_ms, policy.filtered),
                (policy.keys, policy.dedup_window_ms),
            )
        };
        sight(self) != sight(earlier)
    }
}

/// Queues of the time before there was a default have null for none.
fn zero_for_null<'de, D: Deserializer<'de>>(stored: D) -> Result<u64, D::Error> {
    Ok(Option::deserialize(stored)?.unwrap_or(0))
}

impl RetryPolicy {
    /// How long a record rests after so many attempts. `random` is any number; it decides the jitter.
    pub(crate) fn delay_ms(&self, attempts: u16, random: u64) -> u64 {
        let full = match self.backoff {
            Backoff::Fixed { delay_ms } => delay_ms,
            Backoff::Linear { delay_ms } => delay_ms.saturating_mul(attempts.into()),
            Backoff::Exponential { delay_ms } => {
                let doublings = u32::from(attempts.saturating_sub(1)).min(63);
                delay_ms.saturating_mul(1 << doublings)
            }
        };
        let full = self.delay_ms_max.map_or(full, |most| full.min(most));
        let share = full / 100 * u64::from(self.jitter_percent.min(100))
            + full % 100 * u64::from(self.jitter_percent.min(100)) / 100;
        full - if share == 0 { 0 } else { random % (share + 1) }
    }

    /// Whether a record is dead after so many attempts.
    pub(crate) fn is_exhausted(&self, attempts: u16) -> bool {
        self.attempts_max
            .is_some_and(|most| u32::from(attempts) >= most.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_as_told_and_stop_at_the_cap() {
        let delays = |backoff| {
            let retry = RetryPolicy {
                backoff,
                delay_ms_max: Some(350),
                ..RetryPolicy::default()
            };
            [1, 2, 3, 4, u16::MAX].map(|attempts| retry.delay_ms(attempts, 99))
        };
        assert_eq!(delays(Backoff::Fixed { delay_ms: 100 }), [100; 5]);
        assert_eq!(
            delays(Backoff::Linear { delay_ms: 100 }),
            [100, 200, 300, 350, 350]
        );
        assert_eq!(
            delays(Backoff::Exponential { delay_ms: 100 }),
            [100, 200, 350, 350, 350]
        );
    }

    #[test]
    fn jitter_takes_off_no_more_than_its_share() {
        let retry = RetryPolicy {
            backoff: Backoff::Fixed { delay_ms: 1_000 },
            jitter_percent: 20,
            ..RetryPolicy::default()
        };
        let delays: Vec<u64> = (0..1_000)
            .map(|random| retry.delay_ms(1, random * 7_919))
            .collect();
        assert!(delays.iter().all(|delay| (800..=1_000).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 820) && delays.iter().any(|delay| *delay > 980));
    }

    #[test]
    fn a_plain_queue_needs_no_look_inside() {
        assert_eq!(QueuePolicy::default().look(), Look::ForIds);
        let length = LengthPolicy {
            records_max: 1,
            overflow: Overflow::DropOldest,
        };
        let plain = QueuePolicy {
            length: Some(length),
            in_flight_max: Some(10),
            dead_letters: true,
            ..QueuePolicy::default()
        };
        assert_eq!(plain.look(), Look::ForIds);
        let undivided = QueuePolicy {
            dedup_window_ms: 0,
            ..plain.clone()
        };
        assert_eq!(undivided.look(), Look::Past);
        let late = QueuePolicy {
            delay_ms: 1,
            ..plain
        };
        assert_eq!(late.look(), Look::Inside);
    }

    #[test]
    fn a_queue_of_the_time_before_the_default_goes_on_without() {
        let window = |stored: &str| {
            let policy: QueuePolicy = serde_json::from_str(stored).unwrap();
            policy.dedup_window_ms
        };
        assert_eq!(window(r#"{"dedup_window_ms":null}"#), 0);
        assert_eq!(window(r#"{"dedup_window_ms":7}"#), 7);
        assert_eq!(window("{}"), 300_000);
    }
}
