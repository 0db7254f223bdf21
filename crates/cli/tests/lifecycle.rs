//! How a server starts, refuses to start, and stops.

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::peer::Peer;
use common::records::{batch, read_all, value};
use common::{Exit, Server, Site};
use millstream_client::{Client, ClientConfig, NewTopic, Producer, ProducerConfig};
use millstream_kafka_wire::ErrorCode;
use millstream_record::Codec;
use rustix::process::Signal;

/// Starts what should not start.
#[track_caller]
fn refused(site: &Site) -> Exit {
    match site.try_start() {
        Ok(_) => panic!("the server started"),
        Err(exit) => exit,
    }
}

/// What went wrong is said in one place of the message.
#[track_caller]
fn assert_told_once(exit: &Exit, what: &str) {
    assert_eq!(exit.log.matches(what).count(), 1, "{}", exit.log);
}

async fn fill(server: &Server, topic: &str, count: usize) {
    let client = server.client().await;
    client
        .create_topic(&NewTopic::new(topic), false)
        .await
        .unwrap();
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for number in 0..count {
        producer
            .send(topic, Some(0), &value(number.to_string().as_bytes()))
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();
}

async fn leader_epoch(client: &Client, topic: &str) -> i32 {
    client.topic(topic).await.unwrap().partitions[0].leader_epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_on_nothing_and_answers_at_once() {
    let mut site = Site::new();
    let started = Instant::now();
    let server = site.start();
    let listened = started.elapsed();
    let client = server.client().await;
    println!(
        "listens after {listened:?}, first answer after {:?}",
        started.elapsed()
    );
    assert!(client.topics().await.unwrap().is_empty());
    assert!(site.data_dir().is_dir());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_and_sigint_stop_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut site = Site::new();
        let server = site.start();
        fill(&server, "records", 1_000).await;
        let epoch = leader_epoch(&server.client().await, "records").await;
        server.signal(signal);
        let exit = server.exit();
        exit.assert_success();
        assert!(
            exit.log.contains("shutting down") && exit.log.contains("stopped"),
            "{exit:?}"
        );

        let server = site.start();
        println!(
            "after a stop in order the server listens within {:?}",
            server.started_in()
        );
        let client = server.client().await;
        assert_eq!(read_all(&client, "records", 0).await.len(), 1_000);
        assert_eq!(
            leader_epoch(&client, "records").await,
            epoch,
            "a stop in order is no new leadership"
        );
        assert!(
            !server
                .log()
                .contains("recovered from a stop that was not in order"),
            "{}",
            server.log()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_is_a_new_leadership() {
    let mut site = Site::new();
    let server = site.start();
    fill(&server, "records", 1_000).await;
    let epoch = leader_epoch(&server.client().await, "records").await;
    server.kill();
    let server = site.start();
    println!(
        "after a kill the server listens within {:?}",
        server.started_in()
    );
    let client = server.client().await;
    assert_eq!(read_all(&client, "records", 0).await.len(), 1_000);
    assert!(leader_epoch(&client, "records").await > epoch);
    assert!(
        server
            .log()
            .contains("recovered from a stop that was not in order"),
        "{}",
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_and_doubles_nothing() {
    let mut site = Site::new().restless();
    let server = site.start();
    let config = ClientConfig {
        retry_timeout: common::PATIENCE,
        ..ClientConfig::new(server.address().to_string())
    };
    let client = Client::connect(config).await.unwrap();
    client
        .create_topic(&NewTopic::new("records"), false)
        .await
        .unwrap();
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    let writing = tokio::spawn(async move {
        for number in 0..20_000_u32 {
            producer
                .send("records", Some(0), &value(&number.to_be_bytes()))
                .await
                .unwrap();
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        producer.flush().await.unwrap();
    });
    let mut server = server;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        server.stop().assert_success();
        server = site.start();
    }
    writing.await.unwrap();
    let found = read_all(&server.client().await, "records", 0).await;
    let numbers = found
        .iter()
        .map(|record| u32::from_be_bytes(record.value[..].try_into().unwrap()));
    assert!(numbers.eq(0..20_000), "{} records", found.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_do_not_hold_up_a_stop() {
    let mut site = Site::new();
    let server = site.start();
    fill(&server, "records", 1).await;
    let mut waiting = Peer::connect(server.address()).await;
    waiting
        .begin_waiting("records", 0, 1, Duration::from_secs(300))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    server.stop().assert_success();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the stop took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_signal_stops_a_start_that_takes_long() {
    let mut site = Site::new();
    site.start().stop().assert_success();
    // Whoever opens a pipe that nobody writes to waits.
    let format = site.data_dir().join("FORMAT");
    std::fs::remove_file(&format).unwrap();
    let made = Command::new("mkfifo").arg(&format).status().unwrap();
    assert!(made.success());
    let server = site.begin_start();
    std::thread::sleep(Duration::from_millis(100));
    let exit = server.stop();
    exit.assert_success();
    assert!(
        exit.log
            .contains("stopped before the data directory was open"),
        "{}",
        exit.log
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_at_once() {
    let mut site = Site::new();
    let server = site.start();
    fill(&server, "records", 100).await;
    // Holds the first signal's stop up for a while.
    let mut waiting = Peer::connect(server.address()).await;
    waiting
        .begin_waiting("records", 0, 100, Duration::from_secs(300))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.signal(Signal::TERM);
    server.wait_for_log("a second signal stops at once");
    // One that comes sooner is taken for the same.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    server.signal(Signal::TERM);
    let exit = server.exit();
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    exit.assert_refused(&["stopped at once by a second signal"]);
    let server = site.start();
    assert_eq!(
        read_all(&server.client().await, "records", 0).await.len(),
        100
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_is_in_use_is_refused() {
    let mut site = Site::new();
    let server = site.start();
    let second = Site::new().at(site.data_dir());
    let exit = refused(&second);
    exit.assert_refused(&["is in use by another process", "stop it, or choose another"]);
    assert_told_once(&exit, "is in use by another process");
    // The first has not noticed.
    fill(&server, "records", 10).await;
    server.kill();
    assert!(
        second.try_start().is_ok(),
        "a lock must not outlive its holder"
    );
}

#[test]
fn a_port_that_is_in_use_is_refused_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = Site::new().listening_on(&address);
    refused(&site).assert_refused(&[&format!("{address} is in use"), "--kafka-addr"]);
    assert!(!site.data_dir().exists());
}

#[test]
fn an_http_port_that_is_in_use_is_refused_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = Site::new().flag("http-addr", &address);
    refused(&site).assert_refused(&[&format!("{address} is in use"), "--http-addr"]);
    assert!(!site.data_dir().exists());
}

#[test]
fn http_is_served_and_its_address_printed() {
    let mut site = Site::new();
    let server = site.start();
    server.wait_for_log("http listening on 127.0.0.1:");
    server.stop().assert_success();
}

#[test]
fn http_can_be_switched_off() {
    let mut site = Site::new().flag("http-addr", "off");
    let server = site.start();
    server.wait_for_log("ready");
    assert!(!server.log().contains("http listening"), "{}", server.log());
}

#[test]
fn http_beyond_loopback_takes_a_word_from_the_operator() {
    let site = Site::new().flag("http-addr", "0.0.0.0:0");
    refused(&site).assert_refused(&["0.0.0.0:0", "--http-allow-unauthenticated true"]);
    let server = site.flag("http-allow-unauthenticated", "true").start();
    server.wait_for_log("http listening on 0.0.0.0:");
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let refused = |address: &str| refused(&Site::new().listening_on(address));
    refused("192.0.2.1:9092").assert_refused(&["cannot listen on 192.0.2.1:9092", "--kafka-addr"]);
    refused("localhost").assert_refused(&["--kafka-addr", "HOST:PORT"]);
    refused("0.0.0.0:0").assert_refused(&["--kafka-advertised HOST:"]);
}

#[test]
fn a_file_in_the_place_of_the_data_directory_is_refused() {
    let site = Site::new();
    fs::write(site.data_dir(), "precious").unwrap();
    let name = site.data_dir().display().to_string();
    refused(&site).assert_refused(&[&name, "--data-dir"]);
    assert_eq!(fs::read_to_string(site.data_dir()).unwrap(), "precious");
}

#[test]
fn a_directory_that_may_not_be_read_is_refused() {
    let site = Site::new();
    fs::create_dir(site.data_dir()).unwrap();
    fs::set_permissions(site.data_dir(), fs::Permissions::from_mode(0o000)).unwrap();
    // Nothing is forbidden to root.
    const NOBODY: u32 = 65_534;
    let root = rustix::process::geteuid().is_root();
    let site = if root { site.user(NOBODY) } else { site };
    let name = site.data_dir().display().to_string();
    let exit = refused(&site);
    exit.assert_refused(&[&name, "Permission denied", "--data-dir"]);
    assert_told_once(&exit, "Permission denied");
}

#[test]
fn a_directory_that_is_something_elses_is_left_alone() {
    let site = Site::new();
    fs::create_dir_all(site.data_dir().join("journal")).unwrap();
    fs::write(site.data_dir().join("journal/mine"), "precious").unwrap();
    refused(&site).assert_refused(&["FORMAT", "nothing was changed"]);
    assert_eq!(
        fs::read_to_string(site.data_dir().join("journal/mine")).unwrap(),
        "precious"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_format_is_refused_and_left_alone() {
    let mut site = Site::new();
    let server = site.start();
    fill(&server, "records", 10).await;
    server.stop().assert_success();
    let path = site.data_dir().join("FORMAT");
    let format = fs::read_to_string(&path).unwrap();
    let newer = format.replace("millstream-slot 1", "millstream-slot 2");
    assert_ne!(format, newer);
    fs::write(&path, &newer).unwrap();
    refused(&site).assert_refused(&[
        "has format 2",
        "reads up to 1",
        "use the release that wrote it",
    ]);
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);

    fs::write(&path, format.replace("slot ", "slat ")).unwrap();
    refused(&site).assert_refused(&["FORMAT", "is damaged", "millstream doctor"]);

    fs::write(&path, &format).unwrap();
    let server = site.start();
    assert_eq!(
        read_all(&server.client().await, "records", 0).await.len(),
        10
    );
}

#[test]
fn settings_that_do_not_exist_are_refused_with_the_nearest_that_does() {
    refused(&Site::new().flag("memory-buget", "64MiB"))
        .assert_refused(&["--memory-buget", "--memory-budget"]);
    refused(&Site::new().variable("MILLSTREAM_DATA_DIRR", "x"))
        .assert_refused(&["MILLSTREAM_DATA_DIRR", "did you mean MILLSTREAM_DATA_DIR?"]);
    let site = Site::new();
    fs::write(
        site.scratch().join("millstream.toml"),
        "kafka-adr = \"127.0.0.1:9092\"\n",
    )
    .unwrap();
    refused(&site).assert_refused(&["kafka-adr", "millstream.toml", "did you mean kafka-addr?"]);
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    refused(&Site::new().flag("memory-budget", "much"))
        .assert_refused(&["--memory-budget", "\"much\""]);
    refused(&Site::new().flag("default-partitions", "0")).assert_refused(&["--default-partitions"]);
    let exit = refused(&Site::new().flag("config", "missing.toml"));
    exit.assert_refused(&["missing.toml", "--config"]);
    assert_told_once(&exit, "No such file");
    for (key, value) in [("memory-budget", "64KiB"), ("journal-file-size", "1")] {
        let name = format!("--{key}");
        refused(&Site::new().flag(key, value)).assert_refused(&[&name, "it takes at least"]);
    }
    let site = Site::new();
    fs::write(site.scratch().join("millstream.toml"), "data-dir = [1]\n").unwrap();
    refused(&site).assert_refused(&["data-dir", "millstream.toml"]);
    fs::write(site.scratch().join("millstream.toml"), "data-dir: x\n").unwrap();
    refused(&site).assert_refused(&["millstream.toml", "is not TOML"]);
}

#[test]
fn the_clients_variables_keep_no_server_from_starting() {
    let mut site = Site::new()
        .variable("MILLSTREAM_SERVER", "127.0.0.1:9092")
        .variable("MILLSTREAM_HTTP", "127.0.0.1:8080");
    site.start().stop().assert_success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let mut site = Site::new()
        .flag("default-partitions", "3")
        .variable("MILLSTREAM_DEFAULT_PARTITIONS", "5");
    let file = "default-partitions = 7\nauto-create-topics = false\nlog = \"debug\"\n";
    fs::write(site.scratch().join("millstream.toml"), file).unwrap();
    let server = site.start();
    let client = server.client().await;
    client
        .create_topic(&NewTopic::new("counted"), false)
        .await
        .unwrap();
    assert_eq!(client.topic("counted").await.unwrap().partitions.len(), 3);
    let produced = Peer::connect(server.address())
        .await
        .produce("absent", 0, batch(Codec::None, &[value(b"x")]))
        .await;
    assert_eq!(produced.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(
        server.log().contains("DEBUG"),
        "the file's log level: {}",
        server.log()
    );
}

#[test]
fn help_and_version_go_to_standard_output() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args(arguments)
            .output()
            .unwrap()
    };
    let help = run(&["serve", "--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for flag in [
        "--data-dir",
        "--kafka-addr",
        "--kafka-advertised",
        "--http-addr",
        "--default-partitions",
    ] {
        assert!(text.contains(flag), "{flag} is not in the help");
    }
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(
        String::from_utf8(version.stdout)
            .unwrap()
            .contains(env!("CARGO_PKG_VERSION"))
    );
    assert!(!run(&["sevre"]).status.success());
}
