//! `millstream route`: topics that pass on to other topics.

use clap::{ArgGroup, Args, Subcommand};
use millstream_client::http::{HttpClient, Path};
use serde_json::{Map, Value};

use crate::http::{ConnectHttp, cell, told};
use crate::output::{Table, print_json};

/// Arguments of `millstream route`.
#[derive(Debug, Args)]
#[command(after_help = "\
What is published to a route's source reaches its targets in the same commit, and is stored once.")]
pub(crate) struct Route {
    #[command(flatten)]
    connect: ConnectHttp,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a route.
    Create(Create),
    /// List the routes.
    List(List),
    /// Delete routes. What has been passed on stays where it is.
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true).multiple(false),
    after_help = "\
Examples:
  millstream route create eu-orders --from orders --to orders-eu --filter '{\"header\":\"region\",\"equals\":\"eu\"}'
  millstream route create audit --from-pattern 'orders.#' --to audit"
)]
struct Create {
    /// The route's name.
    name: String,
    /// The topic that it passes on from.
    #[arg(long, group = "source", value_name = "TOPIC")]
    from: Option<String>,
    /// All topics that match: words between dots, * for one word, # for any number of them.
    #[arg(long, group = "source", value_name = "PATTERN")]
    from_pattern: Option<String>,
    /// A topic that it passes on to; may be given more than once.
    #[arg(long, required = true, value_name = "TOPIC")]
    to: Vec<String>,
    /// Only messages that match, as JSON.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
}

#[derive(Debug, Args)]
struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Delete {
    /// The routes.
    #[arg(required = true, value_name = "ROUTE")]
    names: Vec<String>,
}

impl Route {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let client = self.connect.client();
        match self.action {
            Action::Create(create) => create.run(&client),
            Action::List(list) => list.run(&client),
            Action::Delete(delete) => delete.run(&client),
        }
    }
}

fn routes() -> Path {
    Path::new(&["v1", "routes"])
}

impl Create {
    fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert("name".to_owned(), self.name.as_str().into());
        if let Some(topic) = self.from {
            body.insert("source_topic".to_owned(), topic.into());
        }
        if let Some(pattern) = self.from_pattern {
            body.insert("source_pattern".to_owned(), pattern.into());
        }
        body.insert("targets".to_owned(), self.to.into());
        if let Some(filter) = &self.filter {
            let filter = serde_json::from_str(filter)
                .map_err(|error| anyhow::anyhow!("--filter is not JSON: {error}"))?;
            body.insert("filter".to_owned(), filter);
        }
        told(client.post::<Value>(&routes(), &body))?;
        eprintln!("route '{}' is created", self.name);
        Ok(())
    }
}

impl List {
    fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let answer: Value = told(client.get(&routes()))?;
        if self.json {
            return print_json(&answer["routes"]);
        }
        let mut table = Table::new(&["ROUTE", "FROM", "TO", "FILTER", ">PASSED ON"]);
        for route in answer["routes"].as_array().into_iter().flatten() {
            let source = [&route["source_topic"], &route["source_pattern"]];
            let source = source.into_iter().find(|source| !source.is_null());
            let targets = route["targets"].as_array().into_iter().flatten();
            table.row([
                cell(&route["name"]),
                cell(source.unwrap_or(&Value::Null)),
                targets.map(cell).collect::<Vec<_>>().join(", "),
                cell(&route["filter"]),
                cell(&route["stats"]["records"]),
            ]);
        }
        table.print()
    }
}

impl Delete {
    fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        for name in self.names {
            let path = Path::new(&["v1", "routes", &name]);
            told(client.call::<Value>("DELETE", &path, None::<&()>))?;
            eprintln!("route '{name}' is deleted");
        }
        Ok(())
    }
}
