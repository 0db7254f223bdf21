//! What a server has written to stderr, as it comes.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A log that a thread keeps reading. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads `stderr` until it ends.
    pub(super) fn follow(stderr: ChildStderr) -> Log {
        let log = Log::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.change(|lines| lines.lines.push(line));
            }
            writer.change(|lines| lines.ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lines, changed) = &*self.shared;
        change(&mut lines.lock().unwrap());
        changed.notify_all();
    }

    /// Waits for the first line in which `find` finds something. `None` if the log has ended, or nothing came in time.
    pub(super) fn wait_for<T>(
        &self,
        within: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + within;
        let (lines, changed) = &*self.shared;
        let mut lines = lines.lock().unwrap();
        let mut seen = 0;
        loop {
            let found = lines.lines[seen..].iter().find_map(|line| find(line));
            if found.is_some() || lines.ended {
                return found;
            }
            seen = lines.lines.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Everything up to the end of the stream.
    pub(super) fn whole(&self) -> String {
        let (lines, changed) = &*self.shared;
        let lines = changed
            .wait_while(lines.lock().unwrap(), |lines| !lines.ended)
            .unwrap();
        lines.lines.join("\n")
    }

    /// Everything so far.
    pub(super) fn text(&self) -> String {
        self.shared.0.lock().unwrap().lines.join("\n")
    }
}
