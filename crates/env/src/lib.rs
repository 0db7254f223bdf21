//! The clock, randomness and the disk, as the rest of Millstream sees them.
//!
//! The storage engine reaches the outside world through [`Env`] only, so that a test can put a simulated disk and a
//! clock it moves by hand in its place, and repeat a whole run from its seed. Start with [`Disk`] and [`DiskFile`]:
//! what they promise about durability is what the engine is built on.
//!
//! This crate knows nothing of what is stored, and starts no threads.

#![forbid(unsafe_code)]

mod aligned;
mod clock;
mod courtesy;
mod disk;
mod real;
mod rng;
pub mod sim;

use std::sync::Arc;

pub use aligned::{DIRECT_ALIGNMENT, aligned_buffer, is_aligned};
pub use clock::{Clock, ManualClock, SteadyTime, SystemClock};
pub use courtesy::yield_briefly;
pub use disk::{
    Access, Disk, DiskFile, DiskLock, DiskSpace, EntryKind, is_out_of_files, is_unreadable, parent,
};
pub use real::RealDisk;
pub use rng::{Rng, SeededRng, SystemRng};

/// Everything outside the process that the storage engine may use.
#[derive(Clone)]
pub struct Env {
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Where random numbers come from.
    pub rng: Arc<dyn Rng>,
    /// Files and directories.
    pub disk: Arc<dyn Disk>,
}

impl Env {
    /// The machine's own clock, randomness and disk.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SystemRng),
            disk: Arc::new(RealDisk),
        }
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}
