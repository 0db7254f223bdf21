//! Records that wait to be sent: one open batch a partition, and the closed ones behind it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use millstream_kafka_wire::Str;
use millstream_record::partitioner::partition_of_key;
use millstream_record::{Batch, BatchBuilder, Compression, NewRecord};
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::ProducerConfig;
use super::outcome::{Delivery, Outcome};
use crate::admin::offsets::TopicPartition;
use crate::error::ClientError;

/// What a record may take beside key, value and headers: its lengths, deltas and counts at their longest.
const RECORD_OVERHEAD_BYTES: usize = 36;

/// Where in [`State::queues`] a partition's batches wait.
pub(super) type QueueIndex = usize;

/// Batches that wait, and the memory they may take.
#[derive(Debug)]
pub(super) struct Accumulator {
    state: Mutex<State>,
    memory: Semaphore,
    buffer_bytes: usize,
    /// Wakes the sender.
    pub(super) work: Notify,
    batch_bytes: usize,
    linger: Duration,
    compression: Compression,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<Str, TopicQueues>,
    queues: Vec<Queue>,
    /// Queues in the order in which their open batches will have lingered, and which batch that is.
    lingering: VecDeque<(Instant, QueueIndex, u64)>,
    /// Queues with a batch to send that the sender does not know of yet.
    ready: Vec<QueueIndex>,
    next_batch_id: u64,
    /// Every batch that is not delivered yet, the oldest first.
    unfinished: BTreeMap<u64, Arc<Outcome>>,
    /// The first batch that was not delivered, since somebody last asked.
    failure: Option<ClientError>,
    /// Set when the producer is gone or cannot go on.
    shut: Option<ClientError>,
}

#[derive(Debug)]
struct TopicQueues {
    /// By partition.
    queues: Vec<QueueIndex>,
    /// Where records without a key go for now.
    sticky: usize,
}

#[derive(Debug)]
struct Queue {
    partition: TopicPartition,
    open: Option<OpenBatch>,
    closed: VecDeque<WaitingBatch>,
}

#[derive(Debug)]
struct OpenBatch {
    id: u64,
    builder: BatchBuilder,
    outcome: Arc<Outcome>,
    reserved_bytes: usize,
    opened_at: Instant,
}

/// A batch that takes no more records.
#[derive(Debug)]
pub(super) struct WaitingBatch {
    pub id: u64,
    pub content: Content,
    pub outcome: Arc<Outcome>,
    pub reserved_bytes: usize,
    pub since: Instant,
}

/// A batch's records.
#[derive(Debug)]
pub(super) enum Content {
    /// Collected here; encoded when they are sent.
    Records(BatchBuilder),
    /// Handed over whole.
    Batch(Batch),
}

/// The memory reserved for a record.
pub(super) fn size_bytes(record: &NewRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record
        .headers
        .iter()
        .map(|header| header.key.len() + length(header.value) + 10);
    RECORD_OVERHEAD_BYTES + length(record.key) + length(record.value) + headers.sum::<usize>()
}

impl Accumulator {
    pub(super) fn new(config: &ProducerConfig) -> Self {
        Self {
            state: Mutex::default(),
            memory: Semaphore::new(config.buffer_bytes),
            buffer_bytes: config.buffer_bytes,
            work: Notify::new(),
            batch_bytes: config.batch_bytes,
            linger: config.linger,
            compression: config.compression,
        }
    }

    pub(super) fn knows(&self, topic: &str) -> bool {
        self.state.lock().topics.contains_key(topic)
    }

    /// Makes queues for the partitions of `topic`.
    pub(super) fn learn(&self, topic: &Str, partitions: i32) {
        let mut state = self.state.lock();
        if state.topics.contains_key(topic) {
            return;
        }
        let first = state.queues.len();
        state.queues.extend((0..partitions).map(|partition| Queue {
            partition: TopicPartition::new(topic.clone(), partition),
            open: None,
            closed: VecDeque::new(),
        }));
        let queues = (first..state.queues.len()).collect();
        let sticky = rand::rng().random_range(0..partitions.max(1)) as usize;
        state
            .topics
            .insert(topic.clone(), TopicQueues { queues, sticky });
    }

    /// Waits for memory. It is given back with the batch that it goes into.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<(), ClientError> {
        let too_large = ClientError::RecordTooLarge {
            size_bytes: bytes,
            max_bytes: self.buffer_bytes,
        };
        let permits = u32::try_from(bytes).map_err(|_| too_large.clone())?;
        if bytes > self.buffer_bytes {
            return Err(too_large);
        }
        if let Ok(permit) = self.memory.try_acquire_many(permits) {
            permit.forget();
            return Ok(());
        }
        // What lingers holds memory that somebody now needs.
        self.close_open_batches();
        let permit = self
            .memory
            .acquire_many(permits)
            .await
            .map_err(|_| ClientError::Closed)?;
        permit.forget();
        Ok(())
    }

    /// Adds a record, for which memory is reserved, to its partition's open batch.
    pub(super) fn append(
        &self,
        topic: &str,
        partition: Option<i32>,
        record: &NewRecord<'_>,
    ) -> Result<Delivery, ClientError> {
        let reserved_bytes = size_bytes(record);
        let mut state = self.state.lock();
        let queue = match state.queue_for(topic, partition, record.key) {
            Ok(queue) => queue,
            Err(error) => {
                self.memory.add_permits(reserved_bytes);
                return Err(error);
            }
        };
        let open = &state.queues[queue].open;
        if open
            .as_ref()
            .is_some_and(|open| open.builder.size_bytes_with(record) > self.batch_bytes)
        {
            state.close(queue);
            state.move_sticky(topic, queue);
            self.work.notify_one();
        }
        if state.queues[queue].open.is_none() {
            self.open(&mut state, queue);
        }
        let open = state.queues[queue]
            .open
            .as_mut()
            .expect("a batch was opened above");
        open.builder.append(record);
        open.reserved_bytes += reserved_bytes;
        Ok(Delivery {
            outcome: Arc::clone(&open.outcome),
            index: open.builder.record_count() - 1,
        })
    }

    /// Adds a whole batch, for which memory is reserved.
    pub(super) fn append_batch(
        &self,
        partition: &TopicPartition,
        batch: Batch,
    ) -> Result<Delivery, ClientError> {
        let reserved_bytes = batch.bytes.len();
        let mut state = self.state.lock();
        let queue = match state.queue_for(&partition.topic, Some(partition.partition), None) {
            Ok(queue) => queue,
            Err(error) => {
                self.memory.add_permits(reserved_bytes);
                return Err(error);
            }
        };
        state.close(queue);
        let (id, outcome) = state.new_batch(queue);
        let delivery = Delivery {
            outcome: Arc::clone(&outcome),
            index: 0,
        };
        let content = Content::Batch(batch);
        state.queues[queue].closed.push_back(WaitingBatch {
            id,
            content,
            outcome,
            reserved_bytes,
            since: Instant::now(),
        });
        state.ready.push(queue);
        self.work.notify_one();
        Ok(delivery)
    }

    fn open(&self, state: &mut State, queue: QueueIndex) {
        let (id, outcome) = state.new_batch(queue);
        let opened_at = Instant::now();
        let builder = BatchBuilder::with_capacity(self.compression, self.batch_bytes);
        state.queues[queue].open = Some(OpenBatch {
            id,
            builder,
            outcome,
            reserved_bytes: 0,
            opened_at,
        });
        state
            .lingering
            .push_back((opened_at + self.linger, queue, id));
        if state.lingering.len() == 1 {
            self.work.notify_one();
        }
    }

    /// Closes all open batches; returns all that is not delivered yet.
    pub(super) fn close_open_batches(&self) -> Vec<Arc<Outcome>> {
        let mut state = self.state.lock();
        while let Some((_, queue, id)) = state.lingering.pop_front() {
            state.close_if(queue, id);
        }
        self.work.notify_one();
        state.unfinished.values().cloned().collect()
    }

    /// Moves to `due` the queues with a batch to send; tells when the next batch will have lingered.
    pub(super) fn collect_due(&self, now: Instant, due: &mut Vec<QueueIndex>) -> Option<Instant> {
        let mut state = self.state.lock();
        while let Some(&(at, queue, id)) = state.lingering.front() {
            if at > now {
                break;
            }
            state.lingering.pop_front();
            // With no time to linger a batch stays open until there is room to send it.
            if self.linger.is_zero() {
                state.ready.push(queue);
            } else {
                state.close_if(queue, id);
            }
        }
        due.append(&mut state.ready);
        state.lingering.front().map(|&(at, ..)| at)
    }

    /// The next batch of a queue that is due.
    pub(super) fn take(&self, queue: QueueIndex) -> Option<WaitingBatch> {
        let mut state = self.state.lock();
        let waiting = &mut state.queues[queue];
        waiting.closed.pop_front().or_else(|| {
            waiting
                .open
                .take_if(|_| self.linger.is_zero())
                .map(WaitingBatch::from)
        })
    }

    /// The partition whose batches wait in `queue`.
    pub(super) fn partition(&self, queue: QueueIndex) -> TopicPartition {
        self.state.lock().queues[queue].partition.clone()
    }

    /// A batch has met its fate: its memory is free.
    pub(super) fn finish(
        &self,
        batch_id: u64,
        reserved_bytes: usize,
        failure: Option<&ClientError>,
    ) {
        let mut state = self.state.lock();
        state.unfinished.remove(&batch_id);
        if state.failure.is_none() {
            state.failure = failure.cloned();
        }
        drop(state);
        self.memory.add_permits(reserved_bytes);
    }

    /// The first failure since the last call.
    pub(super) fn take_failure(&self) -> Option<ClientError> {
        self.state.lock().failure.take()
    }

    /// Takes no more, and fails what is not delivered.
    pub(super) fn shut(&self, error: &ClientError) {
        let unfinished = {
            let mut state = self.state.lock();
            state.shut = Some(error.clone());
            std::mem::take(&mut state.unfinished)
        };
        self.memory.close();
        for outcome in unfinished.values() {
            outcome.set(Err(error.clone()));
        }
    }
}

impl State {
    fn queue_for(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
    ) -> Result<QueueIndex, ClientError> {
        if let Some(error) = &self.shut {
            return Err(error.clone());
        }
        let Some(known) = self.topics.get(topic) else {
            return Err(ClientError::NoSuchTopic(topic.to_owned()));
        };
        let partitions = known.queues.len() as i32;
        let index = match (partition, key) {
            (Some(partition), _) => usize::try_from(partition).unwrap_or(usize::MAX),
            (None, Some(key)) => partition_of_key(key, partitions) as usize,
            (None, None) => known.sticky,
        };
        known
            .queues
            .get(index)
            .copied()
            .ok_or_else(|| ClientError::NoSuchPartition {
                topic: topic.to_owned(),
                partition: partition.unwrap_or(-1),
                partitions,
            })
    }

    fn new_batch(&mut self, queue: QueueIndex) -> (u64, Arc<Outcome>) {
        let id = self.next_batch_id;
        self.next_batch_id += 1;
        let outcome = Arc::new(Outcome::new(self.queues[queue].partition.clone()));
        self.unfinished.insert(id, Arc::clone(&outcome));
        (id, outcome)
    }

    /// The batch that records without a key went to is full: the next ones go elsewhere, so that all partitions get their
    /// share (KIP-794 in its simplest form).
    fn move_sticky(&mut self, topic: &str, queue: QueueIndex) {
        if let Some(known) = self.topics.get_mut(topic)
            && known.queues[known.sticky] == queue
        {
            known.sticky = rand::rng().random_range(0..known.queues.len());
        }
    }

    fn close(&mut self, queue: QueueIndex) {
        let waiting = &mut self.queues[queue];
        if let Some(open) = waiting.open.take() {
            waiting.closed.push_back(open.into());
            self.ready.push(queue);
        }
    }

    fn close_if(&mut self, queue: QueueIndex, id: u64) {
        if self.queues[queue]
            .open
            .as_ref()
            .is_some_and(|open| open.id == id)
        {
            self.close(queue);
        }
    }
}

impl From<OpenBatch> for WaitingBatch {
    fn from(open: OpenBatch) -> Self {
        Self {
            id: open.id,
            content: Content::Records(open.builder),
            outcome: open.outcome,
            reserved_bytes: open.reserved_bytes,
            since: open.opened_at,
        }
    }
}

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
