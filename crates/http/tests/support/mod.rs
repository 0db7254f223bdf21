//! A broker in this process, served over HTTP on loopback, and a client that knows no more than HTTP/1.1's framing.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::format_push_string,
    reason = "each test file uses a part of it"
)]

pub mod events;
pub mod sockets;

use std::net::SocketAddr;
use std::time::Duration;

use millstream_broker::groups::{
    Generation, GroupId, MemberId, MemberRef, OffsetCommit, OffsetKey, PartitionCommit,
};
use millstream_broker::{Broker, BrokerSettings};
use millstream_env::Env;
use millstream_http::HttpSettings;
use millstream_record::Offset;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing in these tests takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

const RECEIVE_BUFFER_BYTES: u32 = 256 << 10;

/// A served broker; all of it goes when this is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub broker: Broker,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    data_dir: Option<TempDir>,
}

impl Served {
    pub async fn start() -> Served {
        Served::start_with(HttpSettings::default()).await
    }

    pub async fn start_with(settings: HttpSettings) -> Served {
        Served::start_on(settings, tempfile::tempdir().unwrap()).await
    }

    /// Starts one that holds so many bytes of what is sent to it at most.
    pub async fn start_taking(receive_bytes_max: usize) -> Served {
        Served::start_with(HttpSettings {
            receive_bytes_max,
            ..HttpSettings::default()
        })
        .await
    }

    /// Starts one that asks silent peers for a sign of life so often.
    pub async fn start_pinging(keep_alive: Duration) -> Served {
        Served::start_with(HttpSettings {
            keep_alive,
            ..HttpSettings::default()
        })
        .await
    }

    /// Starts on a data directory that may have been used before.
    pub async fn start_on(settings: HttpSettings, data_dir: TempDir) -> Served {
        let broker = BrokerSettings::new(data_dir.path());
        Served::start_as(settings, broker, data_dir).await
    }

    /// Starts with so little memory for readers.
    pub async fn start_short(read_memory_bytes: usize) -> Served {
        let data_dir = tempfile::tempdir().unwrap();
        let broker = BrokerSettings {
            read_memory_bytes,
            ..BrokerSettings::new(data_dir.path())
        };
        Served::start_as(HttpSettings::default(), broker, data_dir).await
    }

    async fn start_as(settings: HttpSettings, broker: BrokerSettings, data_dir: TempDir) -> Served {
        let broker = Broker::open(broker, Env::real()).await.unwrap();
        let socket = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(millstream_http::serve(
            socket,
            broker.clone(),
            settings,
            async {
                let _ = stopped.await;
            },
        ));
        Served {
            address,
            broker,
            stop: Some(stop),
            serving: Some(serving),
            data_dir: Some(data_dir),
        }
    }

    /// Shuts the listener down and waits until it has.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(serving) = self.serving.take() {
            timeout(PATIENCE, serving).await.unwrap().unwrap();
        }
    }

    /// Shuts everything down; returns the data.
    pub async fn close(mut self) -> TempDir {
        self.stop().await;
        self.broker.shutdown().await.unwrap();
        self.data_dir.take().unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::over(self.raw().await)
    }

    /// A bare connection. What its client does not read soon stays with the server, however far the system would let the
    /// window grow.
    pub async fn raw(&self) -> TcpStream {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        let socket = socket.connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.client().await.send(method, path, body).await
    }

    /// Commits an offset as a group without members.
    pub async fn commit(&self, group: &str, topic: &str, partition: u32, offset: i64) {
        let at = OffsetKey {
            topic: self.broker.topic(topic).unwrap().id(),
            partition,
        };
        let member = MemberRef {
            generation: Generation::NONE,
            member_id: MemberId::new(""),
            instance_id: None,
        };
        let commit = OffsetCommit {
            member,
            retention_ms: None,
            partitions: vec![PartitionCommit {
                at,
                offset: Offset(offset),
                leader_epoch: None,
                metadata: "m".into(),
            }],
        };
        let kept = self
            .broker
            .groups()
            .commit_offsets(&GroupId::new(group), commit)
            .await;
        assert_eq!(kept.unwrap(), [Ok(())]);
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    /// Creates a topic that lives in memory, so that tests do not wait for the disk.
    pub async fn topic(&self, name: &str, partitions: u32) {
        let body = format!(
            r#"{{"partitions":{partitions},"settings":{{"millstream.durability":"memory"}}}}"#
        );
        let path = format!("/v1/topics/{}", name.replace('"', "%22"));
        let answer = self.send("PUT", &path, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// Makes a queue that begins with what is there.
    pub async fn queue(&self, name: &str, topic: &str) {
        let body = json!({"name": name, "topic": topic, "from": "earliest"}).to_string();
        let made = self.send("POST", "/v1/queues", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// What a queue says of the messages that are not done.
    pub async fn open_messages(&self, queue: &str) -> Value {
        self.get(&format!("/v1/queues/{queue}")).await.ok()["depth"].clone()
    }

    /// A topic that knows where the records of each key are.
    pub async fn indexed_topic(&self, name: &str) {
        let body = r#"{"partitions":2,"settings":{"millstream.key.index":true}}"#;
        let answer = self.send("PUT", &format!("/v1/topics/{name}"), body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    pub async fn publish(&self, topic: &str, body: &str) -> Answer {
        let path = format!("/v1/topics/{topic}/records");
        self.send("POST", &path, body).await
    }

    pub async fn publish_with(&self, headers: &[(&str, &str)], path: &str, body: &str) -> Answer {
        let mut client = self.client().await;
        client.request("POST", path, headers, body.as_bytes()).await
    }

    /// How many records there are in the topic.
    pub async fn count(&self, topic: &str) -> i64 {
        let described = self.get(&format!("/v1/topics/{topic}")).await.ok();
        let partitions = described["partitions"].as_array().unwrap();
        let latest = partitions
            .iter()
            .map(|partition| partition["latest"].as_i64().unwrap());
        latest.sum()
    }
}

/// A connection.
pub struct Client {
    socket: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Checks that it is a complete problem document of that kind; returns its detail.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{text}"
        );
        let json = self.json();
        assert_eq!(json["code"], code, "{text}");
        assert_eq!(json["status"], status, "{text}");
        assert!(
            json["title"].is_string() && json["type"].is_string(),
            "{text}"
        );
        let detail = json["detail"].as_str().unwrap();
        assert!(!detail.is_empty());
        detail.to_owned()
    }
}

impl Client {
    pub fn over(socket: TcpStream) -> Client {
        Client {
            socket: BufReader::new(socket),
        }
    }

    /// A request with a JSON body, if there is a body.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let content_type = [("content-type", "application/json")];
        let headers = if body.is_empty() {
            &[][..]
        } else {
            &content_type
        };
        self.request(method, path, headers, body.as_bytes()).await
    }

    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += "host: localhost\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.write(&bytes).await;
        self.answer(method == "HEAD").await
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // A server that refuses may hang up before all is sent.
        let _ = self.socket.get_mut().write_all(bytes).await;
    }

    /// Reads one answer.
    pub async fn answer(&mut self, without_body: bool) -> Answer {
        timeout(PATIENCE, self.read(without_body))
            .await
            .expect("the server answers")
            .expect("the server answers before it hangs up")
    }

    async fn read(&mut self, without_body: bool) -> Option<Answer> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; if without_body { 0 } else { length }];
        self.socket.read_exact(&mut body).await.ok()?;
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.socket.read_line(&mut line).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    pub fn into_reader(self) -> BufReader<TcpStream> {
        self.socket
    }

    /// Waits until the server hangs up.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.socket.read_to_end(&mut rest))
            .await
            .expect("the server hangs up");
    }
}

impl Client {
    /// Reads one answer, if one comes: of a body that has no length only the head.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        timeout(PATIENCE, self.read(false)).await.ok().flatten()
    }

    /// Ends the sending side.
    pub async fn shut(&mut self) -> std::io::Result<()> {
        self.socket.get_mut().shutdown().await
    }

    pub fn into_inner(self) -> TcpStream {
        self.socket.into_inner()
    }
}
