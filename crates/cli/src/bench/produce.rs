//! `millstream bench produce`.
//!
//! One batch is built before the clock starts and sent again and again, so that what is measured is the server, and what
//! the client adds is a header and its checksum.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use clap::Args;
use millstream_client::{Client, Delivery, Producer, ProducerConfig, TopicPartition};
use millstream_record::{Batch, BatchBuilder, Codec, NewRecord, TimestampMs};
use rand::{Rng, RngCore, SeedableRng};

use super::BenchTopic;
use super::report::{Report, Times};
use crate::produce::{AcksArgument, parse_codec};

/// Arguments of `millstream bench produce`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("until"))]
pub(super) struct BenchProduce {
    #[command(flatten)]
    topic: BenchTopic,
    /// Stop after so many records.
    #[arg(long, value_name = "N", group = "until")]
    records: Option<u64>,
    /// Stop after this time [default: 10s].
    #[arg(long, value_name = "TIME", group = "until", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// The size of a record's value in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// The size of a batch in bytes, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000)]
    batch_bytes: usize,
    /// Requests in flight.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    in_flight: u64,
    /// Records per second; as many as possible if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd.
    #[arg(long, default_value = "none", value_parser = parse_codec)]
    compression: Codec,
    /// When a record counts as written.
    #[arg(long, value_enum, default_value_t)]
    acks: AcksArgument,
    /// Do without the server's protection against duplicates.
    #[arg(long)]
    no_idempotence: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl BenchProduce {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let partitions = self.topic.ensure(client).await?;
        let batch = self.build_batch()?;
        // A request carries a batch of every partition that has one, so this many may be on their way.
        let batches_in_flight = self.in_flight as usize * partitions as usize;
        let config = ProducerConfig {
            acks: self.acks.into(),
            idempotent: !self.no_idempotence,
            in_flight_max: self.in_flight as usize,
            request_bytes_max: batch.bytes.len().max(1 << 20),
            buffer_bytes: (batch.bytes.len() * (batches_in_flight + 1)).max(64 << 20),
            ..ProducerConfig::default()
        };
        let producer = Producer::start(client, config).await?;
        let targets: Vec<_> = (0..partitions)
            .map(|partition| TopicPartition::new(self.topic.topic.as_str(), partition))
            .collect();
        self.measure(&producer, &targets, &batch, batches_in_flight)
            .await?
            .print(self.json)
    }

    async fn measure(
        &self,
        producer: &Producer,
        targets: &[TopicPartition],
        batch: &Batch,
        batches_in_flight: usize,
    ) -> anyhow::Result<Report> {
        let records_each = batch.header.record_count as u64;
        let until = Until::new(self.records, self.duration);
        let mut times = Times::new();
        let mut on_the_way = VecDeque::<(Instant, Delivery)>::new();
        let mut batches = 0u64;
        let started = Instant::now();
        while !until.is_over(batches * records_each, started) {
            let mut sent_at = Instant::now();
            if let Some(rate) = self.rate {
                // Counted from when it should have been sent: a server that stalls must not be spared what it held up.
                sent_at = started
                    + Duration::from_secs_f64((batches * records_each) as f64 / rate as f64);
                tokio::time::sleep_until(sent_at.into()).await;
            }
            if on_the_way.len() >= batches_in_flight
                && let Some(oldest) = on_the_way.pop_front()
            {
                settle(oldest, &mut times).await?;
            }
            let target = &targets[batches as usize % targets.len()];
            on_the_way.push_back((sent_at, producer.send_batch(target, batch.clone()).await?));
            batches += 1;
            while on_the_way
                .front()
                .is_some_and(|(_, delivery)| delivery.is_done())
            {
                if let Some(oldest) = on_the_way.pop_front() {
                    settle(oldest, &mut times).await?;
                }
            }
        }
        for delivery in on_the_way {
            settle(delivery, &mut times).await?;
        }
        let records = batches * records_each;
        Ok(
            Report::new(records, records * self.size as u64, started.elapsed())
                .times("batch acks", &times),
        )
    }

    fn build_batch(&self) -> anyhow::Result<Batch> {
        let mut value = vec![0; self.size];
        // Half random, half text that repeats, about as compressible as records are.
        let mut random = rand::rngs::SmallRng::seed_from_u64(7);
        let mut builder = BatchBuilder::with_capacity(self.compression, self.batch_bytes);
        loop {
            random.fill_bytes(&mut value);
            let letter = random.random_range(b'a'..=b'z');
            let half = value.len() / 2;
            value[half..].fill(letter);
            let record = NewRecord {
                timestamp: TimestampMs(now_ms()),
                key: None,
                value: Some(&value),
                headers: &[],
            };
            if builder.record_count() > 0 && builder.size_bytes_with(&record) > self.batch_bytes {
                break;
            }
            builder.append(&record);
            // A batch must not carry more than is asked for.
            if self
                .records
                .is_some_and(|records| builder.record_count() as u64 >= records)
            {
                break;
            }
        }
        builder
            .build()
            .ok_or_else(|| anyhow::anyhow!("--batch-bytes is too small for a record"))
    }
}

async fn settle((sent_at, delivery): (Instant, Delivery), times: &mut Times) -> anyhow::Result<()> {
    delivery.wait().await?;
    times.record(sent_at.elapsed());
    Ok(())
}

/// When a measurement ends.
pub(super) struct Until {
    records: Option<u64>,
    duration: Duration,
}

impl Until {
    pub(super) fn new(records: Option<u64>, duration: Option<Duration>) -> Self {
        let default = if records.is_some() {
            Duration::MAX
        } else {
            Duration::from_secs(10)
        };
        Self {
            records,
            duration: duration.unwrap_or(default),
        }
    }

    pub(super) fn is_over(&self, records: u64, started: Instant) -> bool {
        self.records.is_some_and(|limit| records >= limit) || started.elapsed() >= self.duration
    }
}

/// The present time in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as i64
}
