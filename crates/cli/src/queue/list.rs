//! `millstream queue list`.

use clap::Args;
use millstream_client::http::HttpClient;
use serde_json::Value;

use crate::http::{all, cell};
use crate::output::{Table, print_json};

/// Arguments of `millstream queue list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let queues = all(client, "queues")?;
        if self.json {
            return print_json(&queues);
        }
        let mut table = Table::new(&["QUEUE", "TOPIC", ">READY", ">LEASED", ">OPEN", "STATE"]);
        for queue in &queues {
            let is_paused = queue["paused"] == Value::Bool(true);
            table.row([
                cell(&queue["name"]),
                cell(&queue["topic"]),
                cell(&queue["depth"]["ready"]),
                cell(&queue["depth"]["leased"]),
                cell(&queue["depth"]["open"]),
                if is_paused { "paused" } else { "active" }.to_owned(),
            ]);
        }
        table.print()
    }
}
