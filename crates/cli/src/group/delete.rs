//! `millstream group delete`.

use clap::Args;
use millstream_client::Client;

/// Arguments of `millstream group delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The groups.
    #[arg(required = true)]
    groups: Vec<String>,
}

impl Delete {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        for group in &self.groups {
            client.delete_group(group).await?;
            eprintln!("group '{group}' is deleted");
        }
        Ok(())
    }
}
