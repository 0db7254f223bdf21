//! Waking a reader that waits for more records.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// One reader's alarm, handed to every partition it waits for: the first of them that has something new sets it off.
#[derive(Debug, Default)]
pub struct Wake {
    fired: AtomicBool,
    notify: Notify,
}

impl Wake {
    /// An alarm that has not gone off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it off, for good.
    pub fn fire(&self) {
        if !self.fired.swap(true, Ordering::AcqRel) {
            self.notify.notify_waiters();
            self.notify.notify_one();
        }
    }

    /// Whether it went off.
    pub fn is_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    /// Waits until it goes off; at once if it has.
    pub async fn wait(&self) {
        let notified = self.notify.notified();
        if !self.is_fired() {
            notified.await;
        }
    }
}
