//! `millstream group delete`.

use clap::Args;
use millstream_client::Client;
use serde_json::json;

use crate::output::Outcomes;

/// Arguments of `millstream group delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The groups.
    #[arg(required = true)]
    groups: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Delete {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut outcomes = Outcomes::new(self.json);
        let ended = self.delete(client, &mut outcomes).await;
        outcomes.end(ended)
    }

    async fn delete(&self, client: &Client, outcomes: &mut Outcomes) -> anyhow::Result<()> {
        for group in &self.groups {
            client.delete_group(group).await?;
            outcomes.add(
                format_args!("group '{group}' is deleted"),
                json!({ "group": group, "deleted": true }),
            );
        }
        Ok(())
    }
}
