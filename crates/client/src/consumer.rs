//! Reading records from partitions that the caller names.
//!
//! A task fetches ahead ([`fetcher`]): while the caller works on what one answer brought, the next is on its way. What it
//! holds is bounded by the settings' byte limits, for it waits until the caller takes what has come. [`group`] adds the
//! sharing of partitions between the members of a group.

mod assignor;
mod chunk;
mod fetcher;
pub(crate) mod group;
mod membership;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use self::fetcher::Fetcher;
use crate::admin::offsets::{OffsetSpec, TopicPartition};
use crate::client::Client;
use crate::error::ClientError;
use millstream_kafka_wire::Str;
use millstream_record::Offset;

pub use chunk::Chunk;

/// Where to start reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At this offset.
    Offset(Offset),
    /// At the offset to be found by this; at the end if there is none.
    Find(OffsetSpec),
}

/// Settings of a consumer; data only.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// The most one answer brings, unless a single batch is larger.
    pub fetch_bytes_max: i32,
    /// The most it brings of one partition.
    pub partition_bytes_max: i32,
    /// How much there has to be before the server answers at once.
    pub fetch_bytes_min: i32,
    /// How long the server waits for that much.
    pub fetch_wait: Duration,
    /// Where to go on if the next offset no longer exists. `None` makes that an error.
    pub on_missing_offset: Option<OffsetSpec>,
    /// The most a batch may grow to when decompressed.
    pub decompressed_bytes_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 4 << 20,
            fetch_bytes_min: 1,
            fetch_wait: Duration::from_millis(500),
            on_missing_offset: None,
            decompressed_bytes_max: millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX,
        }
    }
}

/// What happens to a consumer.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Records came.
    Records(Chunk),
    /// A topic has been deleted. If one of that name is created, it is read.
    TopicDeleted(Str),
    /// Another topic has the name of one that has been deleted. Its partitions are read from their beginning; only those
    /// that were read of the old one.
    TopicReplaced(Str),
}

/// A consumer of partitions that the caller names.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    fetching: Option<Fetching>,
}

/// The task that fetches, and what comes from it.
#[derive(Debug)]
struct Fetching {
    events: mpsc::Receiver<Result<ConsumerEvent, ClientError>>,
    task: AbortHandle,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Events that wait for the caller, each at most a part of an answer; the fetcher stops while there are as many.
const EVENTS_WAITING_MAX: usize = 16;

impl Consumer {
    /// A consumer with connections of its own, of nothing yet.
    pub fn new(client: &Client, config: ConsumerConfig) -> Self {
        Self {
            client: client.separate(),
            config,
            fetching: None,
        }
    }

    /// Reads these partitions from now on, and no others.
    pub async fn assign(
        &mut self,
        partitions: &[(TopicPartition, StartAt)],
    ) -> Result<(), ClientError> {
        self.fetching = None;
        let positions = self.client.resolve(partitions).await?;
        if positions.is_empty() {
            return Ok(());
        }
        let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let fetcher = Fetcher::new(self.client.clone(), self.config.clone(), positions, sender);
        let task = tokio::spawn(fetcher.run()).abort_handle();
        self.fetching = Some(Fetching { events, task });
        Ok(())
    }

    /// Waits for the next records of any partition, whatever becomes of their topics. After an error that does not name one
    /// partition there is nothing more.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Chunk, ClientError> {
        loop {
            if let ConsumerEvent::Records(chunk) = self.next_event().await? {
                return Ok(chunk);
            }
        }
    }

    /// Waits for the next records of any partition, or for what becomes of their topics. With none assigned it waits for ever.
    ///
    /// Dropping the future loses nothing.
    pub async fn next_event(&mut self) -> Result<ConsumerEvent, ClientError> {
        match &mut self.fetching {
            Some(fetching) => fetching
                .events
                .recv()
                .await
                .unwrap_or(Err(ClientError::Closed)),
            None => std::future::pending().await,
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Reads nothing from now on.
    pub(crate) fn pause(&mut self) {
        self.fetching = None;
    }
}

impl Client {
    /// The offsets at which to start.
    async fn resolve(
        &self,
        partitions: &[(TopicPartition, StartAt)],
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        let mut to_find = Vec::new();
        let mut positions = Vec::new();
        for (partition, start) in partitions {
            match *start {
                StartAt::Offset(offset) => positions.push((partition.clone(), offset)),
                StartAt::Find(spec) => to_find.push((partition.clone(), spec)),
            }
        }
        let found = self.list_offsets(&to_find).await?;
        let at_end = |(partition, offset): (&TopicPartition, &crate::FoundOffset)| {
            offset
                .offset
                .is_none()
                .then(|| (partition.clone(), OffsetSpec::Latest))
        };
        let ends = self
            .list_offsets(&found.iter().filter_map(at_end).collect::<Vec<_>>())
            .await?;
        let resolved = found.into_iter().chain(ends);
        positions
            .extend(resolved.filter_map(|(partition, found)| Some((partition, found.offset?))));
        Ok(positions)
    }
}
