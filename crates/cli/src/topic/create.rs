//! `millstream topic create`.

use clap::Args;
use millstream_client::{Client, NewTopic};
use millstream_kafka_wire::ErrorCode;

use super::describe::print_topic;
use super::parse_setting;

/// Arguments of `millstream topic create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream topic create orders --partitions 4
  millstream topic create prices --set cleanup.policy=compact
  millstream topic create clicks --set millstream.durability=os --set retention.ms=3600000")]
pub(super) struct Create {
    /// The topic's name.
    name: String,
    /// How many partitions; the server's default if left out.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many servers have a copy; the server's default if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting that differs from its default; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Succeed if the topic is there already, whatever its settings.
    #[arg(long)]
    if_not_exists: bool,
    /// Only check whether the topic could be created.
    #[arg(long)]
    validate_only: bool,
    /// Print the topic as JSON.
    #[arg(long, conflicts_with = "validate_only")]
    json: bool,
}

impl Create {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let topic = NewTopic {
            name: self.name,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: self.settings,
        };
        let said = match client.create_topic(&topic, self.validate_only).await {
            Err(error)
                if self.if_not_exists && error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) =>
            {
                "is there already"
            }
            Err(error) => return Err(error.into()),
            Ok(()) if self.validate_only => "could be created",
            Ok(()) => "is created",
        };
        if self.json {
            return print_topic(client, &topic.name).await;
        }
        eprintln!("topic '{}' {said}", topic.name);
        Ok(())
    }
}
