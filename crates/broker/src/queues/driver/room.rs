//! Queues that refuse what would make them too long: whoever appends to their topics asks here first.
//!
//! Everything that adds messages for somebody who can be told no does: publishing, producing, what routes make of either,
//! redriving. Dead letters do not; a queue on their topic takes them however full it is, since they have nowhere else to go.
//!
//! Nobody else fills the same topics between the answer and the append, so that a queue never holds more than it may. As a
//! publish with an expected position may read the disk meanwhile, who appends to other topics does not wait; nor does
//! anybody whose topics have no queues that refuse.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_catalog::TopicId;
use millstream_store::{Append, PartitionId};
use parking_lot::{ArcMutexGuard, RawMutex};
use smallvec::SmallVec;

use super::QueueHandle;
use super::create::may_refuse;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::queues::machine::{Effects, Queue};
use crate::queues::policy::{LengthPolicy, Overflow};
use crate::topics::TopicHandle;

/// Room in all queues that may refuse, for as long as it is held: until what it was asked for is sequenced. Of each topic
/// that has such queues, the right to fill them.
#[must_use]
pub(crate) struct Room(SmallVec<[ArcMutexGuard<RawMutex, ()>; 1]>);

impl Broker {
    /// Room for these in the queues of all topics that they go to; the error names a queue that has not enough.
    pub(crate) fn room_for<'a>(
        &self,
        appends: impl IntoIterator<Item = &'a Append>,
    ) -> Result<Room, BrokerError> {
        let mut room = Room(SmallVec::new());
        if self.inner.queues.refusing.load(Ordering::Relaxed) == 0 {
            return Ok(room);
        }
        let mut added: SmallVec<[(TopicId, u64); 4]> = SmallVec::new();
        let mut repeated: SmallVec<[bool; 4]> = SmallVec::new();
        for append in appends {
            let is_repeated = match append.after {
                Some(first) => repeated.get(first) == Some(&true),
                None => self.is_repeated(append),
            };
            repeated.push(is_repeated);
            if !is_repeated {
                self.add_up(append, &mut added);
            }
        }
        // Everybody takes them in the same order, so that no two wait for each other.
        added.sort_unstable();
        for (id, records) in added {
            let mut queues = self.queues_of(id);
            queues.retain(|queue| may_refuse(&queue.definition().policy));
            let Some(topic) = self.topic_by_id(id).filter(|_| !queues.is_empty()) else {
                continue;
            };
            room.0.push(topic.filling.lock_arc());
            for queue in queues {
                queue.check_room(&topic, records)?;
            }
        }
        Ok(room)
    }

    /// Whether a producer sends this again because it had no answer: it adds nothing, and has to be told that it is there.
    fn is_repeated(&self, append: &Append) -> bool {
        let partition = append.targets.first().copied();
        let partition = partition.and_then(|id| self.inner.slot.partition(id));
        partition.is_some_and(|partition| partition.has_batch(&append.header))
    }

    fn add_up(&self, append: &Append, added: &mut SmallVec<[(TopicId, u64); 4]>) {
        let records = append.header.record_count.max(0) as u64;
        let registry = self.inner.registry.read();
        let topic_of = |id: &PartitionId| registry.place_of(*id).map(|(topic, _)| topic);
        for topic in append.targets.iter().filter_map(topic_of) {
            match added.iter_mut().find(|(known, _)| *known == topic) {
                Some((_, count)) => *count += records,
                None => added.push((topic, records)),
            }
        }
    }
}

impl QueueHandle {
    fn check_room(&self, topic: &Arc<TopicHandle>, records: u64) -> Result<(), BrokerError> {
        let mut state = self.cell.state.lock();
        let Some(LengthPolicy {
            records_max,
            overflow: Overflow::Refuse,
        }) = state.machine.policy().length
        else {
            return Ok(());
        };
        if state.check_open().is_err() {
            return Ok(());
        }
        if records > records_max {
            return Err(BrokerError::TooManyForQueue {
                queue: self.name().clone(),
                records,
                records_max,
            });
        }
        // The queue's task may not have told it yet what was appended.
        let mut effects = Effects::default();
        self.learn_ends(&mut state, &mut effects);
        // Refused only when the store has ended, which the append is told too.
        let _ = self.perform(&mut state, &mut effects, self.cell.unsynced());
        let unseen = if state.machine.policy().length_follows_looks() {
            0
        } else {
            under_way(topic, &state.machine)
        };
        if state.machine.has_room(records.saturating_add(unseen)) {
            return Ok(());
        }
        Err(BrokerError::QueueFull {
            queue: self.name().clone(),
            records_max,
        })
    }
}

/// Records that have their places, and that the queue does not see yet because they are not durable.
fn under_way(topic: &Arc<TopicHandle>, machine: &Queue) -> u64 {
    let partitions = topic.partitions();
    let under_way = partitions.iter().map(|partition| {
        let seen = machine.end(partition.index()).unwrap_or_default();
        (partition.offsets().log_end - seen).max(0) as u64
    });
    under_way.sum()
}
