//! The task that fetches ahead: one request to each broker that leads a partition, the next as soon as one is answered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use millstream_kafka_wire::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use millstream_kafka_wire::messages::{FetchRequest, FetchResponse};
use millstream_kafka_wire::{ErrorCode, IsolationLevel, Str};
use millstream_record::{BatchError, Batches, Offset};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Chunk, ConsumerConfig, ConsumerEvent, StartAt};
use crate::admin::offsets::{OffsetSpec, TopicPartition};
use crate::backoff::Backoff;
use crate::client::{Client, Lane};
use crate::error::{ClientError, check};

/// How long a partition rests after a failure that may pass.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The fetching task's state.
pub(super) struct Fetcher {
    client: Client,
    config: ConsumerConfig,
    partitions: HashMap<TopicPartition, Reading>,
    topics: HashMap<Str, Watched>,
    events: mpsc::Sender<Result<ConsumerEvent, ClientError>>,
    /// What became of topics and has not been told yet.
    untold: Vec<ConsumerEvent>,
    /// Brokers with a request in flight.
    busy: HashSet<i32>,
    answers: JoinSet<Answered>,
}

/// A topic that is read.
#[derive(Default)]
struct Watched {
    /// The topic's id, once it is known: another one of the same name is another topic.
    id: Option<Uuid>,
    deleted: bool,
}

/// How far one partition has been read.
struct Reading {
    next: Offset,
    /// Whether nothing has been read of it: the beginning may then be anywhere.
    from_beginning: bool,
    rests_until: Option<Instant>,
    /// Since it last went well, what attempts there are left.
    failing: Option<Backoff>,
}

/// What one request asked of one partition.
#[derive(Clone)]
struct Asked {
    partition: TopicPartition,
    from: Offset,
    topic_id: Uuid,
}

struct Answered {
    broker: i32,
    asked: Vec<Asked>,
    response: Result<FetchResponse, ClientError>,
}

impl Reading {
    /// Goes on at `next`.
    fn at(next: Offset) -> Self {
        Self {
            next,
            from_beginning: false,
            rests_until: None,
            failing: None,
        }
    }

    /// Begins.
    fn anew() -> Self {
        Self {
            from_beginning: true,
            ..Self::at(Offset(0))
        }
    }
}

impl Fetcher {
    pub(super) fn new(
        client: Client,
        config: ConsumerConfig,
        positions: Vec<(TopicPartition, Offset)>,
        events: mpsc::Sender<Result<ConsumerEvent, ClientError>>,
    ) -> Self {
        let topics = positions
            .iter()
            .map(|(partition, _)| (partition.topic.clone(), Watched::default()))
            .collect();
        let partitions = positions
            .into_iter()
            .map(|(partition, offset)| (partition, Reading::at(offset)))
            .collect();
        Self {
            client,
            config,
            partitions,
            topics,
            events,
            untold: Vec::new(),
            busy: HashSet::new(),
            answers: JoinSet::new(),
        }
    }

    /// Runs until the consumer is gone or no partition is left to read.
    pub(super) async fn run(mut self) {
        while !self.partitions.is_empty() {
            let wake_at = self.ask().await;
            for event in std::mem::take(&mut self.untold) {
                if self.events.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            let timer = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(Ok(answered)) = self.answers.join_next() => {
                    self.busy.remove(&answered.broker);
                    let results = self.digest(answered).await;
                    // The next request goes out before what has come is handed over, which may wait.
                    self.ask().await;
                    for result in results {
                        let event = result.map(ConsumerEvent::Records);
                        if self.events.send(event).await.is_err() {
                            return;
                        }
                    }
                }
                () = timer => {}
                () = self.events.closed() => return,
            }
        }
    }

    /// Sends a request to every broker that has none in flight and leads a partition that is not resting. Tells when the
    /// first of those that rest goes on.
    async fn ask(&mut self) -> Option<Instant> {
        self.watch_topics();
        let now = Instant::now();
        let mut by_broker = BTreeMap::<i32, Vec<_>>::new();
        let mut leaderless = Vec::new();
        let mut wake_at: Option<Instant> = None;
        for (partition, reading) in &self.partitions {
            if let Some(until) = reading.rests_until.filter(|&until| until > now) {
                wake_at = Some(wake_at.map_or(until, |at| at.min(until)));
                continue;
            }
            let topic_id = self.topics.get(&partition.topic).and_then(|it| it.id);
            let leader = self.client.leader(&partition.topic, partition.partition);
            match (leader, topic_id) {
                (Some(broker), _) if self.busy.contains(&broker) => {}
                (Some(broker), Some(topic_id)) => {
                    by_broker.entry(broker).or_default().push(Asked {
                        partition: partition.clone(),
                        from: reading.next,
                        topic_id,
                    });
                }
                _ => leaderless.push(partition.clone()),
            }
        }
        if !leaderless.is_empty() {
            wake_at = Some(now + RETRY_PAUSE);
            self.find_leaders(&leaderless).await;
        }
        for (broker, asked) in by_broker {
            self.ask_broker(broker, asked);
        }
        wake_at
    }

    /// Takes in what is known of the topics by now. One that is another than before is read from its beginning.
    fn watch_topics(&mut self) {
        for (name, watched) in &mut self.topics {
            let Some(id) = self.client.topic_id(name) else {
                continue;
            };
            let before = watched.id.replace(id);
            // Without ids, as before Kafka 2.8, a topic that was gone is another one.
            let was_deleted = std::mem::take(&mut watched.deleted) && id.is_nil();
            if before.is_some_and(|before| before != id) || was_deleted {
                for (partition, reading) in &mut self.partitions {
                    if partition.topic == *name {
                        *reading = Reading::anew();
                    }
                }
                self.untold.push(ConsumerEvent::TopicReplaced(name.clone()));
            }
        }
    }

    async fn find_leaders(&mut self, partitions: &[TopicPartition]) {
        let mut topics: Vec<&str> = partitions
            .iter()
            .map(|partition| &*partition.topic)
            .collect();
        topics.sort_unstable();
        topics.dedup();
        match self.client.refresh_topics(&topics).await {
            Ok(missing) => self.note_deleted(&missing),
            Err(error) => tracing::debug!(%error, "metadata not refreshed"),
        }
        let rests_until = Some(Instant::now() + RETRY_PAUSE);
        for partition in partitions {
            if self
                .client
                .leader(&partition.topic, partition.partition)
                .is_none()
                && let Some(reading) = self.partitions.get_mut(partition)
            {
                reading.rests_until = rests_until;
            }
        }
    }

    /// Those of `missing` that were there have been deleted.
    fn note_deleted(&mut self, missing: &[Str]) {
        for name in missing {
            if let Some(watched) = self.topics.get_mut(name)
                && watched.id.is_some()
                && !std::mem::replace(&mut watched.deleted, true)
            {
                self.untold.push(ConsumerEvent::TopicDeleted(name.clone()));
            }
        }
    }

    fn ask_broker(&mut self, broker: i32, asked: Vec<Asked>) {
        let request = self.request(&asked);
        let client = self.client.clone();
        let wait = self.config.fetch_wait;
        self.busy.insert(broker);
        self.answers.spawn(async move {
            let answered = async {
                let connection = client.connection(broker, Lane::Fetch).await?;
                connection.submit(&request)?.allow(wait).wait().await
            };
            let response = answered.await;
            Answered {
                broker,
                asked,
                response,
            }
        });
    }

    fn request(&self, asked: &[Asked]) -> FetchRequest {
        let mut topics = BTreeMap::<(&Str, Uuid), Vec<_>>::new();
        for asked in asked {
            topics
                .entry((&asked.partition.topic, asked.topic_id))
                .or_default()
                .push(FetchPartition {
                    partition: asked.partition.partition,
                    fetch_offset: asked.from.0,
                    partition_max_bytes: self.config.partition_bytes_max,
                    ..Default::default()
                });
        }
        // What goes out is the id, or to servers before Kafka 3.1 the name.
        let topic = |((name, topic_id), partitions): ((&Str, Uuid), _)| FetchTopic {
            topic: name.clone(),
            topic_id,
            partitions,
        };
        FetchRequest {
            max_wait_ms: self.config.fetch_wait.as_millis() as i32,
            min_bytes: self.config.fetch_bytes_min,
            max_bytes: self.config.fetch_bytes_max,
            isolation_level: IsolationLevel::READ_UNCOMMITTED,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        }
    }

    /// Moves the partitions on by what an answer brought, which is returned.
    async fn digest(&mut self, answered: Answered) -> Vec<Result<Chunk, ClientError>> {
        let Answered {
            mut asked,
            response,
            ..
        } = answered;
        // An answer about a topic that has another in its place by now says nothing of that.
        asked.retain(|asked| {
            let watched = self.topics.get(&asked.partition.topic);
            watched.is_some_and(|watched| watched.id == Some(asked.topic_id))
        });
        let response = response.and_then(|response| {
            check(response.error_code, "fetch")?;
            Ok(response)
        });
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                return self.failed(asked.iter().map(|asked| &asked.partition), &error);
            }
        };
        let names: HashMap<_, _> = asked
            .iter()
            .map(|asked| (asked.topic_id, asked.partition.topic.clone()))
            .collect();
        let asked: HashMap<_, _> = asked
            .into_iter()
            .map(|asked| (asked.partition, asked.from))
            .collect();
        let mut results = Vec::new();
        for topic in response.responses {
            let name = if topic.topic_id.is_nil() {
                Some(&topic.topic)
            } else {
                names.get(&topic.topic_id)
            };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                if let Some(&from) = asked.get(&partition) {
                    results.extend(self.digest_partition(partition, from, data).await);
                }
            }
        }
        results
    }

    async fn digest_partition(
        &mut self,
        partition: TopicPartition,
        from: Offset,
        data: PartitionData,
    ) -> Option<Result<Chunk, ClientError>> {
        let go_on_at = match self.partitions.get(&partition) {
            Some(reading) if reading.from_beginning => Some(OffsetSpec::Earliest),
            _ => self.config.on_missing_offset,
        };
        if data.error_code == ErrorCode::OFFSET_OUT_OF_RANGE
            && let Some(spec) = go_on_at
        {
            let start = [(partition.clone(), StartAt::Find(spec))];
            return match self.client.resolve(&start).await {
                Ok(found) => {
                    let next = found.first().map_or(from, |&(_, offset)| offset);
                    tracing::warn!(%partition, missing = from.0, next = next.0, "offset no longer exists");
                    self.advance(&partition, next);
                    None
                }
                Err(error) => self.failed([&partition], &error).pop(),
            };
        }
        if let Err(error) = check(
            data.error_code,
            format!("read offset {from} of {partition}"),
        ) {
            return self.failed([&partition], &error).pop();
        }
        let records = data
            .records
            .map(millstream_kafka_wire::Records::into_bytes)
            .unwrap_or_default();
        let high_watermark = Offset(data.high_watermark);
        match self.to_chunk(partition.clone(), from, high_watermark, records) {
            Ok(chunk) => {
                let next = chunk.next_offset();
                self.advance(&partition, next);
                (!chunk.batches.is_empty()).then_some(Ok(chunk))
            }
            Err(error) => self.failed([&partition], &error).pop(),
        }
    }

    /// Takes the whole batches out of `records`; the last may be cut off.
    fn to_chunk(
        &self,
        partition: TopicPartition,
        from: Offset,
        high_watermark: Offset,
        records: Bytes,
    ) -> Result<Chunk, ClientError> {
        let bad = |reason| ClientError::BadBatch {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            reason,
        };
        let mut batches = Vec::new();
        for batch in Batches::new(records) {
            match batch {
                Err(BatchError::Truncated { .. }) if !batches.is_empty() => break,
                Err(reason) => return Err(bad(reason)),
                Ok(batch) => {
                    batch.check_crc().map_err(bad)?;
                    batches.push(batch);
                }
            }
        }
        let decompressed_bytes_max = self.config.decompressed_bytes_max;
        Ok(Chunk {
            partition,
            from,
            batches,
            high_watermark,
            decompressed_bytes_max,
        })
    }

    fn advance(&mut self, partition: &TopicPartition, next: Offset) {
        if let Some(reading) = self.partitions.get_mut(partition) {
            *reading = Reading::at(next);
        }
    }

    /// Lets the partitions rest if the failure may pass and has not lasted too long; else they are no longer read, and the
    /// failures are returned.
    fn failed<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        error: &ClientError,
    ) -> Vec<Result<Chunk, ClientError>> {
        let mut results = Vec::new();
        for partition in partitions {
            let Some(reading) = self.partitions.get_mut(partition) else {
                continue;
            };
            let backoff = reading.failing.get_or_insert_with(|| self.client.backoff());
            if error.is_retriable() && !backoff.is_over() {
                reading.rests_until = Some(Instant::now() + RETRY_PAUSE);
                self.client.forget_topic(&partition.topic);
            } else {
                self.partitions.remove(partition);
                results.push(Err(error.clone()));
            }
        }
        results
    }
}
