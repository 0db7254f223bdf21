//! `millstream group list`.

use clap::Args;
use millstream_client::Client;
use serde::Serialize;

use crate::output::{Table, print_json};

/// Arguments of `millstream group list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    group: String,
    state: String,
    protocol_type: String,
}

impl List {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let groups = client.groups().await?.into_iter();
        let listed: Vec<_> = groups
            .map(|group| Listed {
                group: group.id,
                state: group.state,
                protocol_type: group.protocol_type,
            })
            .collect();
        if self.json {
            return print_json(&listed);
        }
        let mut table = Table::new(&["GROUP", "STATE", "TYPE"]);
        for group in listed {
            table.row([group.group, group.state, group.protocol_type]);
        }
        table.print()
    }
}
