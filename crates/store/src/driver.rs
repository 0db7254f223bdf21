//! The threads of a slot: two take turns at the journal, one settles.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::error::{SlotFailure, StoreError};
use crate::journal::queue::Turn;
use crate::settler::Settler;

/// How soon the journal is tried again when there was no room for it, or the disk's room is looked at while it is full.
const ROOM_RETRY: Duration = Duration::from_millis(100);

/// Runs a slot's steps until it is dropped.
pub(crate) struct Driver {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    shutdown: Mutex<Option<oneshot::Sender<Result<(), StoreError>>>>,
}

impl Driver {
    pub(crate) fn start(engine: &Arc<Engine>, settler: &Arc<Mutex<Settler>>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        // While one writes, the other composes the next group if there is much of it already.
        for turn in [Turn::First, Turn::Second] {
            let (engine, shared) = (Arc::clone(engine), Arc::clone(&shared));
            let name = thread::Builder::new().name("journal".to_owned());
            threads.push(name.spawn(move || run_journal(&engine, &shared, turn))?);
        }
        {
            let (engine, shared) = (Arc::clone(engine), Arc::clone(&shared));
            let settler = Arc::clone(settler);
            let name = thread::Builder::new().name("settle".to_owned());
            threads.push(name.spawn(move || run_settler(&engine, &settler, &shared))?);
        }
        Ok(Self {
            engine: Arc::clone(engine),
            shared,
            threads: Mutex::new(threads),
        })
    }

    /// Has the settler end the slot's life in order.
    pub(crate) async fn shutdown(&self) -> Result<(), StoreError> {
        let (sender, done) = oneshot::channel();
        *self.shared.shutdown.lock() = Some(sender);
        self.engine.settling.raise();
        done.await.unwrap_or_else(|_| {
            Err(StoreError::Failed(SlotFailure::new(
                "shutting down",
                "the slot's threads have ended",
            )))
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.engine.queue.close();
        self.engine.settling.raise();
        for thread in self.threads.get_mut().drain(..) {
            // A thread that panicked has said so; the slot has to end all the same.
            let _ = thread.join();
        }
    }
}

/// Writes groups as long as there are any, and sleeps in between.
fn run_journal(engine: &Engine, shared: &Shared, turn: Turn) {
    let _fails = FailOnPanic(engine);
    loop {
        let makers_of_room = engine.queue.makers_of_room();
        while engine.step_journal() {}
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let full = engine.room.is_full();
        if engine.room.journal_waits() {
            // What is queued is written with what makes room, or when there is some again.
            engine.queue.wait_for_room(makers_of_room, ROOM_RETRY);
        } else if !engine.queue.wait(turn, full.then_some(ROOM_RETRY)) {
            return;
        }
    }
}

fn run_settler(engine: &Engine, settler: &Mutex<Settler>, shared: &Shared) {
    let _fails = FailOnPanic(engine);
    loop {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        if let Some(done) = shared.shutdown.lock().take() {
            // Whoever asked may have given up on the answer.
            let _ = done.send(settler.lock().finish());
            continue;
        }
        let before = engine.env.clock.monotonic();
        let more = settler.lock().step();
        if !more {
            let idle = settler.lock().idle_time();
            engine.settling.wait(idle);
        } else if !settler.lock().is_pressed() {
            // What comes in has priority on the device.
            let took = engine.env.clock.monotonic().saturating_sub(before);
            engine.settling.wait(Some(took / 2));
        }
    }
}

/// A slot whose thread has died must not look alive.
struct FailOnPanic<'a>(&'a Engine);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(SlotFailure::new(
                "running the slot",
                "a thread of it has panicked, see the log",
            ));
        }
    }
}
