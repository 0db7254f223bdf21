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

use super::{Chunk, ConsumerConfig, StartAt};
use crate::admin::offsets::TopicPartition;
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
    chunks: mpsc::Sender<Result<Chunk, ClientError>>,
    /// Brokers with a request in flight.
    busy: HashSet<i32>,
    answers: JoinSet<Answered>,
}

/// How far one partition has been read.
struct Reading {
    next: Offset,
    rests_until: Option<Instant>,
    /// Since it last went well, what attempts there are left.
    failing: Option<Backoff>,
}

struct Answered {
    broker: i32,
    asked: Vec<(TopicPartition, Offset)>,
    response: Result<FetchResponse, ClientError>,
}

impl Fetcher {
    pub(super) fn new(
        client: Client,
        config: ConsumerConfig,
        positions: Vec<(TopicPartition, Offset)>,
        chunks: mpsc::Sender<Result<Chunk, ClientError>>,
    ) -> Self {
        let reading = |next| Reading {
            next,
            rests_until: None,
            failing: None,
        };
        let partitions = positions
            .into_iter()
            .map(|(partition, offset)| (partition, reading(offset)))
            .collect();
        Self {
            client,
            config,
            partitions,
            chunks,
            busy: HashSet::new(),
            answers: JoinSet::new(),
        }
    }

    /// Runs until the consumer is gone or no partition is left to read.
    pub(super) async fn run(mut self) {
        while !self.partitions.is_empty() {
            let wake_at = self.ask().await;
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
                        if self.chunks.send(result).await.is_err() {
                            return;
                        }
                    }
                }
                () = timer => {}
                () = self.chunks.closed() => return,
            }
        }
    }

    /// Sends a request to every broker that has none in flight and leads a partition that is not resting. Tells when the
    /// first of those that rest goes on.
    async fn ask(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut by_broker = BTreeMap::<i32, Vec<_>>::new();
        let mut leaderless = Vec::new();
        let mut wake_at: Option<Instant> = None;
        for (partition, reading) in &self.partitions {
            if let Some(until) = reading.rests_until.filter(|&until| until > now) {
                wake_at = Some(wake_at.map_or(until, |at| at.min(until)));
                continue;
            }
            match self.client.leader(&partition.topic, partition.partition) {
                Some(broker) if self.busy.contains(&broker) => {}
                Some(broker) => by_broker
                    .entry(broker)
                    .or_default()
                    .push((partition.clone(), reading.next)),
                None => leaderless.push(partition.clone()),
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

    async fn find_leaders(&mut self, partitions: &[TopicPartition]) {
        let mut topics: Vec<&str> = partitions
            .iter()
            .map(|partition| &*partition.topic)
            .collect();
        topics.sort_unstable();
        topics.dedup();
        if let Err(error) = self.client.refresh(Some(&topics)).await {
            tracing::debug!(%error, "metadata not refreshed");
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

    fn ask_broker(&mut self, broker: i32, asked: Vec<(TopicPartition, Offset)>) {
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

    fn request(&self, asked: &[(TopicPartition, Offset)]) -> FetchRequest {
        let mut topics = BTreeMap::<&Str, Vec<_>>::new();
        for (partition, offset) in asked {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(FetchPartition {
                    partition: partition.partition,
                    fetch_offset: offset.0,
                    partition_max_bytes: self.config.partition_bytes_max,
                    ..Default::default()
                });
        }
        let topic = |(name, partitions): (&Str, _)| FetchTopic {
            topic: name.clone(),
            partitions,
            ..Default::default()
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
        let response = match answered.response {
            Ok(response) => match check(response.error_code, "fetch") {
                Ok(()) => response,
                Err(error) => return self.failed(&answered.asked, &error),
            },
            Err(error) => return self.failed(&answered.asked, &error),
        };
        let asked: HashMap<_, _> = answered.asked.into_iter().collect();
        let mut results = Vec::new();
        for topic in response.responses {
            for data in topic.partitions {
                let partition = TopicPartition::new(topic.topic.clone(), data.partition_index);
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
        if data.error_code == ErrorCode::OFFSET_OUT_OF_RANGE
            && let Some(spec) = self.config.on_missing_offset
        {
            let start = [(partition.clone(), StartAt::Find(spec))];
            return match self.client.resolve(&start).await {
                Ok(found) => {
                    let next = found.first().map_or(from, |&(_, offset)| offset);
                    tracing::warn!(%partition, missing = from.0, next = next.0, "offset no longer exists");
                    self.advance(&partition, next);
                    None
                }
                Err(error) => self.failed(&[(partition, from)], &error).pop(),
            };
        }
        if let Err(error) = check(
            data.error_code,
            format!("read offset {from} of {partition}"),
        ) {
            return self.failed(&[(partition, from)], &error).pop();
        }
        let records = data
            .records
            .map(millstream_kafka_wire::Records::into_bytes)
            .unwrap_or_default();
        match self.to_chunk(
            partition.clone(),
            from,
            Offset(data.high_watermark),
            records,
        ) {
            Ok(chunk) => {
                let next = chunk.next_offset();
                self.advance(&partition, next);
                (!chunk.batches.is_empty()).then_some(Ok(chunk))
            }
            Err(error) => self.failed(&[(partition, from)], &error).pop(),
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
            *reading = Reading {
                next,
                rests_until: None,
                failing: None,
            };
        }
    }

    /// Lets the partitions rest if the failure may pass and has not lasted too long; else they are no longer read, and the
    /// failures are returned.
    fn failed(
        &mut self,
        partitions: &[(TopicPartition, Offset)],
        error: &ClientError,
    ) -> Vec<Result<Chunk, ClientError>> {
        let mut results = Vec::new();
        for (partition, _) in partitions {
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
