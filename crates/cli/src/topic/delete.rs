//! `millstream topic delete`.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use millstream_client::Client;
use millstream_kafka_wire::ErrorCode;
use serde_json::json;

use crate::output::Outcomes;

/// Arguments of `millstream topic delete`.
#[derive(Debug, Args)]
#[command(after_help = "On a terminal it asks first, unless --yes is given.")]
pub(super) struct Delete {
    /// The topics' names.
    #[arg(required = true)]
    names: Vec<String>,
    /// Succeed for topics that are not there.
    #[arg(long)]
    if_exists: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Delete {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if !self.yes && std::io::stdin().is_terminal() && !confirmed(&self.names)? {
            anyhow::bail!("nothing was deleted");
        }
        let mut outcomes = Outcomes::new(self.json);
        let ended = self.delete(client, &mut outcomes).await;
        outcomes.end(ended)
    }

    async fn delete(&self, client: &Client, outcomes: &mut Outcomes) -> anyhow::Result<()> {
        for name in &self.names {
            match client.delete_topic(name).await {
                Err(error)
                    if self.if_exists
                        && error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => outcomes.add(
                    format_args!("topic '{name}' is deleted"),
                    json!({ "topic": name, "deleted": true }),
                ),
            }
        }
        Ok(())
    }
}

fn confirmed(names: &[String]) -> anyhow::Result<bool> {
    eprint!("delete {} and all records there? [y/N] ", names.join(", "));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
