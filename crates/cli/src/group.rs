//! `millstream group`: one file for each thing to do with consumer groups.

mod delete;
mod describe;
mod list;
mod reset_offsets;

use clap::{Args, Subcommand};

use crate::connect::{Connect, block_on};

/// Arguments of `millstream group`.
#[derive(Debug, Args)]
pub(crate) struct Group {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the groups.
    List(list::List),
    /// Describe a group: its members, where it reads, and how far it is behind.
    Describe(describe::Describe),
    /// Move where a group reads; shows what would change unless told to do it.
    ResetOffsets(reset_offsets::ResetOffsets),
    /// Delete groups that have no members.
    Delete(delete::Delete),
}

impl Group {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        block_on(async {
            let client = self.connect.client().await?;
            match self.action {
                Action::List(list) => list.run(&client).await,
                Action::Describe(describe) => describe.run(&client).await,
                Action::ResetOffsets(reset) => reset.run(&client).await,
                Action::Delete(delete) => delete.run(&client).await,
            }
        })
    }
}
