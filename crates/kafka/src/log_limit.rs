//! Keeps what strangers do from filling the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use millstream_limits::KAFKA_PEER_WARNING_INTERVAL_MS;

/// Lets one event through per interval and counts the others.
#[derive(Debug)]
pub(crate) struct LogLimit {
    started: Instant,
    /// Milliseconds after `started` from which the next event passes.
    next_ms: AtomicU64,
    held_back: AtomicU64,
}

impl LogLimit {
    pub(crate) fn new() -> LogLimit {
        LogLimit {
            started: Instant::now(),
            next_ms: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Whether to log now; if so, how many events were held back since the last one.
    pub(crate) fn allow(&self) -> Option<u64> {
        self.allow_at(self.started.elapsed().as_millis() as u64)
    }

    fn allow_at(&self, now_ms: u64) -> Option<u64> {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let passes = now_ms >= next_ms
            && self
                .next_ms
                .compare_exchange(
                    next_ms,
                    now_ms + KAFKA_PEER_WARNING_INTERVAL_MS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if passes {
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_per_interval_passes_with_the_count_of_the_others() {
        let limit = LogLimit::new();
        assert_eq!(limit.allow_at(0), Some(0));
        assert_eq!(limit.allow_at(1), None);
        assert_eq!(limit.allow_at(KAFKA_PEER_WARNING_INTERVAL_MS - 1), None);
        assert_eq!(limit.allow_at(KAFKA_PEER_WARNING_INTERVAL_MS), Some(2));
    }
}
