//! A reader of Server-Sent Events: HTTP/1.1's chunks, and in them what the HTML standard (section 9.2.6) makes of a stream.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answer, Client, PATIENCE, Served};

/// An event that was dispatched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `message` for one without a name.
    pub name: String,
    /// The last id there was when it was dispatched.
    pub id: String,
    pub data: String,
}

/// A feed that is read.
pub struct Feed {
    socket: BufReader<TcpStream>,
    pub headers: Vec<(String, String)>,
    /// What came and is not a whole line yet.
    rest: Vec<u8>,
    /// Whether the body has come to its proper end.
    ended: bool,
    pub last_id: String,
    id: String,
    name: String,
    data: String,
    pub comments: usize,
    pub retry_ms: Option<u64>,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Feed {
    /// Follows `path`, and waits until the server says that it is subscribed.
    pub async fn follow(served: &Served, path: &str) -> Feed {
        Feed::resume(served, path, "").await
    }

    /// The same from where another feed has stopped.
    pub async fn resume(served: &Served, path: &str, last_id: &str) -> Feed {
        let headers = [("last-event-id", last_id)];
        let headers = if last_id.is_empty() {
            &[][..]
        } else {
            &headers
        };
        let mut feed = Feed::open(served.raw().await, path, headers)
            .await
            .unwrap_or_else(|answer| panic!("{answer:?}"));
        let first = feed.event().await;
        assert_eq!(first.name, "subscribed", "{first:?}");
        feed
    }

    /// Asks for a feed; what is no feed is given back.
    pub async fn open(
        mut socket: TcpStream,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Feed, Answer> {
        let mut head =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut client = Client::over(socket);
        let answer = client.try_answer().await.expect("the server answers");
        if answer.status != 200 {
            return Err(answer);
        }
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        Ok(Feed {
            socket: client.into_reader(),
            headers: answer.headers,
            rest: Vec::new(),
            ended: false,
            last_id: String::new(),
            id: String::new(),
            name: String::new(),
            data: String::new(),
            comments: 0,
            retry_ms: None,
        })
    }

    /// The next event; none if the feed comes to its end.
    pub async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.read())
            .await
            .expect("something comes in time")
    }

    /// The next event, which has to come.
    pub async fn event(&mut self) -> Event {
        self.next().await.expect("the feed goes on")
    }

    /// The record that the next event has to be.
    pub async fn record(&mut self) -> Value {
        let event = self.event().await;
        assert_eq!(event.name, "message", "{event:?}");
        event.json()
    }

    /// The values of the next records.
    pub async fn values(&mut self, count: usize) -> Vec<String> {
        let mut values = Vec::new();
        for _ in 0..count {
            let record = self.record().await;
            values.push(record["value"].as_str().unwrap().to_owned());
        }
        values
    }

    /// Checks that the feed comes to its proper end, with this as its last word.
    pub async fn ends_with(&mut self, code: &str) {
        let event = self.event().await;
        assert_eq!(event.name, "end", "{event:?}");
        assert_eq!(event.json()["code"], code, "{event:?}");
        assert_eq!(self.next().await, None);
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            while let Some(line) = self.whole_line() {
                if let Some(event) = self.line(&line) {
                    return Some(event);
                }
            }
            if self.ended {
                return None;
            }
            self.chunk().await;
        }
    }

    async fn chunk(&mut self) {
        let mut size = String::new();
        self.socket.read_line(&mut size).await.unwrap();
        let size = usize::from_str_radix(size.trim(), 16)
            .unwrap_or_else(|_| panic!("the feed broke off: {size:?}"));
        let from = self.rest.len();
        self.rest.resize(from + size + 2, 0);
        self.socket
            .read_exact(&mut self.rest[from..])
            .await
            .expect("a chunk is whole");
        assert!(self.rest.ends_with(b"\r\n"));
        self.rest.truncate(from + size);
        self.ended = size == 0;
    }

    /// Takes a line, ended by CR, LF or both.
    fn whole_line(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|byte| b"\r\n".contains(byte))?;
        let after = match self.rest[end..] {
            [b'\r', b'\n', ..] => end + 2,
            [b'\r'] if !self.ended => return None,
            _ => end + 1,
        };
        let line = String::from_utf8(self.rest[..end].to_vec()).expect("events are UTF-8");
        self.rest.drain(..after);
        Some(line)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => self.name = value.to_owned(),
            "data" => self.data += &format!("{value}\n"),
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "retry" => self.retry_ms = value.parse().ok(),
            _ => panic!("no field of the standard: {line:?}"),
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
        let (name, data) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.data),
        );
        let data = data.strip_suffix('\n')?.to_owned();
        let name = if name.is_empty() {
            "message".to_owned()
        } else {
            name
        };
        let id = self.last_id.clone();
        Some(Event { name, id, data })
    }
}
