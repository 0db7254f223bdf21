//! `millstream queue list`.

use clap::Args;
use millstream_client::http::{HttpClient, Path};
use serde_json::Value;

use crate::http::{cell, told};
use crate::output::{Table, print_json};

/// How many queues one request asks for.
const PAGE: u64 = 1_000;

/// Arguments of `millstream queue list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let queues = all(client)?;
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

/// All queues, page by page.
fn all(client: &HttpClient) -> anyhow::Result<Vec<Value>> {
    let mut queues = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let path = Path::new(&["v1", "queues"])
            .query("max", &PAGE)
            .query_if("after", after);
        let mut page: Value = told(client.get(&path))?;
        let Some(Value::Array(some)) = page.get_mut("queues").map(Value::take) else {
            anyhow::bail!("the server's answer has no queues in it");
        };
        queues.extend(some);
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(queues);
        }
    }
}
