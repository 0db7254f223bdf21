//! The words of a transcript's event: `name=value` pairs and the rest; and what they say of a policy.
//!
//! ```text
//! window=100 attempts=3 fixed=100|linear=100|exponential=100 cap=1000 dead dead-expired priorities delays delay=100
//! record-ttl ttl=1000 keys=1 interval=100 dedup=1000 filtered length=5 overflow=refuse|drop|dead in-flight=2
//! rate=10 burst=5 access=exclusive|single idle=1000
//! ```

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::str::FromStr;

use millstream_record::{Offset, TimestampMs};

use crate::queues::policy::{
    Access, Backoff, KeyPolicy, LengthPolicy, Overflow, QueuePolicy, RatePolicy, RetryPolicy,
};

pub(super) struct Words<'a> {
    pub(super) plain: Vec<&'a str>,
    pub(super) named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn of(event: &'a str) -> Self {
        let (named, plain): (Vec<_>, Vec<_>) = event
            .split_whitespace()
            .partition(|word| word.contains('='));
        let named = named.into_iter().map(|word| word.split_once('=').unwrap());
        Self {
            plain,
            named: named.collect(),
        }
    }

    pub(super) fn at<T: FromStr<Err: Debug>>(&self, index: usize) -> T {
        self.plain[index].parse().unwrap()
    }

    pub(super) fn number<T: FromStr<Err: Debug>>(&self, name: &str, default: T) -> T {
        let value = self.named.get(name);
        value.map_or(default, |value| value.parse().unwrap())
    }

    fn maybe<T: FromStr<Err: Debug>>(&self, name: &str) -> Option<T> {
        self.named.get(name).map(|value| value.parse().unwrap())
    }

    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }

    pub(super) fn after(&self, name: &str, now: i64) -> Option<TimestampMs> {
        self.maybe(name).map(|after: i64| TimestampMs(now + after))
    }

    pub(super) fn hash(&self, name: &str) -> Option<u128> {
        let value = self.named.get(name)?;
        Some(
            value
                .bytes()
                .fold(0, |hash, byte| hash << 8 | u128::from(byte)),
        )
    }
}

pub(super) fn policy_of(words: &Words<'_>) -> QueuePolicy {
    let at_least_one = |name| words.maybe::<NonZeroU32>(name);
    let delay_ms = |name| words.maybe::<u64>(name);
    let backoff = None
        .or(delay_ms("fixed").map(|delay_ms| Backoff::Fixed { delay_ms }))
        .or(delay_ms("linear").map(|delay_ms| Backoff::Linear { delay_ms }))
        .or(delay_ms("exponential").map(|delay_ms| Backoff::Exponential { delay_ms }))
        .unwrap_or(Backoff::Fixed { delay_ms: 0 });
    let overflow = match words.named.get("overflow") {
        Some(&"drop") => Overflow::DropOldest,
        Some(&"dead") => Overflow::DeadLetterOldest,
        _ => Overflow::Refuse,
    };
    let plain = QueuePolicy::default();
    QueuePolicy {
        window_records: words.number("window", plain.window_records),
        retry: RetryPolicy {
            attempts_max: at_least_one("attempts"),
            backoff,
            delay_ms_max: Some(words.number("cap", u64::MAX)),
            jitter_percent: 0,
        },
        dead_letters: words.has("dead"),
        priorities: words.has("priorities"),
        delays: words.has("delays"),
        delay_ms: words.number("delay", 0),
        record_ttl: words.has("record-ttl"),
        ttl_ms: words.maybe("ttl"),
        dead_letter_expired: words.has("dead-expired"),
        keys: at_least_one("keys").map(|in_flight_max| KeyPolicy {
            in_flight_max,
            interval_ms: words.number("interval", 0),
        }),
        dedup_window_ms: words.number("dedup", 0),
        filtered: words.has("filtered"),
        length: words.maybe("length").map(|records_max| LengthPolicy {
            records_max,
            overflow,
        }),
        in_flight_max: words.maybe("in-flight"),
        rate: at_least_one("rate").map(|per_second| RatePolicy {
            per_second,
            burst: at_least_one("burst").unwrap_or(per_second),
        }),
        access: match words.named.get("access") {
            Some(&"exclusive") => Access::Exclusive,
            Some(&"single") => Access::SingleActive,
            _ => Access::Shared,
        },
        consumer_idle_ms: words.number("idle", plain.consumer_idle_ms),
    }
}

/// `0:1-3,5` is the offsets 1, 2, 3 and 5 of partition 0.
pub(super) fn offsets_of(word: &str) -> Vec<(u32, Offset)> {
    let Some((partition, ranges)) = word.split_once(':') else {
        return Vec::new();
    };
    let partition = partition.parse().unwrap();
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<i64>().unwrap()..=last.parse::<i64>().unwrap()
    };
    let offsets = ranges.split(',').flat_map(range);
    offsets.map(|offset| (partition, Offset(offset))).collect()
}
