//! Letting others have the processor, for as long as that costs little.
//!
//! A thread that finds nothing to do and yields before it sleeps is often spared the sleep: whoever has work for it, a
//! client on the same machine for instance, runs meanwhile and hands it over. But where processors are busy with something
//! else, a yield takes as long as that may run at a stretch, some milliseconds, while a thread that sleeps is run as soon
//! as it is woken.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// A yield that takes longer was not worth it. One is forgiven: clients run that long now and then.
const BRIEF: Duration = Duration::from_millis(1);

/// After two in a row, a thread does not yield for so many times as long as the second took: that bounds what yields cost.
const ABSTINENCE: u32 = 20;

thread_local! {
    static COURTESY: Cell<Courtesy> = const { Cell::new(Courtesy { was_long: false, not_before: None }) };
}

/// What a thread's yields have cost lately.
#[derive(Clone, Copy)]
struct Courtesy {
    was_long: bool,
    not_before: Option<Instant>,
}

/// Yields the processor, unless yields took this thread long lately. Says whether it did and was back soon: if not, it is
/// better to sleep.
pub fn yield_briefly() -> bool {
    let before = Instant::now();
    let Courtesy {
        was_long,
        not_before,
    } = COURTESY.get();
    if not_before.is_some_and(|moment| before < moment) {
        return false;
    }
    thread::yield_now();
    let took = before.elapsed();
    let is_long = took > BRIEF;
    COURTESY.set(Courtesy {
        was_long: is_long,
        not_before: (is_long && was_long).then(|| before + took * ABSTINENCE),
    });
    !is_long
}
