//! `millstream queue ack`, `nack`, `reject` and `extend`.

use std::time::Duration;

use clap::Args;
use millstream_client::http::HttpClient;
use serde_json::{Map, Value};

use super::path;
use crate::http::told;
use crate::output::print_json;

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
pub(super) struct Which {
    /// The queue.
    pub(super) name: String,
    /// The receipts that came with the messages.
    #[arg(required = true, value_name = "RECEIPT")]
    pub(super) receipts: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Ack {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        self.which.settle(client, "ack", Map::new())
    }
}

impl Nack {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let mut request = Map::new();
        if let Some(delay) = self.delay {
            let delay_ms = u64::try_from(delay.as_millis())?;
            request.insert("delay_ms".to_owned(), delay_ms.into());
        }
        self.which.settle(client, "nack", request)
    }
}

impl Reject {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        self.which.settle(client, "reject", Map::new())
    }
}

impl Extend {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let visibility_ms = u64::try_from(self.visibility.as_millis())?;
        let mut request = Map::new();
        request.insert("visibility_ms".to_owned(), visibility_ms.into());
        self.which.settle(client, "extend", request)
    }
}

impl Which {
    /// Says something of messages. Fails if any receipt was refused, after all have been told.
    pub(super) fn settle(
        self,
        client: &HttpClient,
        action: &str,
        request: Map<String, Value>,
    ) -> anyhow::Result<()> {
        let refused = self.tell(client, action, request)?;
        if refused > 0 {
            anyhow::bail!("{refused} of {} receipts were refused", self.receipts.len());
        }
        Ok(())
    }

    /// Says something of messages. Returns how many receipts were refused, after all have been told.
    pub(super) fn tell(
        &self,
        client: &HttpClient,
        action: &str,
        mut request: Map<String, Value>,
    ) -> anyhow::Result<usize> {
        request.insert("receipts".to_owned(), self.receipts.as_slice().into());
        let mut answer: Value = told(client.post(&path(&self.name, Some(action)), &request))?;
        let Some(Value::Array(mut results)) = answer.get_mut("results").map(Value::take) else {
            anyhow::bail!("the server's answer has no results in it");
        };
        let mut refused = 0;
        // Results come in the order of the receipts, and do not repeat them.
        for (receipt, result) in self.receipts.iter().zip(&mut results) {
            if result["ok"] != Value::Bool(true) {
                refused += 1;
                if !self.json {
                    let why = result["detail"].as_str().unwrap_or("refused");
                    eprintln!("{receipt}: {why}");
                }
            }
            if let Some(result) = result.as_object_mut() {
                result.insert("receipt".to_owned(), receipt.as_str().into());
            }
        }
        if self.json {
            print_json(&results)?;
        }
        Ok(refused)
    }
}
