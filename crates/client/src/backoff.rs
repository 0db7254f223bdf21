//! Pausing between attempts: longer each time, never all clients at once, and not for ever.

use std::time::{Duration, Instant};

use rand::Rng;

use crate::error::ClientError;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Backoff {
    deadline: Instant,
    pause: Duration,
}

impl Backoff {
    /// Attempts for `timeout` from now.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            pause: PAUSE_MIN,
        }
    }

    /// Whether the time for attempts is up.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Waits before the next attempt. If `error` will not pass, or the time is up, it comes back.
    pub(crate) async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.8..1.2));
        if !error.is_retriable() || Instant::now() + pause > self.deadline {
            return Err(error);
        }
        tracing::debug!(%error, pause_ms = pause.as_millis() as u64, "trying again");
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
