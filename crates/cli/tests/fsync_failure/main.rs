//! A disk that fails: nothing more is acknowledged, the server ends and says why, and the next one has everything that
//! was acknowledged.
//!
//! The failures come from a library that is preloaded into the server (`failing_disk.c`, built here with `cc`); a file
//! tells it when to fail, and for which part of the data directory.

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use common::peer::Peer;
use common::records::{batch, read_all, value};
use common::{PATIENCE, Server, Site};
use millstream_client::{Client, ClientConfig, NewTopic, OffsetSpec, Producer, ProducerConfig};
use millstream_kafka_wire::ErrorCode;
use millstream_record::Codec;
use tokio::time::timeout;

/// What of the disk fails.
#[derive(Clone, Copy)]
enum Failure {
    Sync,
    Write,
}

/// The library, built once.
fn library() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("libfailing_disk.so");
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fsync_failure/failing_disk.c"
        );
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-o"])
            .arg(&library)
            .arg(source)
            .status();
        assert!(built.expect("this test takes a C compiler, `cc`").success());
        library
    })
}

/// A place whose disk can be made to fail.
struct Fragile {
    site: Site,
}

impl Fragile {
    fn new() -> Fragile {
        let site = Site::new()
            .restless()
            .variable("LD_PRELOAD", library().to_str().unwrap());
        let sync = site.scratch().join("fail-sync").display().to_string();
        let write = site.scratch().join("fail-write").display().to_string();
        Fragile {
            site: site
                .variable("FAIL_SYNC", &sync)
                .variable("FAIL_WRITE", &write),
        }
    }

    fn order(&self, failure: Failure) -> PathBuf {
        self.site.scratch().join(match failure {
            Failure::Sync => "fail-sync",
            Failure::Write => "fail-write",
        })
    }

    /// From now on files whose path contains `part` fail.
    fn fail(&self, failure: Failure, part: &str) {
        // In one step, so that no half of it is read.
        let written = self.site.scratch().join("order");
        fs::write(&written, part).unwrap();
        fs::rename(written, self.order(failure)).unwrap();
    }

    fn repair(&self, failure: Failure) {
        fs::remove_file(self.order(failure)).unwrap();
    }
}

async fn patient_client(server: &Server) -> Client {
    let config = ClientConfig {
        retry_timeout: PATIENCE,
        ..ClientConfig::new(server.address().to_string())
    };
    Client::connect(config).await.unwrap()
}

/// Appends a record of that number; whether it was acknowledged.
async fn append(producer: &Producer, topic: &str, number: i64) -> bool {
    let mut bytes = vec![b'.'; 2_000];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let sent = producer.send(topic, Some(0), &value(&bytes)).await.unwrap();
    let delivered = timeout(PATIENCE, sent.wait())
        .await
        .expect("an outcome")
        .unwrap();
    delivered.offset.is_some()
}

async fn assert_counts_up(client: &Client, topic: &str, count: i64) {
    let found = read_all(client, topic, 0).await;
    let numbers = found
        .iter()
        .map(|record| i64::from_be_bytes(record.value[..8].try_into().unwrap()));
    assert!(
        numbers.eq(0..count),
        "{topic} holds {} records, of {count}",
        found.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_of_the_journal_nothing_is_acknowledged() {
    let mut fragile = Fragile::new();
    let server = fragile.site.start();
    let client = patient_client(&server).await;
    client
        .create_topic(&NewTopic::new("records"), false)
        .await
        .unwrap();
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for number in 0..20 {
        assert!(append(&producer, "records", number).await);
    }

    fragile.fail(Failure::Sync, "/journal/");
    let mut peer = Peer::connect(server.address()).await;
    let unsafe_record = batch(Codec::None, &[value(b"not to be acknowledged")]);
    let answered =
        tokio::spawn(async move { peer.produce("records", 0, unsafe_record).await.error_code });
    let exit = tokio::task::spawn_blocking(|| server.exit()).await.unwrap();
    exit.assert_refused(&[
        "the store has failed",
        "Input/output error",
        "nothing was acknowledged since",
    ]);
    // No answer, for the connection ended, or an error.
    if let Ok(code) = answered.await {
        assert_ne!(
            code,
            ErrorCode::NONE,
            "acknowledged although the sync failed"
        );
    }

    // While the disk fails, no server starts; the next one after has it all.
    let refused = fragile
        .site
        .try_start()
        .map_or_else(|exit| exit, common::Server::exit);
    refused.assert_refused(&["Input/output error"]);
    fragile.repair(Failure::Sync);
    let server = fragile.site.start();
    let client = server.client().await;
    let found = read_all(&client, "records", 0).await;
    assert!(
        found.len() == 20 || found.len() == 21,
        "{} records are left",
        found.len()
    );
    for (number, record) in found.iter().take(20).enumerate() {
        assert_eq!(record.value[..8], (number as i64).to_be_bytes());
    }
}

/// A producer writes on, whatever happens; in the end everything is there once.
async fn survives(failure: Failure, part: &str) {
    let mut fragile = Fragile::new();
    let server = fragile.site.start();
    let client = patient_client(&server).await;
    for (topic, durability) in [("synced", "fsync"), ("cached", "os")] {
        let topic = NewTopic::new(topic).config("millstream.durability", durability);
        client.create_topic(&topic, false).await.unwrap();
    }
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for number in 0..50 {
        assert!(
            append(&producer, "synced", number).await && append(&producer, "cached", number).await
        );
    }
    fragile.fail(failure, part);
    let writing = tokio::spawn(async move {
        for number in 50..300 {
            assert!(
                append(&producer, "synced", number).await
                    && append(&producer, "cached", number).await
            );
        }
    });
    let exit = tokio::task::spawn_blocking(|| server.exit()).await.unwrap();
    exit.assert_refused(&["the store has failed", "Input/output error"]);
    fragile.repair(failure);
    let server = fragile.site.start();
    timeout(PATIENCE, writing)
        .await
        .expect("the producer goes on")
        .unwrap();
    let client = server.client().await;
    assert_counts_up(&client, "synced", 300).await;
    assert_counts_up(&client, "cached", 300).await;
    server.stop().assert_success();
    let client = fragile.site.start();
    assert_counts_up(&client.client().await, "synced", 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_of_the_journal_loses_nothing() {
    survives(Failure::Sync, "/journal/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_to_the_journal_loses_nothing() {
    survives(Failure::Write, "/journal/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_of_a_pack_loses_nothing() {
    survives(Failure::Sync, "/packs/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_to_a_pack_loses_nothing() {
    survives(Failure::Write, "/packs/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_of_the_manifest_loses_nothing() {
    survives(Failure::Sync, "/manifest").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_of_the_state_table_loses_nothing() {
    survives(Failure::Sync, "/state.redb").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_that_cannot_settle_says_so() {
    let mut fragile = Fragile::new();
    let server = fragile.site.start();
    let client = patient_client(&server).await;
    client
        .create_topic(&NewTopic::new("records"), false)
        .await
        .unwrap();
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for number in 0..20 {
        assert!(append(&producer, "records", number).await);
    }
    drop(producer);
    fragile.fail(Failure::Sync, "/data/");
    tokio::time::sleep(Duration::from_millis(10)).await;
    server.stop().assert_refused(&["Input/output error"]);
    fragile.repair(Failure::Sync);
    let server = fragile.site.start();
    let client = server.client().await;
    assert_counts_up(&client, "records", 20).await;
    assert_eq!(
        client
            .topic_offsets("records", OffsetSpec::Latest)
            .await
            .unwrap()
            .len(),
        1
    );
}
