//! `millstream queue`: one file for each thing to do with queues.

mod create;
mod describe;
mod list;
mod receive;
mod settle;

use clap::{Args, Subcommand};
use millstream_client::http::{HttpClient, Path};
use serde_json::{Value, json};

use crate::http::{ConnectHttp, told};
use crate::output::Outcomes;

/// Arguments of `millstream queue`.
#[derive(Debug, Args)]
#[command(after_help = "\
A queue reads a topic beside its streams: each message is delivered to one consumer, who acknowledges it or gives it back.")]
pub(crate) struct Queue {
    #[command(flatten)]
    connect: ConnectHttp,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a queue on a topic.
    Create(create::Create),
    /// List the queues.
    List(list::List),
    /// Describe a queue: what is in it, what happened so far, its policy.
    Describe(describe::Describe),
    /// Change what a queue is told to do; takes effect at once.
    Alter(create::Alter),
    /// Delete queues. The messages stay in their topics.
    Delete(Names),
    /// Receive messages, and print them.
    Receive(receive::Receive),
    /// Look at messages without receiving them.
    Peek(receive::Peek),
    /// Acknowledge messages: they are done.
    Ack(settle::Ack),
    /// Give messages back, to be delivered again.
    Nack(settle::Nack),
    /// Give messages up: they go to the dead letters.
    Reject(settle::Reject),
    /// Hold messages for longer.
    Extend(settle::Extend),
    /// Drop everything that nobody holds.
    Purge(Names),
    /// Deliver nothing until it is resumed.
    Pause(Names),
    /// Deliver again.
    Resume(Names),
}

/// Queues to do something with.
#[derive(Debug, Args)]
struct Names {
    /// The queues.
    #[arg(required = true, value_name = "QUEUE")]
    names: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Queue {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let client = self.connect.client();
        match self.action {
            Action::Create(create) => create.run(&client),
            Action::List(list) => list.run(&client),
            Action::Describe(describe) => describe.run(&client),
            Action::Alter(alter) => alter.run(&client),
            Action::Delete(names) => names.delete(&client),
            Action::Receive(receive) => receive.run(&client),
            Action::Peek(peek) => peek.run(&client),
            Action::Ack(ack) => ack.run(&client),
            Action::Nack(nack) => nack.run(&client),
            Action::Reject(reject) => reject.run(&client),
            Action::Extend(extend) => extend.run(&client),
            Action::Purge(names) => names.tell(&client, "purge", "purged"),
            Action::Pause(names) => names.tell(&client, "pause", "paused"),
            Action::Resume(names) => names.tell(&client, "resume", "resumed"),
        }
    }
}

impl Names {
    fn delete(self, client: &HttpClient) -> anyhow::Result<()> {
        self.each("deleted", |name| {
            told(client.call("DELETE", &path(name, None), None::<&()>))
        })
    }

    fn tell(self, client: &HttpClient, action: &str, done: &str) -> anyhow::Result<()> {
        self.each(done, |name| {
            told(client.post(&path(name, Some(action)), &json!({})))
        })
    }

    fn each(
        self,
        done: &str,
        mut act: impl FnMut(&str) -> anyhow::Result<Value>,
    ) -> anyhow::Result<()> {
        let mut outcomes = Outcomes::new(self.json);
        let ended = self.names.iter().try_for_each(|name| {
            let answer = act(name)?;
            match answer.get("purged") {
                Some(count) => outcomes.add(
                    format_args!("queue '{name}' is {done}: {count} messages"),
                    json!({ "queue": name, done: count }),
                ),
                None => outcomes.add(
                    format_args!("queue '{name}' is {done}"),
                    json!({ "queue": name, done: true }),
                ),
            }
            Ok(())
        });
        outcomes.end(ended)
    }
}

/// Where a queue is, or something to do with it.
fn path(name: &str, action: Option<&str>) -> Path {
    match action {
        Some(action) => Path::new(&["v1", "queues", name, action]),
        None => Path::new(&["v1", "queues", name]),
    }
}
