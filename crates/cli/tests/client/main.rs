//! The client of the command line against a server: the `millstream` binary, or whichever `MILLSTREAM_TEST_SERVER`
//! (`HOST:PORT`) names. With Apache Kafka there, these tests tell what the client makes of Kafka.

mod admin;
#[path = "../common/mod.rs"]
mod common;
mod groups;
mod records;

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Server, Site};
use millstream_client::{Client, ClientConfig, NewTopic};
use millstream_record::{NewRecord, TimestampMs};

/// A client, and the server it talks to if that is a test's own.
struct Cluster {
    client: Client,
    _own: Option<(Server, Site)>,
}

impl Deref for Cluster {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A client of the server under test.
async fn cluster() -> Cluster {
    let named = std::env::var("MILLSTREAM_TEST_SERVER");
    let (address, own) = if let Ok(address) = named {
        (address, None)
    } else {
        let mut site = Site::new();
        let server = site.start();
        (server.address().to_string(), Some((server, site)))
    };
    let config = ClientConfig {
        retry_timeout: Duration::from_secs(20),
        ..ClientConfig::new(address)
    };
    let client = Client::connect(config).await.unwrap();
    Cluster { client, _own: own }
}

/// A name that no other test and no earlier run has used.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!("{prefix}-{now:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A new topic's name.
async fn new_topic(client: &Client, partitions: i32) -> String {
    let name = unique("topic");
    client
        .create_topic(&NewTopic::new(&name).partitions(partitions), false)
        .await
        .unwrap();
    name
}

fn record<'a>(key: Option<&'a str>, value: Option<&'a str>, timestamp: i64) -> NewRecord<'a> {
    NewRecord {
        timestamp: TimestampMs(timestamp),
        key: key.map(str::as_bytes),
        value: value.map(str::as_bytes),
        headers: &[],
    }
}
