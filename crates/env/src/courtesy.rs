//! Letting others have the processor, for as long as that costs little.
//!
//! A thread that finds nothing to do and yields before it sleeps is often spared the sleep: whoever has work for it, a
//! client on the same machine for instance, runs meanwhile and hands it over. But where processors are busy with something
//! else, a yield takes as long as that may run at a stretch, some milliseconds, while a thread that sleeps is run as soon
//! as it is woken.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// A yield that takes longer was not worth it.
const BRIEF: Duration = Duration::from_millis(1);

/// After such a one, a thread does not yield for so many times as long as it took: that bounds what yields cost.
const ABSTINENCE: u32 = 20;

thread_local! {
    static NOT_BEFORE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Yields the processor, unless a yield took this thread long lately. Says whether it did and was back soon: if not, it is
/// better to sleep.
pub fn yield_briefly() -> bool {
    let before = Instant::now();
    if NOT_BEFORE.get().is_some_and(|moment| before < moment) {
        return false;
    }
    thread::yield_now();
    let took = before.elapsed();
    if took > BRIEF {
        NOT_BEFORE.set(Some(before + took * ABSTINENCE));
    }
    took <= BRIEF
}
