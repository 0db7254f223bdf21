//! What queues are measured by, cheap enough to be asked for all of them every few seconds.

use std::sync::Arc;
use std::time::Duration;

use millstream_catalog::TopicName;
use millstream_record::{Offset, TimestampMs, TimestampType};

use super::cell::{Cell, State};
use super::read::fetch;
use crate::broker::Broker;
use crate::queues::machine::{Depth, Totals};
use crate::topics::{PartitionHandle, TopicHandle};

/// A queue that moves looks at its oldest message no more often than this.
pub(super) const OLDEST_INTERVAL: Duration = Duration::from_secs(5);

/// A queue's figures. Unlike [`super::QueueDescription`] they are read as they are, without a look at the log.
#[derive(Clone, Copy, Debug)]
pub struct QueueStats {
    /// How much there is in which state.
    pub depth: Depth,
    /// What happened since the server started.
    pub totals: Totals,
    /// When the oldest message that is not finished was made, as of a few seconds ago; none if there is none.
    pub oldest: Option<TimestampMs>,
    /// Leases that have not ended.
    pub leases: usize,
    /// Requests that wait.
    pub waiting_requests: usize,
    /// Whether deliveries are suspended.
    pub paused: bool,
}

/// The oldest message of a queue that is not finished, as far as it was looked up.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    /// For each partition: where its first unfinished message is, and when that was made.
    fronts: Vec<Option<(Offset, TimestampMs)>>,
    looked_at: Option<Duration>,
    is_looking: bool,
}

impl Broker {
    /// The figures of all queues, in the order of their names: each with its name and its topic's.
    pub fn queue_stats(&self) -> Vec<(Arc<str>, TopicName, QueueStats)> {
        let cells: Vec<_> = self.inner.queues.index.read().all().cloned().collect();
        let stats = cells.into_iter().filter_map(|cell| {
            let topic = self.topic_by_id(cell.topic)?.name().clone();
            Some((Arc::clone(&cell.name), topic, cell.stats()))
        });
        stats.collect()
    }
}

impl Cell {
    fn stats(&self) -> QueueStats {
        let state = self.state.lock();
        let machine = &state.machine;
        let depth = machine.depth(None);
        let fronts = state.oldest.fronts.iter().flatten();
        let oldest = fronts.map(|(_, time)| *time).min();
        QueueStats {
            depth,
            totals: *machine.totals(),
            oldest: oldest.filter(|_| depth.open > 0),
            leases: machine.leases(),
            waiting_requests: machine.waiting_requests(),
            paused: machine.is_paused(),
        }
    }

    /// Has it looked up when the oldest messages were made, if they are others than the last time and that is a while ago.
    /// It is not waited for: the disk may be slow, and deadlines are not to be. Says when to look again.
    pub(super) fn look_at_oldest(
        self: &Arc<Self>,
        broker: &Broker,
        topic: &Arc<TopicHandle>,
    ) -> Option<Duration> {
        let now = broker.inner.env.clock.monotonic();
        let moved = {
            let mut state = self.state.lock();
            let moved = state.moved_fronts();
            if moved.is_empty() {
                return None;
            }
            let since = state.oldest.looked_at.map(|at| now.saturating_sub(at));
            let wait = since.and_then(|since| OLDEST_INTERVAL.checked_sub(since));
            if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                return Some(wait);
            }
            if state.oldest.is_looking {
                return Some(OLDEST_INTERVAL);
            }
            state.oldest.looked_at = Some(now);
            state.oldest.is_looking = true;
            moved
        };
        let looking = Looking(Arc::clone(self));
        tokio::spawn(looking.look(broker.clone(), Arc::clone(topic), moved));
        // Those that cannot be read now, or move meanwhile.
        Some(OLDEST_INTERVAL)
    }
}

/// A look at the oldest messages of a queue, of which there is one at a time.
struct Looking(Arc<Cell>);

impl Looking {
    async fn look(
        self,
        broker: Broker,
        topic: Arc<TopicHandle>,
        moved: Vec<(u32, Option<Offset>)>,
    ) {
        for (index, front) in moved {
            let time = match (front, topic.partition(index)) {
                (Some(front), Some(partition)) => time_at(&broker, &partition, front).await,
                _ => None,
            };
            self.0.state.lock().oldest.fronts[index as usize] = front.zip(time);
        }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.state.lock().oldest.is_looking = false;
    }
}

impl State {
    /// The partitions whose first unfinished message is another one than was looked up, and where it is.
    fn moved_fronts(&mut self) -> Vec<(u32, Option<Offset>)> {
        let machine = &self.machine;
        let fronts = &mut self.oldest.fronts;
        fronts.resize(machine.partitions(), None);
        let moved = (0..).zip(fronts.iter()).filter_map(|(index, known)| {
            let front = machine.first_open(index);
            (front != known.map(|(offset, _)| offset)).then_some((index, front))
        });
        moved.collect()
    }
}

/// When the message at an offset was made, or the first one after it: as its batch says, which for a batch of messages made
/// at different times is when the first of them was.
async fn time_at(broker: &Broker, partition: &PartitionHandle, at: Offset) -> Option<TimestampMs> {
    let fetched = fetch(broker, partition, at).await.ok()?;
    let header = fetched.batches().next()?.ok()?.header;
    let is_first =
        header.timestamp_type == TimestampType::CreateTime && header.delete_horizon.is_none();
    let time = if is_first {
        header.base_timestamp
    } else {
        header.max_timestamp
    };
    Some(time).filter(|time| *time != TimestampMs::NONE)
}
