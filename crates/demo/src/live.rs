//! The same flights as a live feed: server-sent events, resumed where they stopped when the connection breaks.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::ensure;
use millstream_client::http::{HttpClient, Path};
use serde_json::Value;

use crate::TOPIC;

/// A feed that says nothing for so long is broken.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a broken feed waits before it connects again.
const RECONNECT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// A feed that somebody watches until it is dropped.
pub(crate) struct Feed(Arc<Seen>);

/// What came so far.
#[derive(Default)]
struct Seen {
    /// Partition and offset of every flight.
    places: Mutex<HashSet<(u64, u64)>>,
    events: AtomicUsize,
    connections: AtomicUsize,
    closed: AtomicBool,
}

impl Feed {
    /// Watches everything that is published from now on.
    pub(crate) async fn open(http: &HttpClient) -> anyhow::Result<Self> {
        let feed = Self(Arc::default());
        let (http, seen) = (http.clone(), Arc::clone(&feed.0));
        std::thread::spawn(move || watch(&http, &seen));
        let deadline = Instant::now() + PATIENCE;
        while feed.0.connections.load(Ordering::Acquire) == 0 {
            ensure!(Instant::now() < deadline, "the live feed does not connect");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(feed)
    }

    /// Waits until so many flights have come, and checks that none came twice. Says how often it had to connect again.
    pub(crate) async fn close_after(self, expected: usize) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        let events = || self.0.events.load(Ordering::Acquire);
        while events() < expected && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let different = self.0.places.lock().expect("nobody panics").len();
        ensure!(
            different == expected && events() == expected,
            "the live feed brought {different} different flights of {expected} in {} events",
            events()
        );
        Ok(self.0.connections.load(Ordering::Acquire) - 1)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

/// Reads until the feed is closed. When the connection breaks it goes on after the last event, as a browser does.
fn watch(http: &HttpClient, seen: &Seen) {
    let path = Path::new(&["v1", "live"]).query("topic", &TOPIC);
    let mut last_id: Option<String> = None;
    while !seen.closed.load(Ordering::Acquire) {
        let resume: Vec<(&str, &str)> = last_id
            .iter()
            .map(|id| ("last-event-id", id.as_str()))
            .collect();
        let Ok(lines) = http.lines(&path, "text/event-stream", &resume, SILENCE) else {
            std::thread::sleep(RECONNECT);
            continue;
        };
        seen.connections.fetch_add(1, Ordering::AcqRel);
        let (mut id, mut place) = (None, None);
        for line in lines.map_while(Result::ok) {
            if seen.closed.load(Ordering::Acquire) {
                return;
            }
            if let Some(new) = line.strip_prefix("id:") {
                id = Some(new.trim().to_owned());
            } else if let Some(data) = line.strip_prefix("data:") {
                place = place_of(data);
            } else if line.is_empty() {
                // The event is complete; one that broke off comes again.
                last_id = id.take().or(last_id);
                if let Some(place) = place.take() {
                    seen.places.lock().expect("nobody panics").insert(place);
                    seen.events.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }
}

/// Where the flight of an event is kept. `None` if the event tells of something else.
fn place_of(data: &str) -> Option<(u64, u64)> {
    let message: Value = serde_json::from_str(data).ok()?;
    Some((message["partition"].as_u64()?, message["offset"].as_u64()?))
}
