//! How far it has come, shown on a terminal while it goes on.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::{bytes, grouped};

/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(200);

/// Counts records, and shows the count if somebody watches: not while the records themselves are typed.
pub(super) struct Progress {
    shown: bool,
    started: Instant,
    next: Instant,
    records: u64,
    bytes: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        let shown = std::io::stderr().is_terminal() && !std::io::stdin().is_terminal();
        let started = Instant::now();
        Self {
            shown,
            started,
            next: started + INTERVAL,
            records: 0,
            bytes: 0,
        }
    }

    pub(super) fn count(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
        // Asking for the time costs more than counting.
        if self.shown && self.records.is_multiple_of(256) && Instant::now() >= self.next {
            self.next = Instant::now() + INTERVAL;
            self.show();
        }
    }

    pub(super) fn finish(&self) {
        if self.shown {
            self.show();
            eprintln!();
        }
    }

    fn show(&self) {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = grouped((self.records as f64 / seconds) as u64);
        let line = format!(
            "{} records, {}, {rate} records/s",
            grouped(self.records),
            bytes(self.bytes)
        );
        // A terminal that cannot be written to shows nothing, which stops nobody.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }
}
