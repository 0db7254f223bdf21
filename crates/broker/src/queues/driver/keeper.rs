//! A queue's task: what happens to it by itself.

use std::sync::{Arc, Weak};
use std::time::Duration;

use millstream_record::TimestampMs;
use millstream_store::Wake;

use super::QueueHandle;
use super::cell::{Cell, State};
use super::create::learn_ends;
use super::stats::OLDEST_INTERVAL;
use crate::broker::{Broker, Inner};
use crate::queues::machine::{DeadLetter, Effects, ScanRequest};
use crate::topics::TopicHandle;

/// How soon something that was refused is tried again, and how late at the most if it is refused again and again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A deadline further away is looked at again then.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// What the store or a topic refuses at present: because the disk is full or fails, or a letter is not taken. It waits, and
/// holds up nothing else.
#[derive(Default)]
pub(super) struct Again {
    pub(super) scans: Vec<ScanRequest>,
    pub(super) letters: Vec<DeadLetter>,
    /// When to try, by the monotonic clock.
    at: Duration,
    /// How often something was refused since nothing was.
    refusals: u32,
}

impl Again {
    fn len(&self) -> usize {
        self.scans.len() + self.letters.len()
    }

    /// So many waited before work was done. What comes on top of them is tried with them, and does not put them off.
    fn note(&mut self, before: usize, now: Duration) {
        if self.len() > before && before > 0 {
            return;
        }
        if self.len() > before {
            let wait = RETRY_MIN.saturating_mul(1 << self.refusals.min(10));
            self.at = now + wait.min(RETRY_MAX);
            self.refusals += 1;
        } else if self.len() == 0 {
            self.refusals = 0;
        }
    }

    /// How long it waits still.
    fn wait(&self, now: Duration) -> Option<Duration> {
        (self.len() > 0).then(|| self.at.saturating_sub(now))
    }
}

/// What to sleep on.
struct Rest {
    wake: Alarm,
    until: Duration,
}

/// Goes off at the latest when the wait is over, so that partitions can forget it.
struct Alarm(Arc<Wake>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.fire();
    }
}

/// Looks after a queue for as long as it and its broker exist.
pub(super) async fn keep(broker: Weak<Inner>, cell: Arc<Cell>) {
    loop {
        let rest = {
            let Some(inner) = broker.upgrade() else {
                return;
            };
            let broker = Broker { inner };
            match broker.topic_by_id(cell.topic) {
                Some(topic) => look_after(&broker, &topic, &cell).await,
                None => {
                    // The queue goes with its topic; whoever deletes the topic deletes what is written down.
                    cell.close();
                    return;
                }
            }
        };
        let Some(rest) = rest else { return };
        tokio::select! {
            // Others who are served in the same turn may append as well: one look does for all of them.
            () = rest.wake.0.wait() => tokio::task::yield_now().await,
            () = cell.work.notified() => {}
            () = tokio::time::sleep(rest.until) => {}
        }
    }
}

/// Does everything there is to do. `None` once the queue is gone.
async fn look_after(broker: &Broker, topic: &Arc<TopicHandle>, cell: &Arc<Cell>) -> Option<Rest> {
    loop {
        let wake = Alarm(Arc::new(Wake::new()));
        for partition in topic.partitions() {
            partition.log.wake_on_append(&wake.0);
        }
        let (scans, letters) = tick(broker, topic, cell)?;
        let is_idle = scans.is_empty() && letters.is_empty();
        let waiting = cell.state.lock().again.len();
        let work = async {
            for scan in scans {
                do_scan(broker, topic, cell, scan).await;
            }
            for letter in letters {
                cell.bury(broker, topic, letter).await;
            }
        };
        if !is_idle {
            keep_deadlines_during(broker, cell, work).await;
        }
        let now = broker.inner.env.clock.monotonic();
        cell.state.lock().again.note(waiting, now);
        if is_idle {
            let look = cell.look_at_oldest(broker, topic);
            let until = rest_time(broker, cell, look);
            if !until.is_zero() {
                return Some(Rest { wake, until });
            }
        }
        // Others get a turn between two rounds.
        tokio::task::yield_now().await;
    }
}

/// Keeps the queue's deadlines while it is at work, which may have to wait for the disk.
async fn keep_deadlines_during(broker: &Broker, cell: &Cell, work: impl Future<Output = ()>) {
    let mut work = std::pin::pin!(work);
    loop {
        let until = {
            let mut state = cell.state.lock();
            let until = until_deadline(&state, broker.now()).min(OLDEST_INTERVAL);
            state.next_look = broker.inner.env.clock.monotonic() + until;
            until
        };
        tokio::select! {
            biased;
            () = &mut work => return,
            // There is another round after work, so nothing is missed.
            () = cell.work.notified() => {}
            () = tokio::time::sleep(until) => {}
        }
        let is_open = {
            let mut state = cell.state.lock();
            state.check_open().is_ok() && {
                let mut effects = Effects::default();
                expire(&mut state, broker.now(), &mut effects);
                let (slot, promise) = (&broker.inner.slot, cell.unsynced());
                let performed = cell.perform(&mut state, slot, &mut effects, promise);
                performed.is_ok()
            }
        };
        if !is_open {
            // The queue has ended, and keeps no time any more.
            return work.await;
        }
    }
}

/// Has the machine act on what is due.
fn expire(state: &mut State, now: TimestampMs, effects: &mut Effects) {
    if state
        .next_deadline()
        .is_some_and(|deadline| deadline <= now)
    {
        state.machine.expire(now, effects);
    }
}

/// Tells the machine what has changed and what time it is, and takes what it wants done.
fn tick(
    broker: &Broker,
    topic: &Arc<TopicHandle>,
    cell: &Cell,
) -> Option<(Vec<ScanRequest>, Vec<DeadLetter>)> {
    let mut state = cell.state.lock();
    if state.check_open().is_err() {
        return None;
    }
    state.next_look = Duration::MAX;
    let mut effects = Effects::default();
    let now = broker.now();
    learn_ends(topic, &mut state, now, &mut effects);
    expire(&mut state, now, &mut effects);
    let promise = cell.unsynced();
    let slot = &broker.inner.slot;
    cell.perform(&mut state, slot, &mut effects, promise).ok()?;
    let mut scans = std::mem::take(&mut state.scans);
    let mut letters = std::mem::take(&mut state.letters);
    let monotonic = broker.inner.env.clock.monotonic();
    if state.again.wait(monotonic) == Some(Duration::ZERO) {
        scans.append(&mut state.again.scans);
        letters.append(&mut state.again.letters);
    }
    Some((scans, letters))
}

/// How long there is nothing to do unless something happens. `look` is when to look up again what is oldest.
fn rest_time(broker: &Broker, cell: &Cell, look: Option<Duration>) -> Duration {
    let mut state = cell.state.lock();
    let monotonic = broker.inner.env.clock.monotonic();
    let again = state.again.wait(monotonic).unwrap_or(SLEEP_MAX);
    let until = until_deadline(&state, broker.now());
    let until = until.min(again).min(look.unwrap_or(SLEEP_MAX));
    state.next_look = monotonic + until;
    until
}

fn until_deadline(state: &State, now: TimestampMs) -> Duration {
    state.next_deadline().map_or(SLEEP_MAX, |deadline| {
        let ms = deadline.get().saturating_sub(now.get()).max(0);
        Duration::from_millis(ms as u64).min(SLEEP_MAX)
    })
}

impl QueueHandle {
    /// Wakes the queue's task after an event, if a deadline, or the next look at what is oldest, comes before the task
    /// wakes by itself. On a busy queue it hardly ever does.
    pub(super) fn wake_in_time(&self, state: &State) {
        let until = until_deadline(state, self.broker.now()).min(OLDEST_INTERVAL);
        let monotonic = self.broker.inner.env.clock.monotonic();
        if state.next_look > monotonic + until {
            self.cell.work.notify_one();
        }
    }
}

async fn do_scan(broker: &Broker, topic: &Arc<TopicHandle>, cell: &Cell, request: ScanRequest) {
    let Some(partition) = topic.partition(request.partition) else {
        return;
    };
    let Err(error) = cell.scan(broker, &partition, request).await else {
        return;
    };
    if !partition.is_deleted() {
        tracing::warn!(queue = %cell.name, partition = ?partition, %error, "a queue cannot read its topic; it tries again");
    }
    cell.state.lock().again.scans.push(request);
}
