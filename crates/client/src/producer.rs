//! Writing records: batched per partition, several requests in flight, in order, and by default idempotent.
//!
//! A record is appended to its partition's open batch under a short lock ([`accumulator`]); a task sends batches that are
//! full or have lingered ([`sender`]), one request a broker carrying one batch of each partition that has one, and deals
//! with the answers, keeping each partition's order across retries ([`lane`]). Memory is bounded: [`Producer::send`]
//! waits while the buffer is full.

mod accumulator;
mod lane;
mod outcome;
mod request;
mod sender;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_kafka_wire::messages::InitProducerIdRequest;
use millstream_record::{Batch, Compression, NewRecord, ProducerEpoch, ProducerId, TimestampMs};
use tokio::task::AbortHandle;

use self::accumulator::Accumulator;
use self::sender::Sender;
use crate::admin::offsets::TopicPartition;
use crate::client::Client;
use crate::error::{ClientError, check};

pub use outcome::{Delivered, Delivery};

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// As soon as it is sent; it may be lost.
    None,
    /// When the partition's leader has it.
    Leader,
    /// When all in-sync replicas have it.
    #[default]
    All,
}

impl Acks {
    fn on_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Settings of a producer; data only.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// When a record counts as written.
    pub acks: Acks,
    /// Whether the server drops what it gets twice (KIP-98). Needs [`Acks::All`].
    pub idempotent: bool,
    /// How batches are compressed.
    pub compression: Compression,
    /// A batch that is this large before compression is sent.
    pub batch_bytes: usize,
    /// A batch that is this old is sent however small it is. Zero sends as soon as there is room in flight.
    pub linger: Duration,
    /// Requests in flight to one broker.
    pub in_flight_max: usize,
    /// The most that one request carries, if it carries more than one batch.
    pub request_bytes_max: usize,
    /// Memory for records that are not acknowledged yet.
    pub buffer_bytes: usize,
    /// How long delivering a record may take, retries included.
    pub delivery_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::NONE,
            batch_bytes: 16 << 10,
            linger: Duration::from_millis(5),
            // The most of which a server keeps the order for an idempotent producer.
            in_flight_max: 5,
            request_bytes_max: 1 << 20,
            buffer_bytes: 64 << 20,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

/// A producer. Dropping it gives up what is not delivered yet; see [`Producer::flush`].
#[derive(Debug)]
pub struct Producer {
    client: Client,
    accumulator: Arc<Accumulator>,
    sender: AbortHandle,
}

impl Producer {
    /// Starts a producer with connections of its own.
    pub async fn start(client: &Client, config: ProducerConfig) -> Result<Self, ClientError> {
        let client = client.separate();
        let identity = if config.idempotent && config.acks == Acks::All {
            Some(init_producer_id(&client).await?)
        } else {
            None
        };
        let accumulator = Arc::new(Accumulator::new(&config));
        let sender = Sender::new(client.clone(), config, identity, Arc::clone(&accumulator));
        let sender = tokio::spawn(sender.run()).abort_handle();
        Ok(Self {
            client,
            accumulator,
            sender,
        })
    }

    /// Appends a record to a topic: to `partition`, or where its key belongs, or, without a key, where the others go until
    /// their batch is full.
    ///
    /// Waits while the buffer is full. The [`Delivery`] tells when the record is written; dropping it is fine. A record
    /// without a timestamp gets the present time.
    pub async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        record: &NewRecord<'_>,
    ) -> Result<Delivery, ClientError> {
        let mut record = *record;
        if record.timestamp == TimestampMs::NONE {
            record.timestamp = now();
        }
        self.know(topic).await?;
        self.accumulator
            .reserve(accumulator::size_bytes(&record))
            .await?;
        self.accumulator.append(topic, partition, &record)
    }

    /// Sends a batch that is already built, as it is but for the producer's sequence numbers, which are written into its
    /// header. Its records are not copied.
    pub async fn send_batch(
        &self,
        partition: &TopicPartition,
        batch: Batch,
    ) -> Result<Delivery, ClientError> {
        self.know(&partition.topic).await?;
        self.accumulator.reserve(batch.bytes.len()).await?;
        self.accumulator.append_batch(partition, batch)
    }

    /// Sends what has been appended and waits until all of it is delivered or given up. Fails with the first failure since
    /// the last time that one was told, by this or by [`Producer::check`].
    pub async fn flush(&self) -> Result<(), ClientError> {
        for outcome in self.accumulator.close_open_batches() {
            // Failures are told below, those from before this call too.
            let _ = outcome.wait().await;
        }
        self.check()
    }

    /// Fails if a record could not be delivered since the last time that such a failure was told, for who does not look at
    /// each [`Delivery`].
    pub fn check(&self) -> Result<(), ClientError> {
        self.accumulator.take_failure().map_or(Ok(()), Err)
    }

    async fn know(&self, topic: &str) -> Result<(), ClientError> {
        if !self.accumulator.knows(topic) {
            let topic = self.client.topic_of(topic, true).await?;
            self.accumulator
                .learn(&topic.name, topic.partitions.len() as i32);
        }
        Ok(())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.sender.abort();
        self.accumulator.shut(&ClientError::Closed);
    }
}

/// Who writes, as far as the server is told.
#[derive(Debug, Clone, Copy)]
struct Identity {
    id: ProducerId,
    epoch: ProducerEpoch,
}

async fn init_producer_id(client: &Client) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..Default::default()
    };
    let mut backoff = client.backoff();
    loop {
        let response = client.call_any(&request).await?;
        match check(response.error_code, "start an idempotent producer") {
            Err(error) => backoff.pause(error).await?,
            Ok(()) => {
                return Ok(Identity {
                    id: ProducerId(response.producer_id),
                    epoch: ProducerEpoch(response.producer_epoch),
                });
            }
        }
    }
}

fn now() -> TimestampMs {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    TimestampMs(since_epoch.as_millis() as i64)
}
