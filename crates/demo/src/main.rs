//! The program behind `make demo`: what Millstream is for, on real data, in a minute.
//!
//! It starts the server that was built beside it on an empty directory, publishes a month of flights keyed by aircraft,
//! kills the server with `SIGKILL` half-way, and reads what was published once in all three ways: as a stream by two
//! independent consumer groups, as a work queue by four workers, as a live feed. It checks that every flight came through
//! each of them, once, and in order for each aircraft where that is promised. The story is in `main`; each actor has a
//! file of its own.

#![forbid(unsafe_code)]

mod flights;
mod ledger;
mod live;
mod publish;
mod queue;
mod readers;
mod server;
mod summary;

use std::time::Instant;

use anyhow::Context;
use millstream_client::http::HttpClient;
use millstream_client::{Client, ClientConfig, NewTopic, Producer, ProducerConfig};

use crate::flights::Flight;
use crate::server::Server;

const TOPIC: &str = "flights";
const PARTITIONS: i32 = 4;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flights = flights::load()?;
    let (before, after) = flights.split_at(flights.len() / 2);
    let data = tempfile::tempdir().context("a directory for the demo's server")?;

    step("start a server on an empty directory");
    let mut server = Server::start(data.path()).await?;
    done(&format!(
        "answering on {} (Kafka) and {} (HTTP) after {} ms",
        server.address(),
        server.http_address(),
        server.started_in().as_millis()
    ));

    step("create a topic keyed by aircraft");
    let client = Client::connect(ClientConfig::new(server.address())).await?;
    client
        .create_topic(&NewTopic::new(TOPIC).partitions(PARTITIONS), false)
        .await?;
    done(&format!(
        "{TOPIC}, {PARTITIONS} partitions, fsync before every acknowledgement"
    ));

    step("put a work queue on it, with three attempts and dead letters, and watch it live");
    let http = HttpClient::new(server.http_address());
    queue::create(&http)?;
    let feed = live::Feed::open(&http).await?;
    done(
        "queue `crew-hours` is created, a live feed is open; both on the topic itself, nothing is copied",
    );

    step("publish the first half of January 2013");
    let producer = Producer::start(&client, ProducerConfig::default()).await?;
    let took = publish::all(&producer, before).await?;
    done(&format!(
        "{} flights acknowledged in {} ms",
        before.len(),
        took.as_millis()
    ));

    step("read it as group `departures`, two members sharing the partitions");
    let mut departures = readers::share(&client, "departures", before.len()).await?;
    done(&departures.shares());

    step("kill -9 the server, start it again on the same directory");
    let restarted = Instant::now();
    server.kill().await?;
    server.restart().await?;
    done(&format!(
        "answering again {} ms after the kill, the log recovered",
        restarted.elapsed().as_millis()
    ));

    step("publish the second half, with the same idempotent producer");
    let took = publish::all(&producer, after).await?;
    done(&format!(
        "{} flights acknowledged in {} ms",
        after.len(),
        took.as_millis()
    ));

    step("go on as group `departures` from where it had committed");
    departures.absorb(readers::share(&client, "departures", after.len()).await?);
    done(&departures.shares());

    step("replay everything from the start as group `statistics`, one member");
    let statistics = readers::replay(&client, "statistics", flights.len()).await?;
    done(&statistics.shares());

    step("compare what both groups read with what was published");
    departures.ledger.verify("departures", &flights)?;
    statistics.ledger.verify("statistics", &flights)?;
    done("nothing lost, nothing twice, every aircraft's flights in order");

    step("look at the live feed, which had to resume after the kill");
    let reconnects = feed.close_after(flights.len()).await?;
    done(&format!(
        "{} flights seen, none missed, none twice, {reconnects} reconnect",
        flights.len()
    ));

    step("work off the queue with four workers, who have no rule for cancelled flights yet");
    let cancelled = flights
        .iter()
        .filter(|flight| flight.departure_delay_minutes().is_none())
        .count();
    let first = queue::work(&http, false).await?;
    first.verify(flights.len() - cancelled)?;
    done(&first.shares());
    done(&format!(
        "{} failures, backed off and tried again; {} flights are dead letters",
        first.failures,
        queue::dead_letters(&http)?
    ));

    step("give the workers the rule, and redrive the dead letters");
    let moved = queue::redrive(&http)?;
    let second = queue::work(&http, true).await?;
    second.verify(cancelled)?;
    done(&format!("{moved} moved back; {}", second.shares()));

    server.stop().await?;
    summary::print(&statistics.ledger);
    Ok(())
}

fn step(what: &str) {
    println!("• {what}");
}

fn done(outcome: &str) {
    println!("  {outcome}");
}

/// How a flight's line becomes a record, and back: the aircraft is the key, the line the value.
fn record_of(flight: &Flight) -> (&[u8], &[u8]) {
    (flight.aircraft().as_bytes(), flight.line().as_bytes())
}
