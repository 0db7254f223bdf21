//! How fast records may be delivered: a bucket of tokens that fills with time.

use millstream_record::TimestampMs;

use super::later;
use crate::queues::policy::RatePolicy;

/// Tokens are counted in thousandths, so that a millisecond is worth a whole number of them at any rate.
const TOKEN: u64 = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    thousandths: u64,
    /// When they were counted; none while the bucket was never used, and is full.
    at: Option<TimestampMs>,
}

impl Bucket {
    /// How many records may be delivered now.
    pub(crate) fn allowance(&mut self, policy: RatePolicy, now: TimestampMs) -> u32 {
        let full = u64::from(policy.burst.get()) * TOKEN;
        self.thousandths = match self.at {
            None => full,
            Some(at) => {
                let passed_ms = u64::try_from(now.get() - at.get()).unwrap_or(0);
                let gained = passed_ms.saturating_mul(policy.per_second.get().into());
                self.thousandths.saturating_add(gained).min(full)
            }
        };
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        (self.thousandths / TOKEN) as u32
    }

    /// Records were delivered.
    pub(crate) fn spend(&mut self, records: u32) {
        self.thousandths = self.thousandths.saturating_sub(u64::from(records) * TOKEN);
    }

    /// Records that were delivered reached nobody.
    pub(crate) fn give_back(&mut self, records: u32) {
        // There is no more than fits: see [`Self::allowance`].
        let tokens = u64::from(records) * TOKEN;
        self.thousandths = self.thousandths.saturating_add(tokens);
    }

    /// When there will be a token again.
    pub(crate) fn next_token(&self, policy: RatePolicy, now: TimestampMs) -> TimestampMs {
        let missing = TOKEN.saturating_sub(self.thousandths);
        let wait_ms = missing.div_ceil(policy.per_second.get().into());
        later(now, wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn fills_at_its_rate_up_to_its_burst() {
        let number = |number| NonZeroU32::new(number).unwrap();
        let policy = RatePolicy {
            per_second: number(3),
            burst: number(5),
        };
        let mut bucket = Bucket::default();
        let mut now = TimestampMs(1_000);
        assert_eq!(bucket.allowance(policy, now), 5);
        bucket.spend(5);
        assert_eq!(bucket.allowance(policy, now), 0);
        let mut times = Vec::new();
        for _ in 0..3 {
            now = bucket.next_token(policy, now);
            assert_eq!(bucket.allowance(policy, now), 1);
            bucket.spend(1);
            times.push(now.get());
        }
        assert_eq!(times, [1_334, 1_667, 2_000]);
        assert_eq!(bucket.allowance(policy, TimestampMs(60_000)), 5);
    }
}
