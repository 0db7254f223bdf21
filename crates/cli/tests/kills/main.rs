//! The server is killed, over and over, at any moment of its work; what it had acknowledged is there afterwards.
//!
//! `MILLSTREAM_KILLS` says how often (30), `MILLSTREAM_SEED` repeats the load and the pauses of a run, though not the
//! interleaving of its threads. Start with [`ledger`], which knows what may be read back.

#[path = "../common/mod.rs"]
mod common;

mod catalogue;
mod commits;
mod ledger;
mod producers;

use std::sync::Arc;
use std::time::Duration;

use common::{Server, Site, number_from_env, seed};
use millstream_client::{Client, ClientConfig, NewTopic};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::catalogue::Catalogue;
use crate::commits::Commits;
use crate::ledger::Ledger;
use crate::producers::{PRODUCERS, Producers};

/// Topics by what their acknowledgements promise. Both promises outlive the process.
const TOPICS: [(&str, i32, &str); 2] = [("synced", 3, "fsync"), ("cached", 2, "os")];

/// For so many kills under load the catalogue gets one more.
const CATALOGUE_PART: u64 = 3;

/// A client that goes on trying for as long as servers come and go.
async fn patient_client(server: &Server) -> Client {
    let config = ClientConfig {
        connect_timeout: Duration::from_secs(2),
        retry_timeout: Duration::from_secs(60),
        ..ClientConfig::new(server.address().to_string())
    };
    Client::connect(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_and_offsets_survive_kills_under_load() {
    let kills = number_from_env("MILLSTREAM_KILLS", 30);
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::new().restless();
    let mut server = site.start();
    let client = patient_client(&server).await;
    for (name, partitions, durability) in TOPICS {
        let topic = NewTopic::new(name)
            .partitions(partitions)
            .config("millstream.durability", durability);
        client.create_topic(&topic, false).await.unwrap();
    }

    let ledger = Arc::new(Ledger::new(
        &TOPICS.map(|(name, partitions, _)| (name, partitions)),
        &PRODUCERS,
    ));
    let commits = Commits::default();
    let (stop, stopping) = watch::channel(false);
    let mut producers = Producers::start(&client, &ledger, seed, &stopping).await;
    let committers = commits.start(&client, &stopping);

    for kill in 1..=kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..800))).await;
        let acknowledged = ledger.acknowledgements();
        let committed = commits.acknowledged();
        server.kill();
        ledger.next_round();
        server = site.start();
        producers.assert_at_work();
        let client = server.client().await;
        ledger.read_on(&client).await;
        ledger.assert_holds(acknowledged);
        commits.assert_hold(&client, &committed, &ledger).await;
        println!(
            "kill {kill}: {} records acknowledged, {} read back",
            ledger.acknowledgements(),
            ledger.records_seen()
        );
    }

    stop.send_replace(true);
    producers.finish().await;
    committers.finish().await;
    server.stop().assert_success();
    let server = site.start();
    let client = server.client().await;
    ledger.read_on(&client).await;
    ledger.assert_holds(ledger.acknowledgements());
    ledger.assert_complete();
    ledger.assert_reads_the_same_again(&client).await;
    commits
        .assert_hold(&client, &commits.acknowledged(), &ledger)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogue_survives_kills_while_it_changes_and_settles() {
    let kills = number_from_env("MILLSTREAM_KILLS", 30).div_ceil(CATALOGUE_PART);
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::new()
        .restless()
        .flag("settle-after", "128KiB")
        .flag("settle-after-ms", "20");
    let mut server = site.start();
    let client = patient_client(&server).await;
    let catalogue = Catalogue::new();
    let (stop, stopping) = watch::channel(false);
    let mut changes = catalogue.change_it(&client, seed, &stopping);

    for kill in 1..=kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..800))).await;
        server.kill();
        catalogue.expect_doubt();
        server = site.start();
        changes.assert_at_work();
        let count = catalogue.assert_matches(&server.client().await).await;
        println!("kill {kill}: {count} changes made");
    }

    stop.send_replace(true);
    changes.finish().await;
    server.stop().assert_success();
    let server = site.start();
    catalogue.assert_matches(&server.client().await).await;
}
