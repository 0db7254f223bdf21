//! `millstream topic list`.

use clap::Args;
use millstream_client::Client;
use serde::Serialize;

use crate::output::{Table, print_json};

/// Arguments of `millstream topic list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// List the topics that the server keeps for itself, too.
    #[arg(long)]
    internal: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    id: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

impl List {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let topics = client.topics().await?;
        let listed: Vec<_> = topics
            .iter()
            .filter(|topic| self.internal || !topic.internal)
            .map(|topic| Listed {
                name: topic.name.to_string(),
                id: topic.id.to_string(),
                partitions: topic.partitions.len(),
                replication_factor: topic
                    .partitions
                    .first()
                    .map_or(0, |partition| partition.replicas.len()),
                internal: topic.internal,
            })
            .collect();
        if self.json {
            return print_json(&listed);
        }
        let mut table = Table::new(&["NAME", ">PARTITIONS", ">REPLICAS"]);
        for topic in listed {
            table.row([
                topic.name,
                topic.partitions.to_string(),
                topic.replication_factor.to_string(),
            ]);
        }
        table.print()
    }
}
