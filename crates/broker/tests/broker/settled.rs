//! What the store has moved to the disk behaves as what it still holds in memory.

use std::time::Duration;

use millstream_broker::streams::{Isolation, OffsetQuery};

use super::*;

/// A restart in order leaves everything in packs and nothing in memory.
#[tokio::test]
async fn packs_are_read_as_tails_are() {
    let server = Server::start().await;
    let topic = server.topic("a", 3, &[]).await;
    let value = "x".repeat(5_000);
    for n in 0..40 {
        for partition in topic.partitions() {
            let time = TimestampMs(1_000 + n);
            let values = [format!("{n} a {value}"), format!("{n} b {value}")];
            server
                .append(&partition, batch_at(time, &[&values[0], &values[1]]))
                .await
                .unwrap();
        }
    }
    let look = async |server: &Server| {
        let partition = server.broker.topic("a").unwrap().partition(1).unwrap();
        let mut read = Vec::new();
        while read.len() < 80 {
            let more = server.values(&partition, read.len() as i64).await;
            assert!(!more.is_empty());
            read.extend(more);
        }
        let mut found = Vec::new();
        for query in [
            OffsetQuery::Earliest,
            OffsetQuery::Latest,
            OffsetQuery::MaxTimestamp,
            OffsetQuery::Since(TimestampMs(1_020)),
            OffsetQuery::Since(TimestampMs(2_000)),
        ] {
            let at = server
                .broker
                .offset_at(&partition, query, None, Isolation::default())
                .await
                .unwrap();
            found.push(at.map(|at| (at.offset, at.timestamp)));
        }
        (read, found)
    };
    let before = look(&server).await;
    assert_eq!(
        before.1[2..],
        [
            Some((Offset(78), TimestampMs(1_039))),
            Some((Offset(40), TimestampMs(1_020))),
            None
        ]
    );
    drop(topic);
    let server = server.restart().await;
    assert_eq!(look(&server).await, before);
}

/// A fetch that begins on the disk and ends in memory, and one that finds one partition here and the other there.
#[tokio::test]
async fn one_fetch_reads_from_disk_and_memory() {
    let server = Server::start().await;
    let topic = server.topic("a", 2, &[]).await;
    for partition in topic.partitions() {
        server.publish(&partition, &["0", "1"]).await;
    }
    drop(topic);
    let server = server.restart().await;
    let partitions = server.broker.topic("a").unwrap().partitions();
    server.publish(&partitions[0], &["2"]).await;
    let parts = partitions
        .iter()
        .map(|partition| millstream_broker::streams::FetchPart::of(partition, Offset(0), 1 << 20))
        .collect();
    let spec = FetchSpec {
        parts,
        min_bytes: 1 << 20,
        max_wait: Duration::from_millis(50),
        ..FetchSpec::of(&partitions[0], Offset(0))
    };
    let fetched = server.broker.fetch(spec).await;
    assert_eq!(values(fetched[0].result.as_ref().unwrap()), ["0", "1", "2"]);
    assert_eq!(values(fetched[1].result.as_ref().unwrap()), ["0", "1"]);
}
