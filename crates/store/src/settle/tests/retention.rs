//! Retention against Kafka's rule, told range by range.

use proptest::prelude::*;

use super::*;

/// Where the log should start, by looking at one range after another.
fn model(world: &World, partition: u32, now: i64) -> Offset {
    let facts = world.view.facts[&PartitionId(partition)];
    let policy = facts.policy;
    let ranges = world.manifests.packs().ranges(PartitionId(partition));
    let mut log_start = facts.log_start;
    for placed in &ranges {
        let range = placed.range;
        if range.end <= log_start {
            continue;
        }
        let rest = ranges.iter().filter(|other| other.range.end > log_start);
        let bytes: u64 = rest.map(|other| other.range.bytes).sum();
        let old = policy
            .retention_ms
            .is_some_and(|kept| now - range.max_timestamp.0 > kept as i64);
        let much = policy
            .retention_bytes
            .is_some_and(|kept| bytes + facts.tail_bytes - range.bytes >= kept);
        if !old && !much {
            break;
        }
        log_start = range.end;
    }
    log_start
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn drops_what_the_rule_says(
        rounds in proptest::collection::vec((1usize..5, 0i64..400), 1..8),
        retention_ms in proptest::option::of(0u64..1500),
        retention_bytes in proptest::option::of(0u64..4000),
        tail_bytes in 0u64..500,
        later in 0i64..1000,
        log_start in 0i64..6,
    ) {
        let mut world = World::new(1);
        world.create(0, PartitionPolicy { retention_ms, retention_bytes, ..PartitionPolicy::default() });
        for (batches, pause) in rounds {
            for _ in 0..batches {
                world.append_bytes(0, 200);
            }
            world.now += pause;
            world.settle(1 << 20).unwrap();
        }
        world.facts(0).tail_bytes = tail_bytes;
        let end = world.models[&PartitionId(0)].end;
        world.facts(0).log_start = Offset(log_start.min(end));
        let now = world.now + later;
        let expected = model(&world, 0, now);
        let moves = expired(world.manifests.current(), &world.view, TimestampMs(now));
        let moved = moves.first().map_or(world.facts(0).log_start, |(_, offset)| *offset);
        prop_assert_eq!(moved, expected);

        // What is kept is kept: no record young enough, and no less than the size to keep.
        let kept: Vec<_> = world
            .wanted(0)
            .into_iter()
            .filter(|batch| batch.header.last_offset() >= moved)
            .collect();
        let gone = |batch: &&Batch| batch.header.last_offset() < moved;
        if retention_bytes.is_none() {
            let young = now - retention_ms.unwrap_or(u64::MAX >> 1) as i64;
            let dropped_young = world.wanted(0).iter().filter(gone).any(|batch| batch.header.max_timestamp.0 >= young);
            prop_assert!(!dropped_young);
        }
        if let (Some(bytes), None, true) = (retention_bytes, retention_ms, moved > world.facts(0).log_start) {
            let kept: u64 = kept.iter().map(|batch| batch.bytes.len() as u64).sum();
            prop_assert!(kept + tail_bytes >= bytes);
        }

        // Once committed, the disk comes back.
        world.facts(0).log_start = moved;
        world.tidy();
        world.check(0);
        for placed in world.manifests.packs().ranges(PartitionId(0)) {
            prop_assert!(placed.range.end > moved);
        }
        prop_assert_eq!(expired(world.manifests.current(), &world.view, TimestampMs(now)), []);
    }
}

#[test]
fn compacted_partitions_only_expire_if_they_also_delete() {
    for (cleanup, expected) in [
        (Cleanup::Compact, None),
        (Cleanup::CompactAndDelete, Some(Offset(1))),
        (Cleanup::Delete, Some(Offset(1))),
    ] {
        let mut world = World::new(1);
        world.create(
            0,
            PartitionPolicy {
                cleanup,
                retention_ms: Some(10),
                ..PartitionPolicy::default()
            },
        );
        world.append_bytes(0, 10);
        world.settle(1 << 20).unwrap();
        let now = TimestampMs(world.now + 11);
        let moves = expired(world.manifests.current(), &world.view, now);
        assert_eq!(moves.first().map(|(_, offset)| *offset), expected);
    }
}

#[test]
fn records_without_timestamps_are_as_old_as_their_pack() {
    let mut world = World::new(1);
    world.create(
        0,
        PartitionPolicy {
            retention_ms: Some(10),
            ..PartitionPolicy::default()
        },
    );
    world.append(0, |builder| {
        with_records(builder, &[(b"key".to_vec(), None, -1)])
    });
    world.settle(1 << 20).unwrap();
    let moves = |later| {
        expired(
            world.manifests.current(),
            &world.view,
            TimestampMs(world.now + later),
        )
    };
    assert_eq!(moves(10), []);
    assert_eq!(moves(11), [(PartitionId(0), Offset(1))]);
}
