//! However records are cut into batches and reads into pieces, a reader that goes on where it stopped sees each record
//! once and in order.

use millstream_broker::streams::FetchPart;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Per partition, the record counts and value sizes of its batches.
type Layout = Vec<Vec<(usize, usize)>>;

fn layout() -> impl Strategy<Value = Layout> {
    let batch = (1..6_usize, 0..2_000_usize);
    proptest::collection::vec(proptest::collection::vec(batch, 0..12), 1..4)
}

#[test]
fn every_record_is_read_once_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Server::start());
    let mut runner = TestRunner::new(Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    });
    let cases = (layout(), 0..6_000_usize, 0..6_000_usize, any::<bool>());
    runner
        .run(&cases, |(layout, max_bytes, part_bytes, memory)| {
            runtime.block_on(check(&server, &layout, max_bytes, part_bytes, memory));
            Ok(())
        })
        .unwrap();
}

async fn check(
    server: &Server,
    layout: &Layout,
    max_bytes: usize,
    part_bytes: usize,
    memory: bool,
) {
    let kind: &[(&str, &str)] = if memory {
        &[("millstream.durability", "memory")]
    } else {
        &[("millstream.durability", "os")]
    };
    let topic = server.topic("model", layout.len() as u32, kind).await;
    let partitions = topic.partitions();
    let mut written = vec![Vec::new(); layout.len()];
    for (partition, batches) in partitions.iter().zip(layout) {
        for &(count, size) in batches {
            let log = &mut written[partition.index() as usize];
            let values: Vec<_> = (0..count)
                .map(|n| format!("{}:{}", log.len() + n, "x".repeat(size)))
                .collect();
            let borrowed: Vec<_> = values.iter().map(String::as_str).collect();
            server.append(partition, batch(&borrowed)).await.unwrap();
            log.extend(values);
        }
    }

    let mut read = vec![Vec::new(); layout.len()];
    let mut rounds = 0;
    while read.iter().map(Vec::len).sum::<usize>() < written.iter().map(Vec::len).sum::<usize>() {
        rounds += 1;
        assert!(rounds < 500, "a round without progress");
        // The order rotates, as clients do it.
        let order = (0..partitions.len()).map(|n| (n + rounds) % partitions.len());
        let parts = order
            .map(|n| FetchPart::of(&partitions[n], Offset(read[n].len() as i64), part_bytes))
            .collect();
        let spec = FetchSpec {
            parts,
            max_bytes,
            ..FetchSpec::of(&partitions[0], Offset(0))
        };
        let fetched = server.broker.fetch(spec).await;
        let total: usize = fetched
            .iter()
            .flat_map(|part| &part.result.as_ref().unwrap().slices)
            .map(Bytes::len)
            .sum();
        let batches: usize = fetched
            .iter()
            .map(|part| part.result.as_ref().unwrap().batches().count())
            .sum();
        assert!(
            total <= max_bytes || batches == 1,
            "{total} bytes in {batches} batches, {max_bytes} allowed"
        );
        for part in &fetched {
            read[part.partition.index() as usize].extend(values(part.result.as_ref().unwrap()));
        }
    }
    assert_eq!(read, written);
    server.broker.delete_topic(topic.id()).await.unwrap();
}
