//! Whether a device takes large writes fast enough to do without the page cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millstream_env::Clock;

/// A device that takes fewer bytes a second is slow. A copy into the page cache is faster than most devices at their best,
/// but it takes twice the processor's time, and a device has to take everything in the end: only one that is far behind
/// is better left to take it later.
const SLOW_BYTES_PER_SECOND: f64 = 50e6;

/// A write may take this much longer before it counts as slow: settling writes as well.
const GRACE: Duration = Duration::from_millis(20);

/// After a write that was slow the next so many do not try the device.
const WRITES_SPARED: u32 = 64;

/// What the last direct writes have told of a device.
pub(super) struct Device {
    clock: Arc<dyn Clock>,
    spared: AtomicU32,
}

impl Device {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            spared: AtomicU32::new(0),
        }
    }

    /// Whether the next write is better copied. Asked before each, so that the device gets another chance in time.
    pub(super) fn is_slow(&self) -> bool {
        let spared = self.spared.load(Ordering::Relaxed);
        self.spared
            .store(spared.saturating_sub(1), Ordering::Relaxed);
        spared > 0
    }

    /// Carries out a direct write of so many bytes, and learns from the time it takes.
    pub(super) fn timed<T>(&self, bytes: usize, write: impl FnOnce() -> T) -> T {
        let before = self.clock.monotonic();
        let written = write();
        let took = self.clock.monotonic().saturating_sub(before);
        if took > GRACE + Duration::from_secs_f64(bytes as f64 / SLOW_BYTES_PER_SECOND) {
            self.spared.store(WRITES_SPARED, Ordering::Relaxed);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use millstream_env::ManualClock;

    use super::*;

    #[test]
    fn a_slow_device_is_spared_and_tried_again() {
        let clock = Arc::new(ManualClock::new(0));
        let device = Device::new(clock.clone());
        let write = |took_ms| device.timed(1 << 20, || clock.advance_ms(took_ms));
        assert!(!device.is_slow());
        write(40);
        assert!(!device.is_slow(), "it had to wait for others, at most");
        write(42);
        let spared = std::iter::repeat_with(|| device.is_slow()).take_while(|slow| *slow);
        assert_eq!(spared.count(), 64);
        assert!(!device.is_slow());
    }
}
