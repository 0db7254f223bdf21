//! `millstream bench consume`.

use std::time::{Duration, Instant};

use clap::Args;
use millstream_client::{Client, Consumer, ConsumerConfig, OffsetSpec, StartAt, TopicPartition};

use super::produce::Until;
use super::report::Report;

/// Arguments of `millstream bench consume`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("until"))]
pub(super) struct BenchConsume {
    /// The topic, which has to be there and full.
    #[arg(long, value_name = "NAME", default_value = "millstream-bench")]
    topic: String,
    /// Stop after so many records; at what is the end now if left out.
    #[arg(long, value_name = "N", group = "until")]
    records: Option<u64>,
    /// Stop after this time.
    #[arg(long, value_name = "TIME", group = "until", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// The most that one answer brings, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    fetch_bytes: i32,
    /// The most that one answer brings of one partition, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    partition_bytes: i32,
    /// Decode every record instead of checking and counting batches.
    #[arg(long)]
    decode: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl BenchConsume {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let earliest = client
            .topic_offsets(&self.topic, OffsetSpec::Earliest)
            .await?;
        let latest = client
            .topic_offsets(&self.topic, OffsetSpec::Latest)
            .await?;
        let starts: Vec<_> = earliest
            .iter()
            .filter_map(|&(partition, found)| {
                Some((
                    TopicPartition::new(self.topic.as_str(), partition),
                    StartAt::Offset(found.offset?),
                ))
            })
            .collect();
        let there: i64 = earliest
            .iter()
            .zip(&latest)
            .filter_map(|((_, first), (_, end))| Some(end.offset? - first.offset?))
            .sum();
        let wanted = self.records.unwrap_or(there as u64);
        if wanted > there as u64 && self.duration.is_none() {
            anyhow::bail!(
                "topic '{}' holds {there} records, fewer than --records {wanted}",
                self.topic
            );
        }
        let config = ConsumerConfig {
            fetch_bytes_max: self.fetch_bytes,
            partition_bytes_max: self.partition_bytes,
            ..ConsumerConfig::default()
        };
        let mut consumer = Consumer::new(client, config);
        let until = Until::new(Some(wanted), self.duration);
        let (mut records, mut bytes) = (0, 0);
        let started = Instant::now();
        consumer.assign(&starts).await?;
        while !until.is_over(records, started.elapsed()) {
            let chunk = consumer.next().await?;
            let there = chunk.record_count();
            // Of what came beyond the last record that was asked for nothing counts.
            let wanted = until.left(records);
            let count = if self.decode {
                let mut count = 0;
                for record in chunk.records().take(wanted as usize) {
                    record?;
                    count += 1;
                }
                count
            } else {
                there.min(wanted)
            };
            records += count;
            bytes += chunk.size_bytes() * count / there.max(1);
        }
        Report::new(records, bytes, started.elapsed()).print(self.json)
    }
}
