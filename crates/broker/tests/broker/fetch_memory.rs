//! What readers have fetched and not let go of is bounded, and no reader is stuck for it.

use std::time::Duration;

use millstream_broker::streams::{FetchPart, FetchedPart};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(200);
const MIB: usize = 1 << 20;

/// A broker on which readers share `mib` MiB, and a topic of two partitions with 40 batches of 250,000 bytes each, in
/// memory or in packs.
async fn server(mib: usize, settled: bool) -> (Server, Vec<PartitionHandle>) {
    let mut server = Server::start_with(|settings| settings.read_memory_bytes = mib * MIB).await;
    let topic = server
        .topic("a", 2, &[("max.message.bytes", "20000000")])
        .await;
    let value = "x".repeat(250_000);
    for partition in topic.partitions() {
        server.publish(&partition, &[&*value; 40]).await;
    }
    drop(topic);
    if settled {
        server.broker.shutdown().await.unwrap();
        let mut settings = BrokerSettings::new(server.directory.path());
        settings.read_memory_bytes = mib * MIB;
        drop(server.broker);
        server = Server {
            broker: Broker::open(settings, Env::real()).await.unwrap(),
            directory: server.directory,
        };
    }
    let partitions = server.broker.topic("a").unwrap().partitions();
    (server, partitions)
}

fn all_of(partitions: &[PartitionHandle], min_bytes: usize) -> FetchSpec {
    FetchSpec {
        parts: partitions
            .iter()
            .map(|partition| FetchPart::of(partition, Offset(0), 50 * MIB))
            .collect(),
        max_bytes: 50 * MIB,
        min_bytes,
        ..FetchSpec::of(&partitions[0], Offset(0)).waiting(LONG)
    }
}

fn size(parts: &[FetchedPart]) -> usize {
    let found = parts.iter().map(|part| part.result.as_ref().unwrap());
    found
        .flat_map(|fetched| &fetched.slices)
        .map(Bytes::len)
        .sum()
}

#[tokio::test]
async fn answers_get_smaller_and_then_wait_for_those_before_them() {
    for settled in [false, true] {
        let (server, partitions) = server(16, settled).await;
        let mut answers = Vec::new();
        let waiting = loop {
            let broker = server.broker.clone();
            let spec = all_of(&partitions, 1);
            let mut fetching = tokio::spawn(async move { broker.fetch(spec).await });
            match tokio::time::timeout(SOON, &mut fetching).await {
                Ok(answer) => answers.push(answer.unwrap()),
                Err(_) => break fetching,
            }
        };
        let sizes: Vec<_> = answers.iter().map(|answer| size(answer)).collect();
        assert!(sizes.iter().sum::<usize>() <= 16 * MIB, "{sizes:?}");
        assert!(sizes[0] > 3 * MIB, "{sizes:?}");
        assert!(
            sizes.len() >= 8 && sizes.iter().all(|size| *size >= 250_000),
            "{sizes:?}"
        );
        assert!(server.broker.readers_wait());
        assert!(!waiting.is_finished());

        // As soon as there is room again it is served, and so is everybody else.
        answers.clear();
        let answer = waiting.await.unwrap();
        assert!(size(&answer) > 500_000);
        assert!(!server.broker.readers_wait());
        drop(answer);
        assert!(size(&server.broker.fetch(all_of(&partitions, 1)).await) > 3 * MIB);
    }
}

#[tokio::test]
async fn a_batch_larger_than_all_bounds_is_still_read() {
    for settled in [false, true] {
        let (server, partitions) = server(4, settled).await;
        let large = "x".repeat(6 * MIB);
        server
            .append(&partitions[0], batch(&[&large]))
            .await
            .unwrap();
        let mut from_large = all_of(&partitions, 1);
        from_large.parts[0].from = Offset(40);

        let held = server.broker.fetch(all_of(&partitions, 1)).await;
        let broker = server.broker.clone();
        let spec = from_large.clone();
        let mut fetching = tokio::spawn(async move { broker.fetch(spec).await });
        assert!(tokio::time::timeout(SOON, &mut fetching).await.is_err());
        drop(held);
        let answer = fetching.await.unwrap();
        assert!(size(&answer) > 6 * MIB);
        // It took all there is.
        let other = server.broker.fetch(all_of(&partitions, 1));
        assert!(tokio::time::timeout(SOON, other).await.is_err());
        drop(answer);
        assert!(size(&server.broker.fetch(from_large).await) > 6 * MIB);
    }
}

#[tokio::test]
async fn who_waits_for_more_bytes_gives_way_to_who_waits_for_memory() {
    let (server, partitions) = server(2, false).await;
    let quiet = server.partition("quiet", &[]).await;
    server.publish(&quiet, &["x"]).await;
    // It holds a little and would wait for a minute.
    let mut patient = all_of(&[quiet], 50 * MIB);
    patient.parts[0].max_bytes = 50 * MIB;
    let broker = server.broker.clone();
    let mut patient = tokio::spawn(async move { broker.fetch(patient).await });
    assert!(tokio::time::timeout(SOON, &mut patient).await.is_err());

    let mut answers = Vec::new();
    let mut fetches = 0;
    while !patient.is_finished() {
        fetches += 1;
        assert!(fetches < 20, "it holds on to its memory");
        let fetching = server.broker.fetch(all_of(&partitions, 1));
        answers.extend(tokio::time::timeout(SOON, fetching).await);
    }
    assert!(size(&patient.await.unwrap()) > 0);
}

#[tokio::test]
async fn records_are_read_in_order_however_little_memory_there_is() {
    let (server, partitions) = server(1, true).await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (broker, partition) = (server.broker.clone(), partitions[0].clone());
        readers.spawn(async move {
            let mut next = 0;
            while next < 40 {
                let spec = FetchSpec {
                    parts: vec![FetchPart::of(&partition, Offset(next), 10 * MIB)],
                    max_bytes: 10 * MIB,
                    ..FetchSpec::of(&partition, Offset(next))
                };
                let fetched = broker.fetch(spec).await.remove(0).result.unwrap();
                for batch in fetched.batches() {
                    assert_eq!(batch.unwrap().header.base_offset, Offset(next));
                    next += 1;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let all = tokio::time::timeout(LONG, readers.join_all());
    assert_eq!(all.await.expect("no reader is stuck").len(), 6);
}
