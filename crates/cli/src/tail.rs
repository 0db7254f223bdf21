//! `millstream tail`: watch topics live.

mod event;
mod place;

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use millstream_client::http::{HttpClient, HttpError, Path, Problem};
use serde_json::Value;

use self::event::{Event, Events};
use self::place::Place;
use crate::http::{ConnectHttp, RECONNECT, bytes_of, may_pass, told};

/// Whoever says nothing for so long is not there any more: when there are no records, a comment comes every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);

/// To collect the latest record of each key, the server reads whole topics before it says anything.
const SILENCE_WHILE_COLLECTING: Duration = Duration::from_secs(600);

/// Arguments of `millstream tail`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(true),
    after_help = "\
Prints each record's value; with --json the record as a JSON object a line. If the connection breaks, it connects again and goes
on after the last record. What was dropped or lost on the way is told on the standard error.

Places to begin:
  now                    with what is published from now on
  earliest               with the first record there is
  latest-per-key         with the latest record of each key, then everything that follows
  0:17,1:4               with these offsets in these partitions, now in others
  5m, 2h30m, 7days       so long ago
  2026-01-31T12:00:00Z   at that time; also @1767225600000, in milliseconds since 1970

Examples:
  millstream tail orders
  millstream tail --pattern 'orders.#' --json
  millstream tail orders --from earliest --filter '{\"header\":\"region\",\"equals\":\"eu\"}'
  millstream tail prices --from latest-per-key --slow latest-per-key"
)]
pub(crate) struct Tail {
    #[command(flatten)]
    connect: ConnectHttp,
    /// The topics.
    #[arg(group = "what", value_name = "TOPIC")]
    topics: Vec<String>,
    /// All topics that match, later ones too: words between dots, * for one word, # for any number of them.
    #[arg(long = "pattern", group = "what", value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only records that match, as JSON.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Where to begin.
    #[arg(long, default_value = "now", value_name = "PLACE")]
    from: Place,
    /// What happens when this reader is too slow.
    #[arg(long, default_value = "block", value_name = "POLICY")]
    slow: Slow,
    /// End after so many records.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Print a JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What happens when the reader is too slow.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Slow {
    /// It gets everything, late
    Block,
    /// The oldest record that waits is dropped
    DropOldest,
    /// What comes is dropped
    DropNewest,
    /// Of each key only the latest record waits
    LatestPerKey,
    /// The server ends the feed, and this command connects again
    Disconnect,
}

/// Why reading has stopped.
enum Stopped {
    /// All that was asked for has come.
    Done,
    /// The connection is gone, or the server wants to be asked again.
    Broken(String),
}

impl Tail {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let client = self.connect.client();
        let path = self.path();
        let mut events = Events::default();
        let mut left = self.max.unwrap_or(u64::MAX);
        let mut was_connected = false;
        loop {
            let why = match self.follow(&client, &path, &mut events, &mut left) {
                Ok(Stopped::Done) => return Ok(()),
                Ok(Stopped::Broken(why)) => {
                    was_connected = true;
                    why
                }
                Err(error) => match error.downcast::<HttpError>() {
                    Ok(error) if was_connected && may_pass(&error) => error.to_string(),
                    Ok(error) => return told(Err(error)),
                    Err(error) => return Err(error),
                },
            };
            eprintln!("{why}; connecting again");
            thread::sleep(RECONNECT);
        }
    }

    fn path(&self) -> Path {
        let slow = match self.slow {
            Slow::Block => "block",
            Slow::DropOldest => "drop_oldest",
            Slow::DropNewest => "drop_newest",
            Slow::LatestPerKey => "latest_per_key",
            Slow::Disconnect => "disconnect",
        };
        let mut path = Path::new(&["v1", "live"]);
        for topic in &self.topics {
            path = path.query("topic", topic);
        }
        for pattern in &self.patterns {
            path = path.query("pattern", pattern);
        }
        path.query_if("filter", self.filter.as_ref())
            .query(self.from.parameter, &self.from.value)
            .query("slow", &slow)
    }

    /// Reads from where the last connection stood, until this one ends or everything has come.
    fn follow(
        &self,
        client: &HttpClient,
        path: &Path,
        events: &mut Events,
        left: &mut u64,
    ) -> anyhow::Result<Stopped> {
        let last_id = events.last_id.clone();
        let headers: Vec<_> = last_id
            .as_deref()
            .map(|id| ("last-event-id", id))
            .into_iter()
            .collect();
        let silence = if self.from.is_latest_per_key() {
            SILENCE_WHILE_COLLECTING
        } else {
            SILENCE
        };
        for line in client.lines(path, "text/event-stream", &headers, silence)? {
            let Ok(line) = line else { break };
            let Some(event) = events.line(&line) else {
                continue;
            };
            match event.name.as_str() {
                "" | "message" => {
                    self.print(&event)?;
                    *left -= 1;
                    if *left == 0 {
                        return Ok(Stopped::Done);
                    }
                }
                "dropped" | "lost" => eprintln!("{}: {}", event.name, event.data),
                "end" => return ended(&event),
                _ => {}
            }
        }
        events.broken();
        Ok(Stopped::Broken("the connection broke".to_owned()))
    }

    fn print(&self, event: &Event) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            out.write_all(event.data.as_bytes())?;
        } else {
            let record: Value = serde_json::from_str(&event.data)?;
            out.write_all(&bytes_of(&record["value"]))?;
        }
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(())
    }
}

/// What the server's last word means: to ask again, or that there is nothing more to come.
fn ended(event: &Event) -> anyhow::Result<Stopped> {
    let problem: Problem = serde_json::from_str(&event.data)?;
    match problem.code.as_str() {
        "shutting-down" | "reader-too-slow" => Ok(Stopped::Broken(problem.to_string())),
        _ => Err(HttpError::Refused(problem).into()),
    }
}
