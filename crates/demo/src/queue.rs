//! The same flights as a work queue: four workers share them, some work fails, backs off and ends in dead letters.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use millstream_client::http::{HttpClient, Path};
use serde_json::{Value, json};

use crate::TOPIC;
use crate::flights::Flight;

/// The queue: for each flight its crew's hours are booked.
const QUEUE: &str = "crew-hours";
const WORKERS: usize = 4;
const ATTEMPTS_MAX: u64 = 3;

/// No worker waits longer than this for the queue to run empty.
const PATIENCE: Duration = Duration::from_secs(60);

/// What workers did together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Places of flights that were acknowledged.
    done: HashSet<(u64, u64)>,
    /// How often a flight was given back.
    pub(crate) failures: usize,
    /// How many each worker did.
    shares: Vec<usize>,
    /// Flights that were acknowledged twice.
    repeated: usize,
}

/// Creates the queue.
pub(crate) fn create(http: &HttpClient) -> anyhow::Result<()> {
    let queue = json!({
        "name": QUEUE,
        "topic": TOPIC,
        "policy": {
            "retry": {
                "attempts_max": ATTEMPTS_MAX,
                "backoff": { "exponential": { "delay_ms": 50 } },
                "jitter_percent": 20,
            },
            "dead_letters": true,
        },
    });
    let _: Value = http.post(&Path::new(&["v1", "queues"]), &queue)?;
    Ok(())
}

/// Four workers share what is in the queue until nothing is left. While there is no rule for them yet, cancelled flights
/// fail.
pub(crate) async fn work(http: &HttpClient, has_rule: bool) -> anyhow::Result<Tally> {
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let http = http.clone();
            tokio::task::spawn_blocking(move || work_alone(&http, has_rule))
        })
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        let one = worker.await??;
        tally.shares.push(one.done.len());
        tally.failures += one.failures;
        tally.repeated += one.repeated;
        for place in one.done {
            tally.repeated += usize::from(!tally.done.insert(place));
        }
    }
    Ok(tally)
}

fn work_alone(http: &HttpClient, has_rule: bool) -> anyhow::Result<Tally> {
    let deadline = Instant::now() + PATIENCE;
    let mut tally = Tally::default();
    loop {
        let request = json!({ "max": 100, "visibility_ms": 30_000, "wait_ms": 500 });
        let answer: Value = http.post(&path("receive"), &request)?;
        let messages = answer["messages"].as_array().context("no messages")?;
        if messages.is_empty() && open(http)? == 0 {
            return Ok(tally);
        }
        ensure!(Instant::now() < deadline, "the queue does not run empty");
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for message in messages {
            let line = message["value"].as_str().context("a flight is text")?;
            let was_flown = Flight::from_line(line).departure_delay_minutes().is_some();
            if was_flown || has_rule {
                let place = (&message["partition"], &message["offset"]);
                let place = (place.0.as_u64(), place.1.as_u64());
                let place = (
                    place.0.context("a partition")?,
                    place.1.context("an offset")?,
                );
                tally.repeated += usize::from(!tally.done.insert(place));
                done.push(&message["receipt"]);
            } else {
                failed.push(&message["receipt"]);
            }
        }
        tally.failures += failed.len();
        settle(http, "ack", &done)?;
        settle(http, "nack", &failed)?;
    }
}

fn settle(http: &HttpClient, action: &str, receipts: &[&Value]) -> anyhow::Result<()> {
    if !receipts.is_empty() {
        let _: Value = http.post(&path(action), &json!({ "receipts": receipts }))?;
    }
    Ok(())
}

/// Moves the dead letters back to their topic. Says how many those were.
pub(crate) fn redrive(http: &HttpClient) -> anyhow::Result<u64> {
    let answer: Value = http.post(&path("redrive"), &json!({}))?;
    answer["moved"].as_u64().context("how many were moved")
}

/// How many messages are not finished.
fn open(http: &HttpClient) -> anyhow::Result<u64> {
    let queue: Value = http.get(&Path::new(&["v1", "queues", QUEUE]))?;
    queue["depth"]["open"].as_u64().context("the queue's depth")
}

/// How many were given up.
pub(crate) fn dead_letters(http: &HttpClient) -> anyhow::Result<u64> {
    let queue: Value = http.get(&Path::new(&["v1", "queues", QUEUE]))?;
    let dead = queue["totals"]["dead_lettered"].as_u64();
    dead.context("the queue's totals")
}

fn path(action: &str) -> Path {
    Path::new(&["v1", "queues", QUEUE, action])
}

impl Tally {
    /// How many flights were done.
    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }

    /// Checks that so many flights were done, each once.
    pub(crate) fn verify(&self, expected: usize) -> anyhow::Result<()> {
        ensure!(
            self.done.len() == expected && self.repeated == 0,
            "the workers did {} flights of {expected}, {} of them twice",
            self.done.len(),
            self.repeated
        );
        Ok(())
    }

    /// What each worker did, for people.
    pub(crate) fn shares(&self) -> String {
        let shares: Vec<String> = self.shares.iter().map(ToString::to_string).collect();
        format!("{} done, by worker: {}", self.done(), shares.join(", "))
    }
}
