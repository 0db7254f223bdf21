//! A subscription, for its reader.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_limits::{
    LIVE_BUFFER_BYTES_MAX, LIVE_BUFFER_RECORDS_MAX, LIVE_PARTITIONS_MAX, LIVE_STEP_BYTES,
    LIVE_STEP_RECORDS, LIVE_TOKEN_POSITIONS_MAX, LIVE_TOPICS_MAX,
};
use millstream_record::Offset;

use super::decode::{Found, takes_long, walk};
use super::error::{Disconnected, LiveError};
use super::latest::Latest;
use super::machine::{Entry, Machine, Step};
use super::memory::Counted;
use super::message::{LiveItem, LiveMessage, Lost, LostReason, Source};
use super::registry::{LatestMemory, LiveStats};
use super::shared::{Shared, Watch, source_of};
use super::spec::{Start, SubscribeSpec, Topics};
use super::token::{ResumeToken, Stand};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::streams::{FetchPart, FetchSpec, Fetched, Isolation, after_damage};
use crate::topics::{PartitionHandle, TopicHandle};

/// A live subscription. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    broker: Broker,
    shared: Arc<Shared>,
    /// While the latest records of keys are delivered.
    latest: Option<(usize, LatestMemory)>,
}

impl Broker {
    /// Subscribes to topics. Records that are published after this has returned are delivered, or their absence is told.
    pub async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, LiveError> {
        if !(1..=LIVE_BUFFER_RECORDS_MAX).contains(&spec.buffer_records)
            || !(1..=LIVE_BUFFER_BYTES_MAX).contains(&spec.buffer_bytes)
        {
            return Err(LiveError::Buffer);
        }
        let (watch, named) = self.watch(spec.topics)?;
        let has_patterns = !watch.patterns.is_empty();
        let (records, bytes) = (spec.buffer_records, spec.buffer_bytes);
        let machine = Machine::new(spec.slow, records, bytes, spec.credit);
        let shared = self.inner.live.enter(watch, spec.filter, machine)?;
        let mut subscription = Subscription {
            broker: self.clone(),
            shared,
            latest: None,
        };
        // It is in the registry by now, so a topic is found here or announced there.
        let topics = if has_patterns { self.topics() } else { named };
        subscription.begin(&topics, spec.start).await?;
        Ok(subscription)
    }

    /// What to listen to, and the topics that were named.
    fn watch(&self, topics: Vec<Topics>) -> Result<(Watch, Vec<Arc<TopicHandle>>), LiveError> {
        if !(1..=LIVE_TOPICS_MAX).contains(&topics.len()) {
            return Err(LiveError::Topics);
        }
        let (mut watch, mut named) = (Watch::default(), Vec::new());
        for topics in topics {
            match topics {
                Topics::Named(name) => {
                    let topic = self.topic(&name).ok_or(BrokerError::UnknownTopic)?;
                    if !watch.topics.contains(&topic.id()) {
                        watch.topics.push(topic.id());
                        named.push(topic);
                    }
                }
                Topics::Matching(pattern) => watch.patterns.push(pattern),
            }
        }
        Ok((watch, named))
    }

    /// How live subscriptions are doing.
    pub fn live_stats(&self) -> LiveStats {
        self.inner.live.stats()
    }
}

impl Subscription {
    /// What comes next. Waits while there is nothing, or no credit. After [`LiveItem::Disconnected`] there is nothing but
    /// that.
    ///
    /// Nothing is lost when the future is dropped before it is done.
    pub async fn next(&mut self) -> LiveItem {
        loop {
            match poll_fn(|context| self.shared.poll_step(context)).await {
                Step::Deliver(item) => return self.delivered(item),
                Step::Read(source, from) => self.read(source, from).await,
                Step::Wait => {}
            }
        }
    }

    /// What comes next, if it is there already and in memory.
    pub fn try_next(&mut self) -> Option<LiveItem> {
        match self.shared.step() {
            Step::Deliver(item) => Some(self.delivered(item)),
            Step::Read(..) | Step::Wait => None,
        }
    }

    /// Allows `records` more to be delivered.
    pub fn add_credit(&self, records: u64) {
        self.shared.add_credit(records);
    }

    /// Where it stands: another subscription to the same topics that resumes there gets everything that this one has
    /// not delivered and wants, as far as it is retained. There is no such place while the latest records of keys are being
    /// delivered, nor in a subscription to more than `LIVE_TOKEN_POSITIONS_MAX` partitions.
    pub fn position(&self) -> Option<ResumeToken> {
        if self.latest.is_some() {
            return None;
        }
        self.shared.token(LIVE_TOKEN_POSITIONS_MAX)
    }

    fn delivered(&mut self, item: LiveItem) -> LiveItem {
        if let LiveItem::Record(_) = item {
            let delivered = &self.broker.inner.live.counters.delivered;
            delivered.fetch_add(1, Ordering::Relaxed);
            if let Some((left, _)) = &mut self.latest {
                *left -= 1;
                if *left == 0 {
                    self.latest = None;
                }
            }
        }
        item
    }

    async fn begin(&mut self, topics: &[Arc<TopicHandle>], start: Start) -> Result<(), LiveError> {
        let watched = topics.iter().filter(|topic| self.shared.watches(topic));
        let partitions: Vec<_> = watched.flat_map(TopicHandle::partitions).collect();
        if partitions.len() > LIVE_PARTITIONS_MAX {
            return Err(LiveError::TooManyPartitions(partitions.len()));
        }
        let live = &self.broker.inner.live;
        let (memory, live_memory) = (live.latest_memory(), Arc::clone(&live.memory));
        let mut latest = Latest::new(self.shared.filter().cloned(), memory, live_memory);
        for partition in &partitions {
            let from = match &start {
                Start::LatestPerKey => latest.add(&self.broker, partition).await?,
                start => self.first(partition, start).await?,
            };
            self.shared.add(partition, from);
        }
        let (entries, memory) = latest.finish();
        let is_record = |entry: &&Entry| matches!(entry, Entry::Message(_));
        let records = entries.iter().filter(is_record).count();
        if records > 0 {
            self.latest = Some((records, memory));
        }
        if !entries.is_empty() {
            self.shared.begin_with(entries);
        }
        for (partition, from) in self.shared.behind() {
            let live = &self.broker.inner.live;
            live.join(&self.broker, &self.shared, &partition, from);
        }
        Ok(())
    }

    /// Where to begin in a partition.
    async fn first(&self, partition: &PartitionHandle, start: &Start) -> Result<Offset, LiveError> {
        let offsets = partition.offsets();
        let end = offsets.last_stable;
        Ok(match start {
            Start::Now | Start::LatestPerKey => end,
            Start::Earliest => offsets.log_start,
            Start::Since(time) => self.broker.start_since(partition, *time, end).await?,
            Start::Offsets(list) => {
                let index = partition.index();
                match list.iter().find(|(asked, _)| *asked == index) {
                    None => end,
                    Some(&(_, from)) if from >= Offset::ZERO && from <= end => from,
                    Some(_) => {
                        return Err(BrokerError::OffsetOutOfRange {
                            log_start: offsets.log_start,
                            high_watermark: end,
                        }
                        .into());
                    }
                }
            }
            Start::Resume(token) => {
                let stood = token.get(partition.topic().id(), partition.index());
                let next = match stood {
                    Some(stood) => self.survived(partition, stood)?,
                    // It was not there when the token was made.
                    None => offsets.log_start,
                };
                next.min(end)
            }
        })
    }

    /// Where a subscription goes on that stood there: what it saw beyond the end of the leadership that it read under did
    /// not survive, and others are in its place.
    fn survived(&self, partition: &PartitionHandle, stood: Stand) -> Result<Offset, LiveError> {
        let Some(epoch) = stood.epoch else {
            return Ok(stood.next);
        };
        match self.broker.epoch_end(partition, epoch, None) {
            Ok(ended) => Ok(ended.map_or(stood.next, |ended| stood.next.min(ended.end))),
            // It is told in its turn.
            Err(BrokerError::UnknownPartition) => Ok(stood.next),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads on from the log in a partition that is behind, or joins its hub.
    async fn read(&self, source: Source, from: Offset) {
        let Some(partition) = self.shared.partition(source) else {
            return;
        };
        let live = &self.broker.inner.live;
        if live.join(&self.broker, &self.shared, &partition, from) {
            return;
        }
        let mut wanted_bytes = LIVE_STEP_BYTES;
        loop {
            // Claimed before anything else is, so that who waits for it holds nothing meanwhile.
            let claim = match live.memory.claim_at_once(wanted_bytes) {
                Some(claim) => claim,
                None if self.shared.put_off_reading() => return,
                None => live.memory.claim(wanted_bytes).await,
            };
            match self.read_step(source, &partition, from, claim).await {
                Some(more_bytes) => wanted_bytes = more_bytes,
                None => return,
            }
        }
    }

    /// Reads once. Returns how much memory has to be claimed first, if `claim` was not enough.
    async fn read_step(
        &self,
        source: Source,
        partition: &PartitionHandle,
        from: Offset,
        claim: Counted,
    ) -> Option<usize> {
        let spec = FetchSpec {
            parts: vec![FetchPart::of(partition, from, LIVE_STEP_BYTES)],
            max_bytes: LIVE_STEP_BYTES,
            isolation: Isolation::ReadCommitted,
            ..FetchSpec::of(partition, from)
        };
        match self.broker.fetch(spec).await.pop().map(|part| part.result) {
            Some(Ok(fetched)) => return self.replay(partition, fetched, from, claim).await,
            Some(Err(BrokerError::OffsetOutOfRange {
                log_start,
                high_watermark,
            })) => {
                let lost = (from < log_start)
                    .then(|| Lost::of(partition, from, log_start, LostReason::Retention));
                let entries = lost.map(Entry::Lost).into_iter().collect();
                let next = from.max(log_start).min(high_watermark.max(log_start));
                self.shared.replayed(source, entries, next);
            }
            Some(Err(BrokerError::UnknownPartition)) | None => self.shared.gone(source),
            Some(Err(BrokerError::Damaged(why))) => {
                match after_damage(&self.broker, partition, from, &why).await {
                    Some(after) => {
                        let lost = Lost::of(partition, from, after, LostReason::Damaged);
                        self.shared.replayed(source, vec![Entry::Lost(lost)], after);
                    }
                    None => self.fail(&BrokerError::Damaged(why)),
                }
            }
            Some(Err(error)) => self.fail(&error),
        }
        None
    }

    async fn replay(
        &self,
        partition: &PartitionHandle,
        fetched: Fetched,
        from: Offset,
        claim: Counted,
    ) -> Option<usize> {
        let claimed_bytes = claim.bytes();
        let unpacked = if takes_long(&fetched) {
            let (shared, partition) = (Arc::clone(&self.shared), partition.clone());
            let unpack = move || unpack(&shared, &partition, &fetched, from, claim);
            self.broker.inner.unpacking.run(unpack).await
        } else {
            unpack(&self.shared, partition, &fetched, from, claim)
        };
        match unpacked {
            // One record, and a large one.
            Ok(step)
                if step.bytes > claimed_bytes
                    && self.broker.inner.live.memory.claimable(step.bytes) > claimed_bytes =>
            {
                return Some(step.bytes);
            }
            Ok(step) => {
                let source = source_of(partition);
                self.shared.replayed(source, step.entries, step.next);
            }
            Err(error) => self.fail(&error),
        }
        None
    }

    fn fail(&self, error: &BrokerError) {
        let reason = error.to_string().into();
        self.shared.end(Disconnected::Failed(reason));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.broker.inner.live.leave(&self.shared);
    }
}

/// What is wanted of what was fetched.
struct Unpacked {
    entries: Vec<Entry>,
    bytes: usize,
    /// Where to go on.
    next: Offset,
}

/// What is wanted of what was fetched, up to a bound: as much as was claimed, but always one record.
fn unpack(
    shared: &Shared,
    partition: &PartitionHandle,
    fetched: &Fetched,
    from: Offset,
    mut claim: Counted,
) -> Result<Unpacked, BrokerError> {
    let (records_max, bytes_max) = (shared.step_records(), claim.bytes());
    let mut entries = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    let mut too_much = None;
    let next = walk(fetched, from, |found| {
        match found {
            Found::Record(record) => {
                let filter = shared.filter();
                if filter.is_none_or(|filter| filter.matches_record(&record)) {
                    let topic = partition.topic().name().clone();
                    let (index, source) = (partition.index(), source_of(partition));
                    let count = |bytes| claim.take(bytes);
                    let record = record.detached();
                    let message = LiveMessage::new(topic, index, source, record, count);
                    if records > 0 && bytes + message.size_bytes() > bytes_max {
                        too_much = Some(message.offset);
                        return ControlFlow::Break(());
                    }
                    records += 1;
                    bytes += message.size_bytes();
                    entries.push(Entry::Message(Arc::new(message)));
                }
            }
            Found::Undecodable(from, to) => {
                let lost = Lost::of(partition, from, to, LostReason::Undecodable);
                entries.push(Entry::Lost(lost));
            }
        }
        if records >= records_max || bytes >= bytes_max || entries.len() >= LIVE_STEP_RECORDS {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(Unpacked {
        entries,
        bytes,
        next: too_much.unwrap_or(next),
    })
}
