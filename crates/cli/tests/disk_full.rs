//! A disk that is full: records are refused with an error that clients retry, everything else goes on, and the server
//! takes records again by itself once there is room.
//!
//! Each test runs in a mount namespace of its own, on a file system in memory that is small enough to be filled: see
//! [`small_disk`].

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::peer::Peer;
use common::records::{Found, batch, read_all, value};
use common::{Server, Site, eventually};
use millstream_client::http::{HttpClient, HttpError, Path as HttpPath, Problem};
use millstream_client::{
    Client, CommittedOffset, NewTopic, Producer, ProducerConfig, TopicPartition,
};
use millstream_kafka_wire::ErrorCode;
use millstream_record::{Codec, Offset};
use serde_json::{Value, json};

/// Set in the process that has a mount namespace of its own, to the directory to mount in.
const INSIDE: &str = "MILLSTREAM_TEST_MOUNTPOINT";

const DISK_BYTES: u64 = 128 << 20;

const RECORD_BYTES: usize = 100_000;

/// Gives the test a disk of [`DISK_BYTES`]: runs the test again, in a process that may mount one without anybody else
/// seeing it. In that process the result is where the disk is; in the outer one, which then has nothing left to do,
/// it is `None`.
fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(mountpoint) = std::env::var_os(INSIDE) {
        let mountpoint = PathBuf::from(mountpoint);
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&mountpoint)
            .status();
        assert!(
            mounted.unwrap().success(),
            "the namespace's own mount failed"
        );
        return Some(mountpoint);
    }
    let Some(unshare) = may_mount() else {
        let skip = std::env::var_os("MILLSTREAM_SKIP_MOUNT_TESTS").is_some();
        assert!(
            skip,
            "this test mounts a small file system, which takes root or user namespaces (`unshare --user \
             --map-root-user --mount` must work); set MILLSTREAM_SKIP_MOUNT_TESTS=1 to go without"
        );
        eprintln!("skipped: mounting is not permitted here");
        return None;
    };
    let mountpoint = tempfile::tempdir().unwrap();
    let again = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, mountpoint.path())
        .status();
    assert!(
        again.unwrap().success(),
        "the test failed in its namespace, see above"
    );
    None
}

/// The arguments of `unshare` with which this user may mount.
fn may_mount() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    WAYS.into_iter().find(|way| {
        let mount = ["mount", "-t", "tmpfs", "tmpfs", "/mnt"];
        let tried = Command::new("unshare").args(*way).args(mount).output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

/// A place on the small disk, with the store's parts small as well.
fn site(disk: &Path) -> Site {
    Site::new()
        .at(&disk.join("data"))
        .flag("memory-budget", "64MiB")
        .flag("journal-file-size", "4MiB")
        .flag("journal-max", "16MiB")
        .flag("settle-after", "4MiB")
        .flag("settle-after-ms", "200")
}

/// A file that takes up room.
struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Takes up all the room there is, but for `free_bytes`.
    fn leaving(disk: &Path, free_bytes: u64) -> Ballast {
        let path = disk.join("ballast");
        let mut file = File::create(&path).unwrap();
        let mut piece = vec![0; 1 << 20];
        while free(disk) > free_bytes {
            piece.truncate((free(disk) - free_bytes).min(1 << 20) as usize);
            file.write_all(&piece).unwrap();
        }
        Ballast { path }
    }

    fn remove(self) {
        fs::remove_file(self.path).unwrap();
    }
}

fn free(disk: &Path) -> u64 {
    let output = Command::new("stat")
        .args(["-f", "-c", "%a %S"])
        .arg(disk)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .map(|number| number.parse::<u64>().unwrap())
        .product()
}

fn in_memory(topic: &str) -> NewTopic {
    NewTopic::new(topic).config("millstream.durability", "memory")
}

/// The value of the record at an offset.
fn payload(number: i64) -> Vec<u8> {
    let mut payload = vec![number as u8; RECORD_BYTES];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

/// Appends one record; the error code tells what became of it.
async fn append(peer: &mut Peer, topic: &str, number: i64) -> (ErrorCode, String) {
    let produced = peer
        .produce(topic, 0, batch(Codec::None, &[value(&payload(number))]))
        .await;
    (
        produced.error_code,
        produced
            .error_message
            .map(|text| text.to_string())
            .unwrap_or_default(),
    )
}

/// Appends records until one is refused; tells how many there are then.
async fn fill(server: &Server, topic: &str, first: i64) -> i64 {
    let mut peer = Peer::connect(server.address()).await;
    for number in first.. {
        let (code, message) = append(&mut peer, topic, number).await;
        if code == ErrorCode::NONE {
            assert!(
                number as u64 * RECORD_BYTES as u64 <= DISK_BYTES,
                "the disk is never full"
            );
            continue;
        }
        assert_eq!(code, ErrorCode::KAFKA_STORAGE_ERROR, "{message}");
        assert!(code.is_retriable());
        assert!(message.contains("the disk is full"), "{message}");
        return number;
    }
    unreachable!("numbers do not run out")
}

/// Fills and refills until nothing is taken: settling may make a little room at first.
async fn fill_up(server: &Server, topic: &str, first: i64) -> i64 {
    let mut number = first;
    for _ in 0..10 {
        number = fill(server, topic, number).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    number
}

fn assert_holds(found: &[Found], from: i64, to: i64) {
    let offsets: Vec<_> = found.iter().map(|record| record.offset.0).collect();
    assert_eq!(offsets, (from..to).collect::<Vec<_>>());
    for record in found {
        assert!(
            record.value == payload(record.offset.0),
            "offset {} holds something else",
            record.offset
        );
    }
}

async fn commit(client: &Client, offset: i64) {
    let partition = TopicPartition::new("records", 0);
    let commit = BTreeMap::from([(partition.clone(), CommittedOffset::new(Offset(offset)))]);
    client.commit_group_offsets("group", &commit).await.unwrap();
    assert_eq!(
        client.group_offsets("group", None).await.unwrap()[&partition].offset,
        Offset(offset)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_records_and_nothing_else() {
    let Some(disk) = small_disk("a_full_disk_refuses_records_and_nothing_else") else {
        return;
    };
    let mut site = site(&disk);
    let server = site.start();
    let client = server.client().await;
    client
        .create_topic(&NewTopic::new("records"), false)
        .await
        .unwrap();
    client
        .create_topic(&NewTopic::new("other"), false)
        .await
        .unwrap();
    client
        .create_topic(&in_memory("volatile"), false)
        .await
        .unwrap();
    let mut peer = Peer::connect(server.address()).await;
    for number in 0..50 {
        assert_eq!(
            append(&mut peer, "records", number).await.0,
            ErrorCode::NONE
        );
    }
    commit(&client, 10).await;

    // Below a half of the reserve new topics are refused as well.
    let ballast = Ballast::leaving(&disk, 12 << 20);
    let taken = fill_up(&server, "records", 50).await;
    server.wait_for_log("the disk is full");

    // What is not for the disk is taken, in topics that were there and in new ones.
    client.create_topic(&in_memory("new"), false).await.unwrap();
    for topic in ["volatile", "new"] {
        for number in 0..30 {
            let (code, message) = append(&mut peer, topic, number).await;
            assert_eq!(code, ErrorCode::NONE, "{topic}: {message}");
        }
        assert_holds(&read_all(&client, topic, 0).await, 0, 30);
    }

    // Reads, commits and what makes room go on.
    assert_holds(&read_all(&client, "records", 0).await, 0, taken);
    commit(&client, 20).await;
    let records = TopicPartition::new("records", 0);
    assert_eq!(
        client
            .delete_records(&records, Some(Offset(5)))
            .await
            .unwrap(),
        Offset(5)
    );
    client.delete_topic("other").await.unwrap();
    assert_holds(&read_all(&client, "records", 0).await, 5, taken);

    // So they do after a crash, which finds the disk as full as it was.
    server.kill();
    let server = site.start();
    let client = server.client().await;
    assert_holds(&read_all(&client, "records", 0).await, 5, taken);
    commit(&client, 30).await;
    let taken = fill_up(&server, "records", taken).await;

    // A producer that retries, as they all do, is done as soon as there is room.
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    let waiting = producer
        .send("records", Some(0), &value(&payload(taken)))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    ballast.remove();
    let delivered = tokio::time::timeout(common::PATIENCE, waiting.wait())
        .await
        .expect("there is room")
        .unwrap();
    assert_eq!(delivered.offset, Some(Offset(taken)));
    assert!(
        server.log().contains("there is room again"),
        "{}",
        server.log()
    );
    assert_holds(&read_all(&client, "records", 0).await, 5, taken + 1);

    server.stop().assert_success();
    let server = site.start();
    assert_holds(
        &read_all(&server.client().await, "records", 0).await,
        5,
        taken + 1,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_what_fills_the_disk_makes_room() {
    let Some(disk) = small_disk("deleting_what_fills_the_disk_makes_room") else {
        return;
    };
    let mut site = site(&disk);
    let server = site.start();
    let client = server.client().await;
    for topic in ["records", "trimmed", "deleted"] {
        client
            .create_topic(&NewTopic::new(topic), false)
            .await
            .unwrap();
    }
    let mut peer = Peer::connect(server.address()).await;
    for number in 0..50 {
        assert_eq!(
            append(&mut peer, "records", number).await.0,
            ErrorCode::NONE
        );
    }
    for number in 0..300 {
        assert_eq!(
            append(&mut peer, "trimmed", number).await.0,
            ErrorCode::NONE
        );
    }
    // Nothing but the records themselves fills the disk this time.
    let filled = fill_up(&server, "deleted", 0).await;
    assert!(
        filled * RECORD_BYTES as i64 > 30 << 20,
        "the disk is full after {filled} records already"
    );

    client.delete_topic("deleted").await.unwrap();
    let taken_again = async |number| {
        let mut peer = Peer::connect(server.address()).await;
        eventually("the disk has room again", async || {
            (append(&mut peer, "records", number).await.0 == ErrorCode::NONE).then_some(())
        })
        .await;
    };
    taken_again(50).await;

    let taken = fill_up(&server, "records", 51).await;
    let trimmed = TopicPartition::new("trimmed", 0);
    assert_eq!(
        client.delete_records(&trimmed, None).await.unwrap(),
        Offset(300)
    );
    taken_again(taken).await;
    assert_holds(&read_all(&client, "records", 0).await, 0, taken + 1);
    assert_holds(&read_all(&client, "trimmed", 0).await, 0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk_needs_no_settings() {
    let Some(disk) = small_disk("a_small_disk_needs_no_settings") else {
        return;
    };
    let mut site = Site::new().at(&disk.join("data"));
    let server = site.start();
    let client = server.client().await;
    for topic in ["records", "deleted"] {
        client
            .create_topic(&NewTopic::new(topic), false)
            .await
            .unwrap();
    }
    // The largest batch that the default settings allow.
    let mut peer = Peer::connect(server.address()).await;
    let largest = vec![b'x'; (1 << 20) - 200];
    let produced = peer
        .produce("records", 0, batch(Codec::None, &[value(&largest)]))
        .await;
    assert_eq!(produced.error_code, ErrorCode::NONE);
    let filled = fill_up(&server, "deleted", 0).await;
    assert!(
        filled * RECORD_BYTES as i64 > DISK_BYTES as i64 / 2,
        "the disk is full after {filled} records already"
    );
    client.delete_topic("deleted").await.unwrap();
    eventually("the disk has room again", async || {
        let (code, _) = append(&mut peer, "records", 1).await;
        (code == ErrorCode::NONE).then_some(())
    })
    .await;
    assert!(fill_up(&server, "records", 2).await * RECORD_BYTES as i64 > DISK_BYTES as i64 / 2);
}

/// The answers of the HTTP API: the status and what it says.
struct Http(HttpClient);

impl Http {
    fn call(&self, method: &str, path: &[&str], body: &Value) -> Result<Value, Problem> {
        let body = (!body.is_null()).then_some(body);
        match self.0.call(method, &HttpPath::new(path), body) {
            Ok(answer) => Ok(answer),
            Err(HttpError::Refused(problem)) => Err(problem),
            Err(error) => panic!("{error}"),
        }
    }

    fn publish(&self, topic: &str) -> Result<Value, Problem> {
        let record = json!({ "value": "x".repeat(RECORD_BYTES) });
        self.call("POST", &["v1", "topics", topic, "records"], &record)
    }

    /// Publishes until that is refused, and settling makes no room any more.
    fn fill(&self, topic: &str) -> Problem {
        let mut refusals = 0;
        loop {
            match self.publish(topic) {
                Ok(_) => refusals = 0,
                Err(problem) if refusals == 10 => return problem,
                Err(_) => {
                    refusals += 1;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn tell(&self, queue: &str, what: &str, body: &Value) -> Result<Value, Problem> {
        self.call("POST", &["v1", "queues", queue, what], body)
    }
}

#[test]
fn a_full_disk_is_507_over_http_and_messages_can_be_finished() {
    let Some(disk) = small_disk("a_full_disk_is_507_over_http_and_messages_can_be_finished") else {
        return;
    };
    let server = site(&disk).start();
    let http = Http(HttpClient::new(&server.http_address()));
    http.call(
        "PUT",
        &["v1", "topics", "orders"],
        &json!({ "partitions": 1 }),
    )
    .unwrap();
    let queue = json!({ "name": "work", "topic": "orders" });
    http.call("POST", &["v1", "queues"], &queue).unwrap();
    for _ in 0..4 {
        http.publish("orders").unwrap();
    }
    let asked = json!({ "max": 2, "wait_ms": 5000 });
    let received = http.tell("work", "receive", &asked).unwrap();
    let receipt = |at: usize| received["messages"][at]["receipt"].clone();

    let ballast = Ballast::leaving(&disk, 3 << 20);
    let full = http.fill("orders");
    assert_eq!((full.status, full.code.as_str()), (507, "disk-full"));
    assert!(full.detail.contains("the disk is full"), "{}", full.detail);
    let ready = http.call("GET", &["readyz"], &Value::Null).unwrap_err();
    assert_eq!((ready.status, ready.code.as_str()), (503, "not-ready"));

    // Nothing is published, so nothing is acknowledged with it; an acknowledgement by itself is taken, and more is received.
    let publish = json!([{ "topic": "orders", "records": [{ "value": "done" }] }]);
    let both = json!({ "receipts": [receipt(0)], "publish": publish });
    let refused = http.tell("work", "ack-and-publish", &both).unwrap_err();
    assert_eq!(refused.code, "disk-full");
    let acked = http
        .tell("work", "ack", &json!({ "receipts": [receipt(0)] }))
        .unwrap();
    assert_eq!(acked["results"], json!([{ "ok": true }]));
    let more = http.tell("work", "receive", &asked).unwrap();
    assert_eq!(more["messages"].as_array().unwrap().len(), 2);

    ballast.remove();
    let deadline = Instant::now() + common::PATIENCE;
    let both = json!({ "receipts": [receipt(1)], "publish": publish });
    while let Err(problem) = http.tell("work", "ack-and-publish", &both) {
        assert_eq!(problem.code, "disk-full", "{problem}");
        assert!(Instant::now() < deadline, "it does not take records again");
        std::thread::sleep(Duration::from_millis(50));
    }
    http.publish("orders").unwrap();
    let ready: Result<Value, _> = http.0.call("GET", &HttpPath::new(&["readyz"]), None::<&()>);
    assert!(
        matches!(ready, Err(HttpError::Unexpected(_))),
        "plain text, not a problem"
    );
}
