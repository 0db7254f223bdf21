//! `millstream queue create` and `alter`.

use clap::Args;
use millstream_client::http::{HttpClient, Path};
use serde_json::{Map, Value, json};

use super::path;
use crate::http::{object_of, parse_assignment, told};
use crate::output::print_json;

/// Arguments of `millstream queue create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream queue create billing --topic orders
  millstream queue create mail --topic orders --set retry.attempts_max=5 --set dead_letters=true \\
      --set retry.backoff.exponential.delay_ms=1000 --set retry.jitter_percent=20
  millstream queue create ledger --topic orders --set access=exclusive --set dead_letters=true --dead-letter-topic unbooked
  millstream queue create urgent --topic orders --set priorities=true --filter '{\"header\":\"region\",\"equals\":\"eu\"}'

docs/http.md lists everything that a queue can be told.")]
pub(super) struct Create {
    /// The queue's name.
    name: String,
    /// The topic that it reads.
    #[arg(long, short)]
    topic: String,
    /// Where it begins: earliest, latest, or a time in milliseconds since 1970.
    #[arg(long, value_name = "PLACE", default_value = "latest", value_parser = parse_place)]
    from: Value,
    /// Only messages that match, as JSON.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Something that it is told to do, beside the defaults; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_assignment)]
    settings: Vec<(String, Value)>,
    /// The topic that dead letters go to; the queue's name and .dead if left out.
    #[arg(long, value_name = "TOPIC")]
    dead_letter_topic: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `millstream queue alter`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream queue alter mail --set retry.attempts_max=10
  millstream queue alter mail --set in_flight_max=null      # back to the default
  millstream queue alter mail --set dedup_window_ms=0       # take messages that repeat an id")]
pub(super) struct Alter {
    /// The queue.
    name: String,
    /// Something that it is told to do; may be given more than once.
    #[arg(long = "set", required = true, value_name = "NAME=VALUE", value_parser = parse_assignment)]
    settings: Vec<(String, Value)>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Create {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert("policy".to_owned(), object_of(&self.settings)?.into());
        if let Some(filter) = &self.filter {
            let filter: Value = serde_json::from_str(filter)
                .map_err(|error| anyhow::anyhow!("--filter is not JSON: {error}"))?;
            body.insert("filter".to_owned(), filter);
        }
        body.insert("name".to_owned(), Value::from(self.name.as_str()));
        body.insert("topic".to_owned(), Value::from(self.topic.as_str()));
        body.insert("from".to_owned(), self.from);
        if let Some(topic) = self.dead_letter_topic {
            body.insert("dead_letter_topic".to_owned(), topic.into());
        }
        let queue: Value = told(client.post(&Path::new(&["v1", "queues"]), &body))?;
        if self.json {
            return print_json(&queue);
        }
        eprintln!("queue '{}' is created on topic '{}'", self.name, self.topic);
        Ok(())
    }
}

impl Alter {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let body = json!({ "policy": object_of(&self.settings)? });
        let queue: Value = told(client.call("PATCH", &path(&self.name, None), Some(&body)))?;
        if self.json {
            return print_json(&queue);
        }
        eprintln!("queue '{}' is changed", self.name);
        Ok(())
    }
}

fn parse_place(text: &str) -> Result<Value, String> {
    match text {
        "earliest" | "latest" => Ok(text.into()),
        other => other
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| "not earliest, latest or a number of milliseconds".to_owned()),
    }
}
