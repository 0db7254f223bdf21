//! `millstream bench latency`: how long a record takes from its producer to a consumer that waits for it.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use millstream_client::{
    Client, Consumer, ConsumerConfig, OffsetSpec, Producer, ProducerConfig, StartAt, TopicPartition,
};
use millstream_record::{NewRecord, TimestampMs};

use super::BenchTopic;
use super::report::{Report, Times};

/// Arguments of `millstream bench latency`.
#[derive(Debug, Args)]
pub(super) struct BenchLatency {
    #[command(flatten)]
    topic: BenchTopic,
    /// Records per second.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How long to measure.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long to run before measuring.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// The size of a record's value in bytes; at least 8.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(8..))]
    size: u64,
    /// How long a record may wait for others to be sent with.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = humantime::parse_duration)]
    linger: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How long to wait for the last record.
const PATIENCE: Duration = Duration::from_secs(30);

impl BenchLatency {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let partitions = self.topic.ensure(client).await?;
        let mut consumer = Consumer::new(client, ConsumerConfig::default());
        let starts: Vec<_> = (0..partitions)
            .map(|partition| {
                let partition = TopicPartition::new(self.topic.topic.as_str(), partition);
                (partition, StartAt::Find(OffsetSpec::Latest))
            })
            .collect();
        consumer.assign(&starts).await?;
        let config = ProducerConfig {
            linger: self.linger,
            ..ProducerConfig::default()
        };
        let producer = Producer::start(client, config).await?;

        let warm = self.count(self.warm_up);
        let total = warm + self.count(self.duration);
        let clock = Instant::now();
        let (written, times) = tokio::try_join!(
            self.produce(&producer, clock, total),
            receive(&mut consumer, clock, warm, total)
        )?;
        let measured = total - warm;
        Report::new(
            measured,
            measured * self.size,
            written.saturating_sub(self.warm_up),
        )
        .times("end to end", &times)
        .print(self.json)
    }

    fn count(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.rate as f64) as u64
    }

    /// Writes `total` records at their times, each with the time at which it should have been written. Returns how long
    /// it took.
    async fn produce(
        &self,
        producer: &Producer,
        clock: Instant,
        total: u64,
    ) -> anyhow::Result<Duration> {
        let mut value = vec![b'x'; self.size as usize];
        for at in 0..total {
            let due = Duration::from_secs_f64(at as f64 / self.rate as f64);
            if clock.elapsed() < due {
                tokio::time::sleep_until((clock + due).into()).await;
            }
            value[..8].copy_from_slice(&(due.as_nanos() as u64).to_be_bytes());
            let record = NewRecord {
                timestamp: TimestampMs::NONE,
                key: None,
                value: Some(&value),
                headers: &[],
            };
            producer.send(&self.topic.topic, None, &record).await?;
            producer.check()?;
        }
        producer.flush().await?;
        Ok(clock.elapsed())
    }
}

/// Reads `total` records, and keeps the times of all but the first `warm`.
async fn receive(
    consumer: &mut Consumer,
    clock: Instant,
    warm: u64,
    total: u64,
) -> anyhow::Result<Times> {
    let mut times = Times::new();
    let mut received = 0;
    while received < total {
        let chunk = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let chunk =
            chunk.with_context(|| format!("only {received} of {total} records came back"))??;
        let now = clock.elapsed();
        for record in chunk.records() {
            let record = record?;
            let stamp = record
                .value
                .as_deref()
                .and_then(|value| value.first_chunk());
            let due = stamp.map(|bytes| Duration::from_nanos(u64::from_be_bytes(*bytes)));
            received += 1;
            if let Some(due) = due.filter(|_| received > warm) {
                times.record(now.saturating_sub(due));
            }
        }
    }
    Ok(times)
}
