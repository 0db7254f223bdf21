//! `millstream queue ack`, `nack`, `reject` and `extend`.

use std::time::Duration;

use clap::Args;
use millstream_client::http::HttpClient;
use serde_json::{Value, json};

use super::path;
use crate::http::told;

/// Arguments of `millstream queue ack`.
#[derive(Debug, Args)]
pub(super) struct Ack {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `millstream queue nack`.
#[derive(Debug, Args)]
pub(super) struct Nack {
    #[command(flatten)]
    which: Which,
    /// When they are delivered again; what the queue's retry policy says, if left out.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
}

/// Arguments of `millstream queue reject`.
#[derive(Debug, Args)]
pub(super) struct Reject {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `millstream queue extend`.
#[derive(Debug, Args)]
pub(super) struct Extend {
    #[command(flatten)]
    which: Which,
    /// How long from now.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    visibility: Duration,
}

/// Which messages.
#[derive(Debug, Args)]
struct Which {
    /// The queue.
    name: String,
    /// The receipts that came with the messages.
    #[arg(required = true, value_name = "RECEIPT")]
    receipts: Vec<String>,
}

impl Ack {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let Which { name, receipts } = self.which;
        settle(client, &name, "ack", &json!({ "receipts": receipts }))
    }
}

impl Nack {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let Which { name, receipts } = self.which;
        let mut request = json!({ "receipts": receipts });
        if let Some(delay) = self.delay {
            request["delay_ms"] = u64::try_from(delay.as_millis())?.into();
        }
        settle(client, &name, "nack", &request)
    }
}

impl Reject {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let Which { name, receipts } = self.which;
        settle(client, &name, "reject", &json!({ "receipts": receipts }))
    }
}

impl Extend {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let Which { name, receipts } = self.which;
        let visibility_ms = u64::try_from(self.visibility.as_millis())?;
        let request = json!({ "receipts": receipts, "visibility_ms": visibility_ms });
        settle(client, &name, "extend", &request)
    }
}

/// Says something of messages. Fails if any receipt was refused, after all have been told.
pub(super) fn settle(
    client: &HttpClient,
    name: &str,
    action: &str,
    request: &Value,
) -> anyhow::Result<()> {
    let answer: Value = told(client.post(&path(name, Some(action)), request))?;
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    let mut refused = 0;
    for result in &results {
        if result["ok"] == Value::Bool(true) {
            continue;
        }
        refused += 1;
        let why = ["detail", "code"].iter().find_map(|name| {
            result["error"][*name]
                .as_str()
                .or_else(|| result[*name].as_str())
        });
        eprintln!(
            "{}: {}",
            result["receipt"].as_str().unwrap_or("receipt"),
            why.unwrap_or("refused")
        );
    }
    if refused > 0 {
        anyhow::bail!("{refused} of {} receipts were refused", results.len());
    }
    Ok(())
}
