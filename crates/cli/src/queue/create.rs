//! `millstream queue create` and `alter`.

use clap::Args;
use millstream_client::http::{HttpClient, Path};
use serde_json::Value;

use super::path;
use crate::http::{object_of, parse_assignment, told};

/// Arguments of `millstream queue create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream queue create billing --topic orders
  millstream queue create mail --topic orders --set retry.attempts_max=5 --set dead_letters=true \\
      --set retry.backoff=exponential --set retry.delay_ms=1000 --set retry.jitter_percent=20
  millstream queue create urgent --topic orders --set priorities=true --set 'filter={\"header\":\"region\",\"equals\":\"eu\"}'

docs/http.md lists everything that a queue can be told.")]
pub(super) struct Create {
    /// The queue's name.
    name: String,
    /// The topic that it reads.
    #[arg(long, short)]
    topic: String,
    /// Where it begins: earliest, latest or a time.
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    /// Something that it is told to do, beside the defaults; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_assignment)]
    settings: Vec<(String, Value)>,
}

/// Arguments of `millstream queue alter`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream queue alter mail --set retry.attempts_max=10
  millstream queue alter mail --set in_flight_max=null      # back to the default")]
pub(super) struct Alter {
    /// The queue.
    name: String,
    /// Something that it is told to do; may be given more than once.
    #[arg(long = "set", required = true, value_name = "NAME=VALUE", value_parser = parse_assignment)]
    settings: Vec<(String, Value)>,
}

impl Create {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let mut body = object_of(&self.settings)?;
        body.insert("name".to_owned(), Value::from(self.name.as_str()));
        body.insert("topic".to_owned(), Value::from(self.topic.as_str()));
        if let Some(from) = self.from {
            body.insert("from".to_owned(), Value::from(from));
        }
        told(client.post::<Value>(&Path::new(&["v1", "queues"]), &body))?;
        eprintln!("queue '{}' is created on topic '{}'", self.name, self.topic);
        Ok(())
    }
}

impl Alter {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let body = object_of(&self.settings)?;
        told(client.call::<Value>("PATCH", &path(&self.name, None), Some(&body)))?;
        eprintln!("queue '{}' is changed", self.name);
        Ok(())
    }
}
