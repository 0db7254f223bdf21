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
            if is_new(&mut self.last, Instant::now()) {
                return name;
            }
        }
    }
}

/// Whether a signal that comes `now` is another one than the `last`.
fn is_new(last: &mut Option<Instant>, now: Instant) -> bool {
    let is_new = last.is_none_or(|last| now - last > ECHO);
    if is_new {
        *last = Some(now);
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_twice_at_once_counts_once() {
        let mut last = None;
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        assert!(is_new(&mut last, first));
        assert!(!is_new(&mut last, after(1)));
        assert!(!is_new(&mut last, after(100)));
        assert!(is_new(&mut last, after(101)), "a person insists");
        assert!(!is_new(&mut last, after(150)));
    }
}
