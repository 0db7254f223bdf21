//! `millstream redrive`: dead letters back to where they came from.

use clap::Args;
use millstream_client::http::Path;
use serde_json::{Map, Value};

use crate::http::{ConnectHttp, told};
use crate::output::print_json;

/// Arguments of `millstream redrive`.
#[derive(Debug, Args)]
#[command(after_help = "\
Moves a queue's dead letters back to the topics they were published to, each exactly once.

Examples:
  millstream redrive mail
  millstream redrive mail --max 100
  millstream redrive mail --to mail-by-hand")]
pub(crate) struct Redrive {
    #[command(flatten)]
    connect: ConnectHttp,
    /// The queue whose dead letters are meant.
    queue: String,
    /// Another topic to move them to.
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// How many at most; all of them if left out.
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Redrive {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut body = Map::new();
        if let Some(topic) = self.to {
            body.insert("to".to_owned(), topic.into());
        }
        if let Some(max) = self.max {
            body.insert("max".to_owned(), max.into());
        }
        let path = Path::new(&["v1", "queues", &self.queue, "redrive"]);
        let answer: Value = told(self.connect.client().post(&path, &body))?;
        if self.json {
            print_json(&answer)?;
        } else {
            tell(&answer);
        }
        match answer["stopped"]["detail"].as_str() {
            Some(why) => anyhow::bail!("not all were moved: {why}"),
            None => Ok(()),
        }
    }
}

fn tell(answer: &Value) {
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    eprintln!("{} messages were moved", count("moved"));
    let refused = count("refused");
    if refused > 0 {
        eprintln!(
            "{refused} were refused, and stay with the dead letters; the server's log says why"
        );
    }
}
