//! Which buckets of what is remembered of publishes are in use, whatever the clock does.
//!
//! A clock that is set back a little does not make keys be forgotten: the latest bucket that was used stays in use. One that
//! had run far ahead and is right again does not make them be kept for ever: then the bucket of now is in use again, and
//! those of a time that has not come yet, the far ones, are looked into for as long as their keys count, and dropped.

use std::ops::Range;

use super::idempotency::Bucket;

/// A clock that is this many buckets behind the latest one was set back; beyond, the latest one was a mistake.
const SET_BACK_MAX: u32 = 2;

/// A key that was used counts for no more than this many buckets.
const WINDOW_BUCKETS: u32 = 2;

#[derive(Debug)]
pub(super) struct Buckets {
    /// The latest one that was used.
    latest: u32,
    /// The first one that may hold something, the far ones aside.
    oldest: u32,
    far: Vec<Bucket>,
    /// When the far ones were found to be far.
    far_since: u32,
}

/// What nobody asks for any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) old: Range<u32>,
    pub(super) far: Option<Range<u32>>,
}

impl Buckets {
    /// Takes up the buckets that are there, in their order.
    pub(super) fn new(there: &[Bucket], now: Bucket) -> Self {
        let is_near = |bucket: &Bucket| bucket.0 <= now.0.saturating_add(SET_BACK_MAX);
        let (near, far) = there.split_at(there.partition_point(is_near));
        let latest = near.last().map_or(now, |last| now.max(*last)).0;
        let before = latest.saturating_sub(1);
        Self {
            latest,
            oldest: near.first().map_or(before, |first| first.0.min(before)),
            far: far.to_vec(),
            far_since: now.0,
        }
    }

    /// Where to remember what is published now, and the far ones, where it may be known too.
    pub(super) fn at(&mut self, now: Bucket) -> (Bucket, Vec<Bucket>) {
        self.latest = self.latest.max(now.0);
        (Bucket(self.latest), self.far.clone())
    }

    /// Takes note of the time, and says what can be dropped.
    pub(super) fn due(&mut self, now: Bucket) -> Due {
        let now = now.0;
        if self.latest > now.saturating_add(SET_BACK_MAX) {
            for bucket in [self.latest - 1, self.latest].map(Bucket) {
                if !self.far.contains(&bucket) {
                    self.far.push(bucket);
                }
            }
            self.far_since = now;
            self.latest = now;
            self.oldest = self.oldest.min(now.saturating_sub(1));
        }
        self.latest = self.latest.max(now);
        let is_over = now >= self.far_since.saturating_add(WINDOW_BUCKETS);
        let farthest = self.far.iter().max().filter(|_| is_over);
        Due {
            old: self.oldest..self.latest.saturating_sub(1),
            far: farthest.map(|last| self.latest.saturating_add(1)..last.0.saturating_add(1)),
        }
    }

    /// What was due is dropped.
    pub(super) fn dropped(&mut self, due: &Due) {
        self.oldest = self.oldest.max(due.old.end);
        if due.far.is_some() {
            self.far.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets the time be `now`, and drops what is due.
    fn pass(buckets: &mut Buckets, now: u32) -> Due {
        let due = buckets.due(Bucket(now));
        buckets.dropped(&due);
        due
    }

    fn at(buckets: &mut Buckets, now: u32) -> (u32, Vec<u32>) {
        let (bucket, far) = buckets.at(Bucket(now));
        (bucket.0, far.iter().map(|bucket| bucket.0).collect())
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_forgets_nothing() {
        let mut buckets = Buckets::new(&[], Bucket(10));
        assert_eq!(at(&mut buckets, 10), (10, vec![]));
        assert_eq!(pass(&mut buckets, 8).old, 9..9);
        assert_eq!(at(&mut buckets, 8), (10, vec![]));
    }

    #[test]
    fn a_clock_that_had_run_ahead_makes_nothing_be_kept_for_ever() {
        let mut buckets = Buckets::new(&[], Bucket(10));
        assert_eq!(at(&mut buckets, 1_000), (1_000, vec![]));
        assert_eq!(pass(&mut buckets, 1_000).old, 9..999);
        // Until that is noticed, what is published is remembered there.
        assert_eq!(at(&mut buckets, 10), (1_000, vec![]));
        assert_eq!(pass(&mut buckets, 10).far, None);
        assert_eq!(at(&mut buckets, 10), (10, vec![999, 1_000]));
        assert_eq!(pass(&mut buckets, 11).far, None);
        let due = pass(&mut buckets, 12);
        assert_eq!((due.old, due.far), (10..11, Some(13..1_001)));
        assert_eq!(at(&mut buckets, 12), (12, vec![]));
    }

    #[test]
    fn a_restart_finds_the_far_ones_too() {
        let there = [9, 10, 999, 1_000].map(Bucket);
        let mut buckets = Buckets::new(&there, Bucket(10));
        assert_eq!(at(&mut buckets, 10), (10, vec![999, 1_000]));
        assert_eq!(pass(&mut buckets, 12).far, Some(13..1_001));
    }

    #[test]
    fn a_clock_that_starts_behind_and_is_set_right_finds_what_is_known() {
        let there = [999, 1_000].map(Bucket);
        let mut buckets = Buckets::new(&there, Bucket(0));
        assert_eq!(at(&mut buckets, 0), (0, vec![999, 1_000]));
        assert_eq!(at(&mut buckets, 1_000).0, 1_000);
        let due = pass(&mut buckets, 1_000);
        assert_eq!(due.old, 0..999);
        assert!(due.far.unwrap().is_empty());
    }
}
