//! Work that waits for the disk or takes long, kept off the threads that serve connections.

use std::panic;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use millstream_limits::{BLOCKING_READS_MAX, UNPACKING_MAX};
use tokio::sync::Semaphore;
use tokio::task;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// An interval for work that nobody waits for. It does not begin at once: whoever opens a broker and soon closes it again
/// has no such work to wait for.
pub(crate) fn now_and_then(period_ms: u64) -> Interval {
    let period = Duration::from_millis(period_ms);
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// A bounded number of threads that may block.
#[derive(Debug, Clone)]
pub(crate) struct Blocking {
    permits: Arc<Semaphore>,
}

impl Blocking {
    /// Threads that wait for the disk.
    pub(crate) fn reads() -> Self {
        Self::new(BLOCKING_READS_MAX)
    }

    /// Threads that look into batches: not more than there are processors, and each of them has memory for one batch.
    pub(crate) fn unpacking() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::new(processors.min(UNPACKING_MAX))
    }

    fn new(count: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(count)),
        }
    }

    /// Runs `work` on a thread that may block, once one is free. A panic in it goes on in the caller.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let running = task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match running.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panicked) => panic::resume_unwind(panicked),
                // The runtime is being torn down, and the caller with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Has `work` done in a task of its own, which goes on when nobody waits for it any more; `None` if the runtime ends before
/// it does.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    match task::spawn(work).await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panicked) => std::panic::resume_unwind(panicked),
            Err(_) => None,
        },
    }
}
