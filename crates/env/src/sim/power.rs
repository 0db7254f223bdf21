//! When the simulated power goes.

use std::io;

/// The power supply.
#[derive(Debug, Default)]
pub(super) struct Power {
    /// Counts starts.
    boot: u64,
    off: bool,
    /// Changes that are still done before the power goes.
    left: Option<u64>,
    changes: u64,
}

/// What every operation says from then on.
pub(super) fn off() -> io::Error {
    io::Error::other("simulated power failure")
}

impl Power {
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    pub(super) fn fail_after(&mut self, operations: u64) {
        self.left = Some(operations);
    }

    pub(super) fn restart(&mut self) {
        self.boot += 1;
        self.off = false;
        self.left = None;
    }

    /// Refuses whoever was started before the last restart, and everybody while the power is off.
    pub(super) fn check(&self, boot: u64) -> io::Result<()> {
        if self.off || boot != self.boot {
            Err(off())
        } else {
            Ok(())
        }
    }

    /// Counts a change. `true` when the power goes in the middle of it.
    pub(super) fn use_up(&mut self) -> bool {
        self.changes += 1;
        match &mut self.left {
            Some(0) => self.off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.off
    }
}
