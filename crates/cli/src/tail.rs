//! `millstream tail`: watch topics live.

use std::io::{self, Write};

use clap::{ArgGroup, Args};
use millstream_client::http::Path;
use serde_json::Value;

use crate::http::{ConnectHttp, bytes_of, told};

/// Arguments of `millstream tail`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(false),
    after_help = "\
Examples:
  millstream tail orders
  millstream tail --pattern 'orders.#' --json
  millstream tail orders --from earliest --filter '{\"header\":\"region\",\"equals\":\"eu\"}'
  millstream tail prices --from latest-per-key"
)]
pub(crate) struct Tail {
    #[command(flatten)]
    connect: ConnectHttp,
    /// The topic.
    #[arg(group = "what")]
    topic: Option<String>,
    /// All topics that match: words between dots, * for one word, # for any number of them.
    #[arg(long, group = "what", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only messages that match, as JSON.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Where to begin: now, earliest, latest-per-key, or a time.
    #[arg(long, default_value = "now", value_name = "PLACE")]
    from: String,
    /// What to do when this reader is too slow: block, drop-oldest, drop-newest, keep-latest or disconnect.
    #[arg(long, default_value = "block", value_name = "POLICY")]
    slow: String,
    /// End after so many messages.
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<u64>,
    /// Print a JSON object a line.
    #[arg(long)]
    json: bool,
}

/// One event of a stream of server-sent events.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    kind: String,
    data: String,
}

impl Tail {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = Path::new(&["v1", "live"])
            .query_if("topic", self.topic.as_ref())
            .query_if("pattern", self.pattern.as_ref())
            .query_if("filter", self.filter.as_ref())
            .query("from", &self.from)
            .query("slow", &self.slow);
        let client = self.connect.client();
        let lines = told(client.lines(&path, "text/event-stream", &[]))?;
        let mut left = self.max.unwrap_or(u64::MAX);
        let mut event = Event::default();
        for line in lines {
            if left == 0 {
                return Ok(());
            }
            let Some(event) = event.add(&line?) else {
                continue;
            };
            left -= u64::from(self.show(&event)?);
        }
        if left == 0 {
            return Ok(());
        }
        anyhow::bail!(
            "the server has ended the feed; start it again with --from and the last timestamp"
        )
    }

    /// Prints an event. Whether it was a message.
    fn show(&self, event: &Event) -> anyhow::Result<bool> {
        let is_message = event.kind.is_empty() || event.kind == "message";
        if !is_message {
            eprintln!("{}: {}", event.kind, event.data);
            return Ok(false);
        }
        let mut out = io::stdout().lock();
        if self.json {
            out.write_all(event.data.as_bytes())?;
        } else {
            let message: Value = serde_json::from_str(&event.data)?;
            out.write_all(&bytes_of(&message["value"]))?;
        }
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(true)
    }
}

impl Event {
    /// Adds a line; gives the event if that was its end (the HTML standard's "interpreting an event stream").
    fn add(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(self);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Ids, retry times and comments.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = ": hello\n\nid: 3\ndata: a\ndata:b\n\nevent: dropped\ndata: {}\n\nretry: 5\n\ndata: last";
        let mut event = Event::default();
        let events: Vec<_> = text.lines().filter_map(|line| event.add(line)).collect();
        let expected = [("", "a\nb"), ("dropped", "{}")].map(|(kind, data)| Event {
            kind: kind.to_owned(),
            data: data.to_owned(),
        });
        assert_eq!(events, expected);
    }
}
