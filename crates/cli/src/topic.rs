//! `millstream topic`: one file for each thing to do with topics.

mod alter;
mod create;
mod delete;
mod describe;
mod list;

use clap::{Args, Subcommand};

use crate::connect::{Connect, block_on};

/// Arguments of `millstream topic`.
#[derive(Debug, Args)]
pub(crate) struct Topic {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a topic.
    Create(create::Create),
    /// List the topics.
    List(list::List),
    /// Describe a topic: its partitions, what is in them, its settings.
    Describe(describe::Describe),
    /// Change a topic's settings, or give it more partitions.
    Alter(alter::Alter),
    /// Delete topics and all that is in them.
    Delete(delete::Delete),
}

impl Topic {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        block_on(async {
            let client = self.connect.client().await?;
            match self.action {
                Action::Create(create) => create.run(&client).await,
                Action::List(list) => list.run(&client).await,
                Action::Describe(describe) => describe.run(&client).await,
                Action::Alter(alter) => alter.run(&client).await,
                Action::Delete(delete) => delete.run(&client).await,
            }
        })
    }
}

/// A setting as `NAME=VALUE`.
fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not NAME=VALUE, such as retention.ms=86400000".to_owned()),
    }
}
