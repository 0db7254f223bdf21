//! Compaction against "the latest record of each key".

use proptest::prelude::*;

use super::*;

const DELETE_RETENTION_MS: i64 = 5_000;

fn policy() -> PartitionPolicy {
    PartitionPolicy {
        cleanup: Cleanup::Compact,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: DELETE_RETENTION_MS as u64,
        ..PartitionPolicy::default()
    }
}

/// A record with its place.
type Placed = (Offset, Plain);

fn records(batches: &[Batch]) -> Vec<Placed> {
    let records = batches.iter().flat_map(|batch| batch.records(1 << 20));
    records
        .map(|record| {
            let record = record.unwrap();
            let value = record.value.map(|value| value.to_vec());
            (
                record.offset,
                (record.key.unwrap().to_vec(), value, record.timestamp.0),
            )
        })
        .collect()
}

/// Checks what always holds of a compacted partition, however far compaction has come.
fn check(world: &World) {
    let written = records(&world.models[&PartitionId(0)].batches);
    let found = records(&world.read(0));
    assert!(
        found.iter().all(|record| written.contains(record)),
        "nothing is made up"
    );
    assert!(found.is_sorted_by_key(|(offset, _)| *offset));
    let mut latest: BTreeMap<&[u8], &Placed> = BTreeMap::new();
    for record in &written {
        latest.insert(&record.1.0, record);
    }
    for (key, record) in latest {
        let of_key: Vec<_> = found.iter().filter(|(_, plain)| plain.0 == key).collect();
        if of_key.last() == Some(&record) {
            continue;
        }
        // Only a tombstone may be missing, not before its time, and with all it deleted.
        let (_, (_, value, timestamp)) = record;
        assert!(
            value.is_none() && of_key.is_empty(),
            "{record:?} is lost, {of_key:?} is left"
        );
        assert!(world.now - timestamp >= DELETE_RETENTION_MS);
    }
    assert_eq!(
        world
            .manifests
            .packs()
            .end(PartitionId(0))
            .map_or(0, |end| end.0),
        world.models[&PartitionId(0)].end
    );
}

/// Checks that of each key one record is left.
fn check_compacted(world: &World) {
    let mut seen = BTreeSet::new();
    for (_, (key, ..)) in records(&world.read(0)) {
        assert!(seen.insert(key), "a key has two records");
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Keys, and whether each record is a tombstone.
    Append(Vec<(u8, bool)>),
    Settle(u64),
    Wait(i64),
    Housekeep(usize),
    Tidy,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => proptest::collection::vec((0u8..12, proptest::bool::weighted(0.2)), 1..10).prop_map(Step::Append),
        4 => (1u64..5_000).prop_map(Step::Settle),
        2 => (1i64..4_000).prop_map(Step::Wait),
        3 => (1usize..20).prop_map(Step::Housekeep),
        1 => Just(Step::Tidy),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn keeps_the_latest_of_each_key(
        steps in proptest::collection::vec(step(), 1..60),
        keys_max in prop_oneof![1usize..6, Just(1000)],
        payload in prop_oneof![Just(10usize), Just(900)],
        segment_bytes in 300u64..20_000,
        codec in prop_oneof![Just(Codec::None), Just(Codec::Lz4)],
    ) {
        let sizes = Sizes { compaction_keys_max: keys_max, ..SIZES };
        let mut world = World::with_sizes(1, sizes);
        world.create(0, PartitionPolicy { segment_bytes, ..policy() });
        // Another one in the same packs, which must not notice.
        world.create(1, PartitionPolicy::default());
        for step in steps {
            match step {
                Step::Append(keys) => {
                    world.now += 1;
                    let now = world.now;
                    let plain: Vec<_> = keys
                        .iter()
                        .map(|(key, tombstone)| {
                            let value = (!tombstone).then(|| vec![*key ^ now as u8; payload]);
                            (vec![*key], value, now)
                        })
                        .collect();
                    let base = Offset(world.log_end(0));
                    world.append(0, |_| {
                        with_records(BatchBuilder::new(codec).at(base, LeaderEpoch(3)), &plain)
                    });
                    world.append_bytes(1, 30);
                }
                Step::Settle(budget) => world.settle(budget).unwrap(),
                Step::Wait(ms) => world.now += ms,
                Step::Housekeep(steps) => world.housekeep(steps).unwrap(),
                Step::Tidy => {
                    world.tidy();
                    check_compacted(&world);
                }
                Step::Reopen => world.reopen(),
            }
            check(&world);
            world.check(1);
        }
        world.settle(1 << 20).unwrap();
        world.tidy();
        check_compacted(&world);
        // Tombstones have their horizon by now, and go when it has come.
        world.now += DELETE_RETENTION_MS + 1;
        world.tidy();
        check(&world);
        let left = records(&world.read(0));
        prop_assert!(left.iter().all(|(_, (_, value, _))| value.is_some()), "a tombstone is left: {:?}", left);
    }
}

fn world(policy: PartitionPolicy) -> World {
    let mut world = World::new(1);
    world.create(0, policy);
    world
}

fn append(world: &mut World, key: &str, value: Option<&str>) {
    let record = (
        key.as_bytes().to_vec(),
        value.map(|value| value.as_bytes().to_vec()),
        world.now,
    );
    world.append(0, |builder| with_records(builder, &[record]));
}

fn append_and_settle(world: &mut World, key: &str, value: Option<&str>) {
    append(world, key, value);
    world.settle(1 << 20).unwrap();
}

/// The keys and offsets that are left.
fn left(world: &World) -> Vec<(String, i64)> {
    let records = records(&world.read(0)).into_iter();
    records
        .map(|(offset, (key, ..))| (String::from_utf8(key).unwrap(), offset.0))
        .collect()
}

fn owned(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected
        .iter()
        .map(|(key, offset)| ((*key).to_owned(), *offset))
        .collect()
}

#[test]
fn the_dirty_ratio_decides_when() {
    let mut world = world(PartitionPolicy {
        min_cleanable_dirty_ratio: 0.5,
        ..policy()
    });
    for _ in 0..2 {
        append_and_settle(&mut world, "a", Some("1"));
        append_and_settle(&mut world, "b", Some("1"));
    }
    world.tidy();
    assert_eq!(left(&world), owned(&[("a", 2), ("b", 3)]));
    append_and_settle(&mut world, "a", Some("2"));
    world.tidy();
    assert_eq!(
        left(&world),
        owned(&[("a", 2), ("b", 3), ("a", 4)]),
        "a third is dirty"
    );
    append_and_settle(&mut world, "a", Some("3"));
    append_and_settle(&mut world, "a", Some("4"));
    world.tidy();
    assert_eq!(left(&world), owned(&[("b", 3), ("a", 6)]));
}

#[test]
fn a_record_stays_for_its_minimum_lag_and_waits_no_longer_than_its_maximum() {
    let mut world = world(PartitionPolicy {
        min_compaction_lag_ms: 100,
        max_compaction_lag_ms: 1_000,
        min_cleanable_dirty_ratio: 0.9,
        ..policy()
    });
    append_and_settle(&mut world, "a", Some("1"));
    append_and_settle(&mut world, "a", Some("2"));
    world.now += 99;
    world.tidy();
    assert_eq!(left(&world), owned(&[("a", 0), ("a", 1)]), "too young");
    world.now += 1;
    world.tidy();
    assert_eq!(left(&world), owned(&[("a", 1)]));

    append_and_settle(&mut world, "a", Some("3"));
    world.now += 1_000;
    world.tidy();
    assert_eq!(
        left(&world),
        owned(&[("a", 1), ("a", 2)]),
        "not dirty enough"
    );
    world.now += 1;
    world.tidy();
    assert_eq!(left(&world), owned(&[("a", 2)]));
}

#[test]
fn compaction_stops_at_the_last_stable_offset() {
    let mut world = world(policy());
    world.facts(0).last_stable = Offset(2);
    for value in ["1", "2", "3", "4"] {
        append_and_settle(&mut world, "a", Some(value));
    }
    world.tidy();
    assert_eq!(left(&world), owned(&[("a", 1), ("a", 2), ("a", 3)]));
}

#[test]
fn what_lies_before_the_log_start_goes_too() {
    let mut world = world(policy());
    for key in ["a", "b", "c"] {
        append_and_settle(&mut world, key, Some("1"));
    }
    world.facts(0).log_start = Offset(1);
    world.tidy();
    assert_eq!(left(&world), owned(&[("b", 1), ("c", 2)]));
}

#[test]
fn the_end_of_the_partition_is_not_forgotten() {
    let mut world = world(policy());
    append_and_settle(&mut world, "a", Some("1"));
    append_and_settle(&mut world, "a", None);
    world.tidy();
    world.now += DELETE_RETENTION_MS + 1;
    world.tidy();
    assert_eq!(left(&world), []);
    // What is left of the last batch takes readers to the end.
    let last_offsets = |world: &World| -> Vec<Offset> {
        let batches = world.read(0);
        batches
            .iter()
            .map(|batch| batch.header.last_offset())
            .collect()
    };
    assert_eq!(last_offsets(&world), [Offset(1)]);
    assert_eq!(world.manifests.packs().end(PartitionId(0)), Some(Offset(2)));
    world.reopen();
    world.tidy();
    assert_eq!(last_offsets(&world), [Offset(1)]);
    append_and_settle(&mut world, "a", Some("3"));
    world.tidy();
    assert_eq!(left(&world), owned(&[("a", 2)]));
    assert_eq!(last_offsets(&world), [Offset(2)]);
}

#[test]
fn an_active_producers_last_batch_leaves_its_header() {
    let mut world = world(policy());
    let now = world.now;
    let record = (b"a".to_vec(), Some(b"1".to_vec()), now);
    for producer in [7, 8] {
        world.append(0, |builder| {
            let builder = builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(4));
            with_records(builder, std::slice::from_ref(&record))
        });
    }
    world.append(0, |builder| with_records(builder, &[record]));
    world.settle(1 << 20).unwrap();
    world.view.last_batches.insert(ProducerId(7), Offset(0));
    world.tidy();
    let batches = world.read(0);
    assert_eq!(batches.len(), 2);
    let header = batches[0].header;
    assert_eq!(
        (header.producer_id, header.base_sequence),
        (ProducerId(7), Sequence(4))
    );
    assert_eq!((header.record_count, header.last_offset()), (0, Offset(0)));
    assert_eq!(left(&world), owned(&[("a", 2)]));

    // Once the producer is forgotten, so is the batch.
    world.view.last_batches.clear();
    append_and_settle(&mut world, "a", Some("2"));
    world.tidy();
    assert_eq!(world.read(0).len(), 1);
}

#[test]
fn control_batches_stay() {
    let mut world = world(policy());
    append(&mut world, "a", Some("1"));
    let now = world.now;
    world.append(0, |builder| {
        let marker = (vec![0, 0, 0, 1], Some(vec![0; 6]), now);
        with_records(builder.transactional().control(), &[marker])
    });
    append_and_settle(&mut world, "a", Some("2"));
    world.tidy();
    let offsets: Vec<_> = world
        .read(0)
        .iter()
        .map(|batch| batch.header.base_offset.0)
        .collect();
    assert_eq!(offsets, [1, 2]);
}
