//! SIGTERM and SIGINT.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// A signal so soon behind another is the same one: `timeout` and some supervisors send it to a process and to its group.
const ECHO: Duration = Duration::from_millis(100);

/// The signals that ask a process to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    last: Option<Instant>,
}

impl Signals {
    /// Takes the signals over from their default, which would end the process at once.
    pub fn take() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            last: None,
        })
    }

    /// Waits for the next one; returns its name.
    pub async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            };
            let now = Instant::now();
            let before = self.last.replace(now);
            if before.is_none_or(|before| now - before > ECHO) {
                return name;
            }
        }
    }
}
