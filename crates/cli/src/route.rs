//! `millstream route`: topics whose records go on to other topics.

use clap::{ArgGroup, Args, Subcommand};
use millstream_client::http::{HttpClient, Path};
use serde_json::{Map, Value, json};

use crate::http::{ConnectHttp, all, cell, told};
use crate::output::{Outcomes, Table, print_json, print_line};

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
    /// Describe a route: where it leads, and what it has done so far.
    Describe(Describe),
    /// Delete routes. What they have led to their targets stays there.
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
    /// The topic that it leads from.
    #[arg(long, group = "source", value_name = "TOPIC")]
    from: Option<String>,
    /// All topics that match: words between dots, * for one word, # for any number of them.
    #[arg(long, group = "source", value_name = "PATTERN")]
    from_pattern: Option<String>,
    /// A topic that it leads to; may be given more than once.
    #[arg(long, required = true, value_name = "TOPIC")]
    to: Vec<String>,
    /// Only records that match, as JSON.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Describe {
    /// The route.
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Delete {
    /// The routes.
    #[arg(required = true, value_name = "ROUTE")]
    names: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Route {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let client = self.connect.client();
        match self.action {
            Action::Create(create) => create.run(&client),
            Action::List(list) => list.run(&client),
            Action::Describe(describe) => describe.run(&client),
            Action::Delete(delete) => delete.run(&client),
        }
    }
}

fn path(name: &str) -> Path {
    Path::new(&["v1", "routes", name])
}

impl Create {
    fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let mut body = Map::new();
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
        let route: Value = told(client.call("PUT", &path(&self.name), Some(&body)))?;
        if self.json {
            return print_json(&route);
        }
        let (from, to) = (source(&route), targets(&route));
        eprintln!("route '{}' leads from {from} to {to}", self.name);
        Ok(())
    }
}

impl List {
    fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let routes = all(client, "routes")?;
        if self.json {
            return print_json(&routes);
        }
        let mut table = Table::new(&["ROUTE", "FROM", "TO", "FILTER", ">RECORDS"]);
        for route in &routes {
            table.row([
                cell(&route["name"]),
                source(route),
                targets(route),
                cell(&route["filter"]),
                cell(&route["stats"]["records"]),
            ]);
        }
        table.print()
    }
}

impl Describe {
    fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let route: Value = told(client.get(&path(&self.name)))?;
        if self.json {
            return print_json(&route);
        }
        let stats = &route["stats"];
        for (name, value) in [
            ("name", cell(&route["name"])),
            ("from", source(&route)),
            ("at present", names(&route["sources"])),
            ("to", targets(&route)),
            ("deleted targets", names(&route["missing"])),
            ("filter", cell(&route["filter"])),
            ("records", cell(&stats["records"])),
            ("refused", cell(&stats["refused"])),
            ("skipped", cell(&stats["skipped"])),
        ] {
            print_line(format_args!("{name:<18}{value}"))?;
        }
        Ok(())
    }
}

impl Delete {
    fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let mut outcomes = Outcomes::new(self.json);
        let ended = self.names.iter().try_for_each(|name| {
            told(client.call::<Value>("DELETE", &path(name), None::<&()>))?;
            outcomes.add(
                format_args!("route '{name}' is deleted"),
                json!({ "route": name, "deleted": true }),
            );
            Ok(())
        });
        outcomes.end(ended)
    }
}

/// The topic, or the pattern, that a route leads from.
fn source(route: &Value) -> String {
    let sources = [&route["source_topic"], &route["source_pattern"]];
    let source = sources.into_iter().find(|source| !source.is_null());
    cell(source.unwrap_or(&Value::Null))
}

fn targets(route: &Value) -> String {
    names(&route["targets"])
}

/// Names in a row, or a dash for none.
fn names(list: &Value) -> String {
    let names = list.as_array().into_iter().flatten().map(cell);
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return "-".to_owned();
    }
    names.join(", ")
}
