//! `millstream topic alter`.

use clap::Args;
use millstream_client::{Client, ConfigChange, Resource};

use super::describe::print_topic;
use super::parse_setting;

/// Arguments of `millstream topic alter`.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("change").required(true).multiple(true),
    after_help = "\
Settings are all changed, or none. The number of partitions can only grow, and changes where keys go.

Examples:
  millstream topic alter orders --set retention.ms=604800000
  millstream topic alter orders --unset retention.ms
  millstream topic alter orders --partitions 8"
)]
pub(super) struct Alter {
    /// The topic's name.
    name: String,
    /// Give a setting a value; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting, group = "change")]
    set: Vec<(String, String)>,
    /// Take a setting back to its default; may be given more than once.
    #[arg(long, value_name = "NAME", group = "change")]
    unset: Vec<String>,
    /// How many partitions there shall be in all.
    #[arg(long, short, value_name = "N", group = "change", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Print the topic as JSON, as it is then.
    #[arg(long)]
    json: bool,
}

impl Alter {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let set = self
            .set
            .into_iter()
            .map(|(name, value)| ConfigChange::Set(name, value));
        let changes: Vec<_> = set
            .chain(self.unset.into_iter().map(ConfigChange::Unset))
            .collect();
        if !changes.is_empty() {
            client
                .alter_configs(&Resource::Topic(self.name.clone()), &changes, false)
                .await?;
            if !self.json {
                eprintln!("settings of topic '{}' are changed", self.name);
            }
        }
        if let Some(partitions) = self.partitions {
            client.create_partitions(&self.name, partitions).await?;
            if !self.json {
                eprintln!("topic '{}' has {partitions} partitions", self.name);
            }
        }
        if self.json {
            print_topic(client, &self.name).await?;
        }
        Ok(())
    }
}
