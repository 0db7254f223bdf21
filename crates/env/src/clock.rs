//! Time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC. May jump either way.
    fn wall_ms(&self) -> i64;

    /// Time since some fixed moment. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time counts from now.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine's clock"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine's clock"
    )]
    fn wall_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The wall clock's time, made so that it hardly goes back: whoever waits until a certain time would wait as much longer as
/// somebody has set the clock back. While the clock is behind, time goes on at half its speed until the clock has caught up,
/// unless it is so far behind that it must have been wrong before. Forward it jumps with the clock.
#[derive(Debug, Default)]
pub struct SteadyTime {
    /// When the clock was last followed, by the monotonic clock, and the time then.
    followed: Mutex<(Duration, i64)>,
}

impl SteadyTime {
    /// Milliseconds since 1970-01-01 UTC.
    pub fn now_ms(&self, clock: &dyn Clock) -> i64 {
        let mut followed = self.followed.lock();
        let (monotonic, wall) = (clock.monotonic(), clock.wall_ms());
        let passed = monotonic.saturating_sub(followed.0) / 2;
        let least = followed.1.saturating_add(passed.as_millis() as i64);
        let is_behind = wall < least && least - wall <= BEHIND_MS_MAX;
        if is_behind {
            return least;
        }
        *followed = (monotonic, wall);
        wall
    }
}

/// If the clock is set back further than this it is followed at once.
const BEHIND_MS_MAX: i64 = 2 * 3_600_000;

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that says `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Self {
            now_ms: AtomicU64::new(now_ms),
        }
    }

    /// Moves both the wall and the monotonic time on.
    pub fn advance_ms(&self, by_ms: u64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst) as i64
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the two clocks say.
    struct Set(Mutex<(Duration, i64)>);

    impl Set {
        fn to(&self, monotonic_ms: u64, wall_ms: i64) -> &Self {
            *self.0.lock() = (Duration::from_millis(monotonic_ms), wall_ms);
            self
        }
    }

    impl Clock for Set {
        fn wall_ms(&self) -> i64 {
            self.0.lock().1
        }

        fn monotonic(&self) -> Duration {
            self.0.lock().0
        }
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nobody() {
        let (time, clock) = (SteadyTime::default(), Set(Mutex::default()));
        assert_eq!(time.now_ms(clock.to(10, 5_000)), 5_000);
        assert_eq!(time.now_ms(clock.to(20, 5_010)), 5_010);
        // A second back, with looks in between that are closer than a millisecond of it.
        assert_eq!(time.now_ms(clock.to(21, 4_011)), 5_010);
        assert_eq!(time.now_ms(clock.to(22, 4_012)), 5_011);
        assert_eq!(time.now_ms(clock.to(1_020, 5_010)), 5_510);
        // It has caught up, and is followed again, also when it jumps forward.
        assert_eq!(time.now_ms(clock.to(2_020, 6_010)), 6_010);
        assert_eq!(time.now_ms(clock.to(2_021, 6_011)), 6_011);
        assert_eq!(time.now_ms(clock.to(2_022, 99_000)), 99_000);
        // It had been a day ahead.
        let (today, tomorrow) = (100_000, 100_000 + 24 * 3_600_000);
        assert_eq!(time.now_ms(clock.to(2_030, tomorrow)), tomorrow);
        assert_eq!(time.now_ms(clock.to(2_040, today)), today);
    }
}
