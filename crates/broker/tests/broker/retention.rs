//! The settings that make room act on what is stored, also when they change, and deletion gives the disk back.

use std::time::Duration;

use super::*;

/// A store that settles and cleans as soon as it can.
pub(super) async fn eager() -> Server {
    Server::start_with(be_eager).await
}

/// Settles and cleans as soon as possible.
pub(super) fn be_eager(settings: &mut BrokerSettings) {
    settings.slot.settle_after = Duration::from_millis(20);
    settings.slot.settle_after_bytes = 64 << 10;
    settings.slot.housekeeping_interval = Duration::from_millis(20);
}

pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} has not happened in a minute");
}

async fn publish_much(server: &Server, partition: &PartitionHandle) {
    let value = "x".repeat(10_000);
    for _ in 0..100 {
        server.publish(partition, &[&value]).await;
    }
}

#[tokio::test]
async fn a_smaller_size_drops_old_records() {
    let server = eager().await;
    let partition = server.partition("a", &[("segment.bytes", "50000")]).await;
    publish_much(&server, &partition).await;
    assert_eq!(partition.offsets().log_start, Offset(0));
    server
        .broker
        .alter_topic(partition.topic().id(), &[set("retention.bytes", "300000")])
        .await
        .unwrap();
    eventually("retention by size", || {
        partition.offsets().log_start > Offset(50)
    })
    .await;
    assert!(
        partition.offsets().log_start <= Offset(75),
        "{:?} keeps too little",
        partition.offsets()
    );
}

#[tokio::test]
async fn a_shorter_time_drops_old_records() {
    let server = eager().await;
    let partition = server
        .partition(
            "a",
            &[
                ("segment.ms", "10"),
                ("message.timestamp.type", "LogAppendTime"),
            ],
        )
        .await;
    publish_much(&server, &partition).await;
    assert_eq!(partition.offsets().log_start, Offset(0));
    server
        .broker
        .alter_topic(partition.topic().id(), &[set("retention.ms", "1")])
        .await
        .unwrap();
    eventually("retention by time", || {
        partition.offsets().log_start > Offset(50)
    })
    .await;
}

#[tokio::test]
async fn retention_acts_after_a_restart() {
    let server = eager().await;
    let settings = [("segment.bytes", "50000"), ("retention.bytes", "300000")];
    let partition = server.partition("a", &settings).await;
    drop(partition);
    let directory = server.directory;
    server.broker.shutdown().await.unwrap();
    drop(server.broker);
    let mut settings = BrokerSettings::new(directory.path());
    settings.slot.settle_after = Duration::from_millis(20);
    settings.slot.housekeeping_interval = Duration::from_millis(20);
    let broker = Broker::open(settings, Env::real()).await.unwrap();
    let server = Server { broker, directory };
    let partition = server.broker.topic("a").unwrap().partition(0).unwrap();
    publish_much(&server, &partition).await;
    eventually("retention by size", || {
        partition.offsets().log_start > Offset(50)
    })
    .await;
}

#[tokio::test]
async fn a_deleted_topic_gives_the_disk_back() {
    let server = eager().await;
    let packs = server.directory.path().join("packs");
    let bytes_in_packs = || {
        let files = std::fs::read_dir(&packs).unwrap();
        files
            .map(|file| {
                file.unwrap()
                    .metadata()
                    .map_or(0, |metadata| metadata.len())
            })
            .sum::<u64>()
    };
    let partition = server.partition("a", &[]).await;
    publish_much(&server, &partition).await;
    eventually("settling", || bytes_in_packs() >= 1_000_000).await;
    server
        .broker
        .delete_topic(partition.topic().id())
        .await
        .unwrap();
    eventually("freeing the disk", || bytes_in_packs() < 100_000).await;
}

#[tokio::test]
async fn a_compacted_topic_keeps_the_latest_of_each_key() {
    let server = eager().await;
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "10"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    let partition = server.partition("a", &settings).await;
    publish_much(&server, &partition).await;
    server.publish(&partition, &["latest"]).await;
    eventually("compaction", || partition.size_bytes() < 100_000).await;
    let values = server.values(&partition, 0).await;
    assert_eq!(values.last().unwrap(), "latest");
}

#[tokio::test]
async fn a_memory_topic_keeps_what_retention_says() {
    let server = eager().await;
    let memory = ("millstream.durability", "memory");
    let by_size = server
        .partition("size", &[memory, ("retention.bytes", "300000")])
        .await;
    publish_much(&server, &by_size).await;
    eventually("retention by size", || {
        by_size.offsets().log_start >= Offset(70)
    })
    .await;
    assert!(
        by_size.offsets().log_start <= Offset(75),
        "{:?} keeps too little",
        by_size.offsets()
    );

    let by_time = server
        .partition(
            "time",
            &[memory, ("message.timestamp.type", "LogAppendTime")],
        )
        .await;
    publish_much(&server, &by_time).await;
    assert_eq!(by_time.offsets().log_start, Offset(0));
    server
        .broker
        .alter_topic(by_time.topic().id(), &[set("retention.ms", "1")])
        .await
        .unwrap();
    eventually("retention by time", || {
        by_time.offsets().log_start == Offset(100)
    })
    .await;
    server.publish(&by_time, &["100"]).await;
    assert_eq!(by_time.offsets().high_watermark, Offset(101));
}
