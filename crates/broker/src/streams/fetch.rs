//! Fetching from many partitions, and waiting for more.

use std::sync::Arc;
use std::time::Duration;

use millstream_record::{LeaderEpoch, Offset};
use millstream_store::Wake;

use super::Isolation;
use super::budget::Held;
use super::gather::{FetchedPart, Gathering};
use crate::broker::Broker;
use crate::topics::PartitionHandle;

/// What to read, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct FetchSpec {
    /// The partitions, in the order in which they may use up `max_bytes`.
    pub parts: Vec<FetchPart>,
    /// The most to return, in bytes; but for the first batch that is found, which is returned whatever its size.
    pub max_bytes: usize,
    /// Wait until there are so many bytes.
    pub min_bytes: usize,
    /// But no longer than this.
    pub max_wait: Duration,
    /// Which records are seen.
    pub isolation: Isolation,
}

impl FetchSpec {
    /// Reads from one partition what is there: up to 1 MiB, without waiting.
    pub fn of(partition: &PartitionHandle, from: Offset) -> Self {
        const MAX_BYTES: usize = 1 << 20;
        Self {
            parts: vec![FetchPart::of(partition, from, MAX_BYTES)],
            max_bytes: MAX_BYTES,
            min_bytes: 1,
            max_wait: Duration::ZERO,
            isolation: Isolation::default(),
        }
    }

    /// The same, but waits up to `max_wait` for a first record.
    #[must_use]
    pub fn waiting(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }
}

/// What to read from one partition.
#[derive(Debug, Clone)]
pub struct FetchPart {
    /// The partition.
    pub partition: PartitionHandle,
    /// The first record wanted. The batch that contains it is returned whole.
    pub from: Offset,
    /// The leader epoch that the reader believes to be in force; a wrong one is refused (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record before `from`, if the reader wants to be told whether that record still exists
    /// (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// The most to return from this partition, in bytes.
    pub max_bytes: usize,
}

impl FetchPart {
    /// Reads up to `max_bytes` from `from`, believing nothing about leaderships.
    pub fn of(partition: &PartitionHandle, from: Offset, max_bytes: usize) -> Self {
        Self {
            partition: partition.clone(),
            from,
            leader_epoch: None,
            last_fetched_epoch: None,
            max_bytes,
        }
    }
}

impl Broker {
    /// Reads from several partitions; one answer for each part, in their order.
    ///
    /// Returns as soon as `min_bytes` are there, a part fails or diverges, nothing more could fit, or `max_wait` is
    /// over. While waiting, the fetch sleeps until a partition of it has something new. What it has read stays read:
    /// every batch is looked up once.
    ///
    /// What is returned counts against the memory that all readers share until its [`Held`](super::Held) is dropped.
    /// Where that runs low less is returned, but never nothing: the fetch rather waits, beyond `max_wait` too.
    pub async fn fetch(&self, spec: FetchSpec) -> Vec<FetchedPart> {
        let max_wait = spec.max_wait;
        let budget = &self.inner.read_budget;
        let mut gathering = self.gather(Gathering::new(spec, budget.clone())).await;
        if gathering.is_done() || max_wait.is_zero() {
            return gathering.finish();
        }
        let deadline = tokio::time::sleep(max_wait);
        tokio::pin!(deadline);
        loop {
            // Registered before the next look, so that nothing which comes after the look is missed.
            let alarm = Alarm::new();
            gathering.wake_on_append(&alarm.0);
            gathering = self.gather(gathering).await;
            if gathering.is_done() {
                return gathering.finish();
            }
            tokio::select! {
                () = alarm.0.wait() => {}
                () = &mut deadline => return gathering.finish(),
                // Others need the memory more than this reader needs `min_bytes`.
                () = budget.short(), if gathering.has_some() => return gathering.finish(),
            }
        }
    }

    /// One look at all partitions, for a reader who holds memory already and so must not wait for more; `None` if there is
    /// none at present.
    pub(crate) async fn fetch_at_once(&self, spec: FetchSpec) -> Option<Vec<FetchedPart>> {
        let budget = self.inner.read_budget.clone();
        let gathering = self.look(Gathering::new(spec, budget)).await;
        let is_fed = gathering.starved().is_none();
        is_fed.then(|| gathering.finish())
    }

    /// Memory for an answer of up to `bytes` that is read without a fetch: a part of what is free, waited for if there is none.
    pub async fn hold(&self, bytes: usize) -> Held {
        let budget = &self.inner.read_budget;
        budget.wait(bytes.min(budget.share_bytes())).await
    }

    /// Lets `held` count what was made of what was read, which takes `bytes`. Says whether there is memory for all of it.
    pub fn recount(&self, held: &mut Held, bytes: usize) -> bool {
        held.shrink_to(bytes);
        self.inner.read_budget.grow(held, bytes)
    }

    /// Whether a fetch waits for memory that answers to other readers hold: whoever sends answers should then be less
    /// patient with readers that do not take them.
    pub fn readers_wait(&self) -> bool {
        self.inner.read_budget.is_short()
    }

    /// Whether live readers lack memory that other live readers hold.
    pub fn live_readers_wait(&self) -> bool {
        self.inner.live.is_short()
    }

    /// One look at all partitions, once there is memory for what it finds.
    async fn gather(&self, mut gathering: Gathering) -> Gathering {
        loop {
            gathering = self.look(gathering).await;
            let Some(bytes) = gathering.starved() else {
                return gathering;
            };
            gathering.feed(self.inner.read_budget.wait(bytes).await);
        }
    }

    /// One look at all partitions. Goes to a thread that may block as soon as one needs the disk, and stays there.
    async fn look(&self, mut gathering: Gathering) -> Gathering {
        match gathering.look() {
            None => gathering,
            Some(on_disk) => {
                self.inner
                    .blocking
                    .run(move || {
                        gathering.look_on_disk(on_disk);
                        gathering
                    })
                    .await
            }
        }
    }
}

/// The wake of one wait. It goes off at the latest when the wait is over: partitions that had nothing new then know that
/// they can forget it.
pub(crate) struct Alarm(Arc<Wake>);

impl Alarm {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Wake::new()))
    }

    /// What goes off.
    pub(crate) fn wake(&self) -> &Arc<Wake> {
        &self.0
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.fire();
    }
}
