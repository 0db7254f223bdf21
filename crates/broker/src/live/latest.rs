//! The latest record of each key, found by reading a partition once.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use millstream_limits::{LIVE_LATEST_BYTES_MAX, LIVE_LATEST_KEYS_MAX};
use millstream_record::{Offset, Record};

use super::decode::{Found, walk};
use super::error::LiveError;
use super::machine::Entry;
use super::memory::{Counted, Half, LiveMemory};
use super::message::{LiveMessage, Lost, LostReason};
use super::registry::LatestMemory;
use super::shared::source_of;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::filter::Filter;
use crate::streams::{FetchSpec, Fetched, Isolation, after_damage};
use crate::topics::PartitionHandle;

/// The latest records that were found so far, of one subscription.
pub(super) struct Latest {
    filter: Option<Filter>,
    memory: LatestMemory,
    live_memory: Arc<LiveMemory>,
    entries: Vec<Entry>,
}

/// What is being found in one partition.
struct Scan {
    partition: PartitionHandle,
    filter: Option<Filter>,
    live_memory: Arc<LiveMemory>,
    latest: HashMap<Bytes, Arc<LiveMessage>>,
    bytes: usize,
    keys_max: usize,
    bytes_max: usize,
}

impl Latest {
    pub(super) fn new(
        filter: Option<Filter>,
        memory: LatestMemory,
        live_memory: Arc<LiveMemory>,
    ) -> Self {
        Self {
            filter,
            memory,
            live_memory,
            entries: Vec::new(),
        }
    }

    /// The records, in their order partition by partition, and the memory they take.
    pub(super) fn finish(self) -> (Vec<Entry>, LatestMemory) {
        (self.entries, self.memory)
    }

    /// Adds those of `partition`. Returns where the next record after them is.
    pub(super) async fn add(
        &mut self,
        broker: &Broker,
        partition: &PartitionHandle,
    ) -> Result<Offset, LiveError> {
        let too_many = || LiveError::TooManyKeys(partition.topic().name().clone());
        let offsets = partition.offsets();
        let (mut from, end) = (offsets.log_start, offsets.last_stable);
        let before_bytes = self.memory.bytes();
        let mut scan = Scan {
            partition: partition.clone(),
            filter: self.filter.clone(),
            live_memory: Arc::clone(&self.live_memory),
            latest: HashMap::new(),
            bytes: 0,
            keys_max: LIVE_LATEST_KEYS_MAX - self.entries.len().min(LIVE_LATEST_KEYS_MAX),
            bytes_max: LIVE_LATEST_BYTES_MAX - before_bytes.min(LIVE_LATEST_BYTES_MAX),
        };
        while from < end {
            let spec = FetchSpec {
                isolation: Isolation::ReadCommitted,
                ..FetchSpec::of(partition, from)
            };
            let fetched = match broker.fetch(spec).await.pop().map(|part| part.result) {
                Some(Ok(fetched)) if fetched.slices.is_empty() => break,
                Some(Ok(fetched)) => fetched,
                // What retention has taken meanwhile is nobody's latest any more.
                Some(Err(BrokerError::OffsetOutOfRange { log_start, .. })) if from < log_start => {
                    from = log_start;
                    continue;
                }
                Some(Err(BrokerError::Damaged(why))) => {
                    let after = after_damage(broker, partition, from, &why).await;
                    let after = after.ok_or(BrokerError::Damaged(why))?;
                    let lost = Lost::of(partition, from, after, LostReason::Damaged);
                    self.entries.push(Entry::Lost(lost));
                    from = after;
                    continue;
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(BrokerError::UnknownPartition.into()),
            };
            let look = move || {
                let next = scan.look(&fetched, from);
                (scan, next)
            };
            let next;
            (scan, next) = broker.inner.unpacking.run(look).await;
            from = next?.ok_or_else(too_many)?;
            if !self.memory.resize(before_bytes + scan.bytes) {
                return Err(LiveError::LatestMemory);
            }
        }
        let mut latest: Vec<_> = scan.latest.into_values().collect();
        latest.sort_unstable_by_key(|message| message.offset);
        self.entries.extend(latest.into_iter().map(Entry::Message));
        Ok(from.max(end))
    }
}

impl Scan {
    /// Goes over what was fetched. Returns where to go on; `None` if there are too many keys.
    fn look(&mut self, fetched: &Fetched, from: Offset) -> Result<Option<Offset>, BrokerError> {
        let next = walk(fetched, from, |found| {
            let Found::Record(record) = found else {
                return ControlFlow::Continue(());
            };
            self.note(&record);
            if self.latest.len() > self.keys_max || self.bytes > self.bytes_max {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let fits = self.latest.len() <= self.keys_max && self.bytes <= self.bytes_max;
        Ok(fits.then_some(next))
    }

    fn note(&mut self, record: &Record) {
        let Some(key) = &record.key else { return };
        if let Some(before) = self.latest.remove(key) {
            self.bytes -= before.size_bytes();
        }
        let filter = self.filter.as_ref();
        if record.value.is_none() || filter.is_some_and(|filter| !filter.matches_record(record)) {
            return;
        }
        let topic = self.partition.topic().name().clone();
        let source = source_of(&self.partition);
        let record = record.detached();
        // Counted as a whole, by `LatestMemory`; only what is made of it counts with the rest.
        let count = |_| -> Counted { self.live_memory.count(Half::Read, 0) };
        let message = LiveMessage::new(topic, self.partition.index(), source, record, count);
        self.bytes += message.size_bytes();
        let key = message.key.clone().unwrap_or_default();
        self.latest.insert(key, Arc::new(message));
    }
}
