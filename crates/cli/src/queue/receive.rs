//! `millstream queue receive` and `peek`.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use clap::Args;
use millstream_client::http::{HttpClient, HttpError};
use serde_json::{Map, Value, json};

use super::path;
use super::settle::Which;
use crate::http::{RECONNECT, bytes_of, may_pass, told};

/// How long one request waits at the server while there is more patience.
const WAIT_MS_MAX: u64 = 20_000;

/// Arguments of `millstream queue receive`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints each message's receipt, a tab and its value; with --ack the value alone.

Examples:
  millstream queue receive billing --max 10 --ack
  millstream queue receive billing --follow --ack --json
  millstream queue receive ledger --consumer till-1     # of a queue that has one consumer at a time
  millstream queue receive billing --visibility 5m      # then: millstream queue ack billing RECEIPT")]
pub(super) struct Receive {
    /// The queue.
    name: String,
    /// How many messages at most.
    #[arg(long, short = 'n', default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
    /// How long they are held for this consumer.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    visibility: Duration,
    /// How long to wait for a first one.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Who receives: a name of your choice. Needed where a queue has one consumer at a time.
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// Acknowledge them once they are printed.
    #[arg(long)]
    ack: bool,
    /// Go on receiving, at most --max at a time. If the connection breaks, it connects again.
    #[arg(long, short)]
    follow: bool,
    /// Print a JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Arguments of `millstream queue peek`.
#[derive(Debug, Args)]
pub(super) struct Peek {
    /// The queue.
    name: String,
    /// How many messages at most.
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N")]
    max: u64,
    /// Print a JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Receive {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let mut wait_ms = u64::try_from(self.wait.as_millis())?;
        let mut was_connected = false;
        loop {
            let step_ms = if self.follow {
                WAIT_MS_MAX
            } else {
                wait_ms.min(WAIT_MS_MAX)
            };
            let messages = self.answered(was_connected, || self.receive(client, step_ms))?;
            was_connected = true;
            let is_done = !messages.is_empty() || wait_ms <= step_ms;
            self.print(&messages)?;
            if self.ack && !messages.is_empty() {
                self.answered(was_connected, || self.acknowledge(client, &messages))?;
            }
            if is_done && !self.follow {
                return Ok(());
            }
            wait_ms = wait_ms.saturating_sub(step_ms);
        }
    }

    /// Asks until there is an answer if it goes on receiving and has been connected: a server that is started again is found
    /// again.
    fn answered<T>(
        &self,
        was_connected: bool,
        mut ask: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        loop {
            let error = match ask() {
                Err(error) if self.follow && was_connected => error,
                outcome => return outcome,
            };
            match error.downcast_ref::<HttpError>() {
                Some(error) if may_pass(error) => eprintln!("{error}; connecting again"),
                _ => return Err(error),
            }
            thread::sleep(RECONNECT);
        }
    }

    fn receive(&self, client: &HttpClient, wait_ms: u64) -> anyhow::Result<Vec<Value>> {
        let request = json!({
            "consumer": self.consumer,
            "max": self.max,
            "visibility_ms": u64::try_from(self.visibility.as_millis())?,
            "wait_ms": wait_ms,
        });
        match client.post(&path(&self.name, Some("receive")), &request) {
            Err(HttpError::Refused(problem)) if problem.code == "consumer-needed" => {
                anyhow::bail!(
                    "the queue has one consumer at a time: say who this one is with --consumer NAME"
                )
            }
            answer => messages(told(answer)?),
        }
    }

    fn print(&self, messages: &[Value]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        for message in messages {
            if self.json {
                serde_json::to_writer(&mut out, message)?;
            } else {
                if !self.ack {
                    write!(out, "{}\t", message["receipt"].as_str().unwrap_or_default())?;
                }
                out.write_all(&bytes_of(&message["value"]))?;
            }
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }

    /// What is printed is done; what could not be acknowledged will come again, and is told. That is the end unless it goes on
    /// receiving.
    fn acknowledge(&self, client: &HttpClient, messages: &[Value]) -> anyhow::Result<()> {
        let receipt = |message: &Value| message["receipt"].as_str().unwrap_or_default().to_owned();
        let which = Which {
            name: self.name.clone(),
            receipts: messages.iter().map(receipt).collect(),
            json: false,
        };
        if self.follow {
            which.tell(client, "ack", Map::new()).map(drop)
        } else {
            which.settle(client, "ack", Map::new())
        }
    }
}

impl Peek {
    pub(super) fn run(self, client: &HttpClient) -> anyhow::Result<()> {
        let peek = path(&self.name, Some("peek")).query("max", &self.max);
        let answer: Value = told(client.get(&peek))?;
        let mut out = io::stdout().lock();
        for message in messages(answer)? {
            if self.json {
                serde_json::to_writer(&mut out, &message)?;
            } else {
                write!(
                    out,
                    "{}\t{}\t{}\t",
                    message["partition"],
                    message["offset"],
                    message["state"].as_str().unwrap_or_default()
                )?;
                out.write_all(&bytes_of(&message["value"]))?;
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn messages(mut answer: Value) -> anyhow::Result<Vec<Value>> {
    match answer.get_mut("messages").map(Value::take) {
        Some(Value::Array(messages)) => Ok(messages),
        _ => anyhow::bail!("the server's answer has no messages in it"),
    }
}
