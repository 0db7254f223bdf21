//! `millstream queue describe`.

use clap::Args;
use millstream_client::http::HttpClient;
use serde_json::Value;

use super::path;
use crate::http::{cell, told};
use crate::output::{HEAD, print_json, print_line};

/// Arguments of `millstream queue describe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Open messages are ready, leased, parked (delayed, between attempts, or on their way to the dead letters), behind others of their
key, or not looked at yet.")]
pub(super) struct Describe {
    /// The queue.
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Describe {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let queue: Value = told(client.get(&path(&self.name, None)))?;
        if self.json {
            return print_json(&queue);
        }
        let Some(fields) = queue.as_object() else {
            anyhow::bail!("the server's answer is no queue");
        };
        for (name, value) in fields {
            match value {
                Value::Object(part) => {
                    print_line(format_args!("{HEAD}{name}{HEAD:#}"))?;
                    print_part(part, 1)?;
                }
                other => print_line(format_args!("{name:<18}{}", cell(other)))?,
            }
        }
        Ok(())
    }
}

fn print_part(part: &serde_json::Map<String, Value>, depth: usize) -> anyhow::Result<()> {
    for (name, value) in part {
        let indent = 2 * depth;
        match value {
            Value::Null => {}
            Value::Object(inner) => {
                print_line(format_args!("{:indent$}{name}", ""))?;
                print_part(inner, depth + 1)?;
            }
            other => print_line(format_args!("{:indent$}{name:<24}{}", "", cell(other)))?,
        }
    }
    Ok(())
}
