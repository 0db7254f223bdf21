//! Ten thousand partitions in one server: no thread, no open file for each, and all of it there after a crash.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::process::{allocated_bytes, files_in, open_files, resident_bytes, threads};
use common::records::{read, value};
use common::{Server, Site, number_from_env};
use millstream_client::{Client, NewTopic, OffsetSpec, Producer, ProducerConfig, TopicPartition};
use millstream_record::Offset;

const TOPICS: i32 = 10;

/// Records for each partition in each round.
const RECORDS: u32 = 3;

fn topic(index: i32) -> String {
    format!("topic-{index}")
}

fn partitions_of_each() -> i32 {
    number_from_env("MILLSTREAM_PARTITIONS", 10_000) as i32 / TOPICS
}

fn all_partitions() -> Vec<TopicPartition> {
    let of_topic = |index| {
        (0..partitions_of_each()).map(move |partition| TopicPartition::new(topic(index), partition))
    };
    (0..TOPICS).flat_map(of_topic).collect()
}

async fn produce(client: &Client, round: u32) {
    let config = ProducerConfig {
        linger: Duration::from_millis(100),
        ..ProducerConfig::default()
    };
    let producer = Producer::start(client, config).await.unwrap();
    for number in round * RECORDS..(round + 1) * RECORDS {
        for partition in all_partitions() {
            let text = format!("{partition} {number}");
            producer
                .send(
                    &partition.topic,
                    Some(partition.partition),
                    &value(text.as_bytes()),
                )
                .await
                .unwrap();
        }
    }
    producer.flush().await.unwrap();
}

/// Reads everything and checks that each partition holds its own records of so many rounds.
async fn assert_holds(client: &Client, rounds: u32) {
    let starts: Vec<_> = all_partitions()
        .into_iter()
        .map(|partition| (partition, Offset::ZERO))
        .collect();
    let mut counts = BTreeMap::<TopicPartition, u32>::new();
    read(client, &starts, |partition, record| {
        let count = counts.entry(partition.clone()).or_default();
        assert_eq!(record.offset, Offset(i64::from(*count)));
        assert_eq!(
            record.value,
            format!("{partition} {count}"),
            "at {}",
            record.offset
        );
        *count += 1;
    })
    .await;
    assert_eq!(counts.len(), all_partitions().len());
    assert!(counts.values().all(|count| *count == rounds * RECORDS));
}

fn report(when: &str, server: &Server, site: &Site) {
    println!(
        "{when}: {} threads, {} open files, {} MiB of memory; {} files, {} MiB on the disk",
        threads(server.pid()),
        open_files(server.pid()),
        resident_bytes(server.pid()) >> 20,
        files_in(site.data_dir()).len(),
        allocated_bytes(site.data_dir()) >> 20,
    );
}

/// What must not grow with the partitions.
fn assert_small(server: &Server, site: &Site, threads_before: u64, open_files_before: usize) {
    let threads = threads(server.pid());
    assert!(
        threads <= threads_before + 20,
        "{threads} threads, {threads_before} without partitions"
    );
    let open = open_files(server.pid());
    assert!(
        open <= open_files_before + 50,
        "{open} open files, {open_files_before} without partitions"
    );
    let files = files_in(site.data_dir()).len();
    assert!(files < 200, "{files} files in the data directory");
    let memory = resident_bytes(server.pid());
    assert!(memory < 400 << 20, "{memory} bytes of memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_partitions_are_ordinary() {
    let mut site = Site::new()
        .flag("journal-file-size", "16MiB")
        .flag("settle-after-ms", "1000");
    let server = site.start();
    let client = server.client().await;
    let (threads_before, open_files_before) = (threads(server.pid()), open_files(server.pid()));
    report("at first", &server, &site);

    let started = Instant::now();
    for index in 0..TOPICS {
        client
            .create_topic(
                &NewTopic::new(topic(index)).partitions(partitions_of_each()),
                false,
            )
            .await
            .unwrap();
    }
    println!("created in {:?}", started.elapsed());
    let started = Instant::now();
    produce(&client, 0).await;
    println!("produced in {:?}", started.elapsed());
    report("with records", &server, &site);
    assert_small(&server, &site, threads_before, open_files_before);

    let started = Instant::now();
    assert_holds(&client, 1).await;
    println!("read in {:?}", started.elapsed());
    server.kill();

    let server = site.start();
    println!("after the kill it listens within {:?}", server.started_in());
    let client = server.client().await;
    assert_holds(&client, 1).await;
    // A second round, so that every partition is in several places; and time to settle it.
    produce(&client, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    report("settled", &server, &site);
    assert_small(&server, &site, threads_before, open_files_before);
    server.stop().assert_success();

    let server = site.start();
    println!(
        "after a stop in order it listens within {:?}",
        server.started_in()
    );
    let client = server.client().await;
    let started = Instant::now();
    assert_holds(&client, 2).await;
    println!("read from the disk in {:?}", started.elapsed());
    report("read from the disk", &server, &site);
    assert_small(&server, &site, threads_before, open_files_before);

    let started = Instant::now();
    for index in 0..TOPICS {
        client.delete_topic(&topic(index)).await.unwrap();
    }
    println!("deleted in {:?}", started.elapsed());
    assert!(client.topics().await.unwrap().is_empty());
    let gone = client.topic_offsets(&topic(0), OffsetSpec::Latest).await;
    assert!(gone.is_err(), "{gone:?}");
}
