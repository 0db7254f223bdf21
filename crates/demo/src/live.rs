//! The same flights as a live feed: server-sent events, resumed where they stopped when the connection breaks.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use millstream_client::http::{HttpClient, Path};
use serde_json::Value;

use crate::TOPIC;

/// How long a broken feed waits before it connects again.
const RECONNECT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// A feed that somebody watches.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    watching: Option<JoinHandle<anyhow::Result<usize>>>,
}

#[derive(Default)]
struct Shared {
    connected: AtomicBool,
    seen: AtomicUsize,
    reconnected: AtomicUsize,
    expected: AtomicUsize,
}

impl Feed {
    /// Watches everything that is published from now on.
    pub(crate) async fn open(http: &HttpClient) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            expected: AtomicUsize::new(usize::MAX),
            ..Shared::default()
        });
        let watching = {
            let (http, shared) = (http.clone(), Arc::clone(&shared));
            std::thread::spawn(move || watch(&http, &shared))
        };
        let deadline = Instant::now() + PATIENCE;
        while !shared.connected.load(Ordering::Acquire) {
            ensure!(Instant::now() < deadline, "the live feed does not connect");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self {
            shared,
            watching: Some(watching),
        })
    }

    /// How many flights came so far.
    pub(crate) fn seen(&self) -> usize {
        self.shared.seen.load(Ordering::Acquire)
    }

    /// Waits until so many flights have come, and checks that none came twice. Says how often it had to connect again.
    pub(crate) async fn close_after(mut self, expected: usize) -> anyhow::Result<usize> {
        self.shared.expected.store(expected, Ordering::Release);
        let deadline = Instant::now() + PATIENCE;
        while self.seen() < expected {
            ensure!(
                Instant::now() < deadline,
                "the live feed brought {} flights of {expected}",
                self.seen()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let watching = self.watching.take().context("it is watched")?;
        let distinct = tokio::task::spawn_blocking(move || watching.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the live feed's reader has panicked"))??;
        ensure!(
            distinct == self.seen() && distinct == expected,
            "the live feed brought {distinct} different flights in {} events",
            self.seen()
        );
        Ok(self.shared.reconnected.load(Ordering::Acquire))
    }
}

/// Reads until everything expected has come. Gives how many different flights that were.
fn watch(http: &HttpClient, shared: &Shared) -> anyhow::Result<usize> {
    let mut places = HashSet::new();
    let mut last_id: Option<String> = None;
    while shared.seen.load(Ordering::Acquire) < shared.expected.load(Ordering::Acquire) {
        let path = Path::new(&["v1", "live"]).query("topic", TOPIC);
        let resume: Vec<(&str, &str)> = last_id
            .iter()
            .map(|id| ("last-event-id", id.as_str()))
            .collect();
        let Ok(lines) = http.lines(&path, "text/event-stream", &resume) else {
            std::thread::sleep(RECONNECT);
            continue;
        };
        if shared.connected.swap(true, Ordering::AcqRel) {
            shared.reconnected.fetch_add(1, Ordering::AcqRel);
        }
        let mut id = None;
        for line in lines {
            // The server was killed: connect again, and go on after what came last.
            let Ok(line) = line else { break };
            if let Some(new) = line.strip_prefix("id:") {
                id = Some(new.trim().to_owned());
            } else if let Some(data) = line.strip_prefix("data:") {
                let message: Value = serde_json::from_str(data)?;
                let Some(offset) = message["offset"].as_u64() else {
                    continue;
                };
                places.insert((message["partition"].as_u64(), offset));
                last_id = id.take().or(last_id);
                let seen = shared.seen.fetch_add(1, Ordering::AcqRel) + 1;
                if seen >= shared.expected.load(Ordering::Acquire) {
                    break;
                }
            }
        }
    }
    Ok(places.len())
}
