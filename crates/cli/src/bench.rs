//! `millstream bench`: measures a server, this one or any other that speaks Kafka's protocol.

mod consume;
mod latency;
mod produce;
mod report;

use clap::{Args, Subcommand};
use millstream_client::{Client, NewTopic};
use millstream_kafka_wire::ErrorCode;

use crate::connect::{Connect, block_on};

/// Arguments of `millstream bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream bench produce --records 5000000 --batch-bytes 1000000
  millstream bench produce --duration 10s --rate 10000 --batch-bytes 16384
  millstream bench consume --records 5000000
  millstream bench latency --rate 10000 --duration 30s --json")]
pub(crate) struct Bench {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write as fast as the server takes it, or at a given rate.
    Produce(produce::BenchProduce),
    /// Read as fast as the server gives it.
    Consume(consume::BenchConsume),
    /// Write at a given rate, read at the same time, and measure how long each record is on its way.
    Latency(latency::BenchLatency),
}

impl Bench {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        block_on(async {
            let client = self.connect.client().await?;
            match self.what {
                What::Produce(produce) => produce.run(&client).await,
                What::Consume(consume) => consume.run(&client).await,
                What::Latency(latency) => latency.run(&client).await,
            }
        })
    }
}

/// The topic to measure with.
#[derive(Debug, Clone, Args)]
struct BenchTopic {
    /// The topic; it is created if it is not there.
    #[arg(long, value_name = "NAME", default_value = "millstream-bench")]
    topic: String,
    /// How many partitions to create it with.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// A setting to create it with; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

impl BenchTopic {
    /// Creates the topic unless it is there; tells how many partitions it has.
    async fn ensure(&self, client: &Client) -> anyhow::Result<i32> {
        let mut topic = NewTopic::new(&self.topic).partitions(self.partitions);
        for setting in &self.settings {
            let Some((name, value)) = setting.split_once('=') else {
                anyhow::bail!("--set {setting}: not NAME=VALUE");
            };
            topic = topic.config(name, value);
        }
        match client.create_topic(&topic, false).await {
            Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                return Err(error.into());
            }
            _ => {}
        }
        let found = client.topic(&self.topic).await?.partitions.len() as i32;
        if found != self.partitions {
            eprintln!(
                "topic '{}' is there already, with {found} partitions",
                self.topic
            );
        }
        Ok(found)
    }
}
