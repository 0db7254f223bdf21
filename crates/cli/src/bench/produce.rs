//! `millstream bench produce`.
//!
//! One full batch is built before the clock starts and sent again and again, so that what is measured is the server, and
//! what the client adds is a header and its checksum. At a rate, what is due is sent, in batches that are as large as that.

use std::ops::Range;
use std::time::{Duration, Instant};

use clap::Args;
use millstream_client::{Client, ClientError, Delivery, Producer, ProducerConfig, TopicPartition};
use millstream_record::{Batch, BatchBuilder, Codec, NewRecord, TimestampMs};
use rand::{Rng, RngCore, SeedableRng};
use tokio::task::JoinSet;

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
    /// The size of a batch in bytes, before compression; the most that one takes with --rate.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000)]
    batch_bytes: usize,
    /// Requests in flight.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    in_flight: u64,
    /// Records per second, each sent when it is due and measured from then; as many as possible if left out.
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
        let batch = self.build_batch(self.records.unwrap_or(u64::MAX))?;
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
        full: &Batch,
        batches_in_flight: usize,
    ) -> anyhow::Result<Report> {
        let mut until = Until::new(self.records, self.duration);
        if let Some(rate) = self.rate {
            until.keep_to(rate);
        }
        let mut times = Times::new();
        let mut on_the_way = JoinSet::<Result<Acknowledged, ClientError>>::new();
        let (mut records, mut batches) = (0, 0);
        let started = Instant::now();
        let pace = self.rate.map(|rate| Pace { started, rate });
        while !until.is_over(records, started.elapsed()) {
            if let Some(pace) = pace {
                tokio::time::sleep_until(pace.due_at(records).into()).await;
            }
            if on_the_way.len() >= batches_in_flight
                && let Some(acknowledged) = on_the_way.join_next().await
            {
                acknowledged??.record(&mut times);
            }
            let due = pace.map_or(u64::MAX, |pace| pace.due_by(Instant::now()));
            // One is due in any case, whatever became of fractions of a nanosecond.
            let count = due.saturating_sub(records).clamp(1, until.left(records));
            let batch = match full.header.record_count as u64 {
                full_count if count >= full_count => full.clone(),
                _ => self.build_batch(count)?,
            };
            let count = batch.header.record_count as u64;
            let target = &targets[batches % targets.len()];
            let sent = Sent {
                pace,
                records: records..records + count,
                at: Instant::now(),
            };
            let delivery = producer.send_batch(target, batch).await?;
            on_the_way.spawn(sent.acknowledged(delivery));
            records += count;
            batches += 1;
            while let Some(acknowledged) = on_the_way.try_join_next() {
                acknowledged??.record(&mut times);
            }
        }
        while let Some(acknowledged) = on_the_way.join_next().await {
            acknowledged??.record(&mut times);
        }
        let times_of = if pace.is_some() {
            "record acks"
        } else {
            "batch acks"
        };
        Ok(
            Report::new(records, records * self.size as u64, started.elapsed())
                .times(times_of, &times),
        )
    }

    /// A batch of as many records as fit, at most `count_max`.
    fn build_batch(&self, count_max: u64) -> anyhow::Result<Batch> {
        let mut value = vec![0; self.size];
        // Half random, half text that repeats, about as compressible as records are.
        let mut random = rand::rngs::SmallRng::seed_from_u64(7);
        let mut builder = BatchBuilder::with_capacity(self.compression, self.batch_bytes);
        while (builder.record_count() as u64) < count_max {
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
        }
        builder
            .build()
            .ok_or_else(|| anyhow::anyhow!("--records 0 leaves nothing to measure"))
    }
}

/// When records are due that are sent at a rate.
#[derive(Debug, Clone, Copy)]
struct Pace {
    started: Instant,
    /// Records per second.
    rate: u64,
}

impl Pace {
    /// When the record of that number is due. The first, 0, is at once.
    fn due_at(self, record: u64) -> Instant {
        self.started + Duration::from_secs_f64(record as f64 / self.rate as f64)
    }

    /// How many are due at `now`.
    fn due_by(self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started);
        (elapsed.as_secs_f64() * self.rate as f64) as u64 + 1
    }
}

/// A batch that was sent.
struct Sent {
    pace: Option<Pace>,
    /// Which records are in it, by their numbers.
    records: Range<u64>,
    at: Instant,
}

/// A batch that was acknowledged.
struct Acknowledged {
    sent: Sent,
    at: Instant,
}

impl Sent {
    async fn acknowledged(self, delivery: Delivery) -> Result<Acknowledged, ClientError> {
        delivery.wait().await?;
        Ok(Acknowledged {
            sent: self,
            at: Instant::now(),
        })
    }
}

impl Acknowledged {
    /// At a rate, notes the time of each record, from when it was due: a server that stalls must not be spared what it
    /// held up. Without one, the time of the batch.
    fn record(self, times: &mut Times) {
        match self.sent.pace {
            Some(pace) => {
                for record in self.sent.records {
                    times.record(self.at.saturating_duration_since(pace.due_at(record)));
                }
            }
            None => times.record(self.at - self.sent.at),
        }
    }
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

    /// Takes no more records than there are at so many per second.
    fn keep_to(&mut self, rate: u64) {
        let all = (self.duration.as_secs_f64() * rate as f64) as u64;
        self.records.get_or_insert(all.max(1));
    }

    pub(super) fn is_over(&self, records: u64, elapsed: Duration) -> bool {
        self.left(records) == 0 || elapsed >= self.duration
    }

    /// How many records are still wanted after so many.
    pub(super) fn left(&self, records: u64) -> u64 {
        self.records
            .map_or(u64::MAX, |limit| limit.saturating_sub(records))
    }
}

/// The present time in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as i64
}
