//! `millstream topic delete`.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use millstream_client::Client;
use millstream_kafka_wire::ErrorCode;

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
}

impl Delete {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if !self.yes && std::io::stdin().is_terminal() && !confirmed(&self.names)? {
            anyhow::bail!("nothing was deleted");
        }
        for name in &self.names {
            match client.delete_topic(name).await {
                Err(error)
                    if self.if_exists
                        && error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => eprintln!("topic '{name}' is deleted"),
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
