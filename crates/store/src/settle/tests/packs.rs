//! Settling, merging, reclaiming and dropping keep what they should and give back the rest.

use proptest::prelude::*;

use super::*;

fn pack_count(world: &World) -> usize {
    world.manifests.current().packs.len()
}

#[derive(Debug, Clone)]
enum Step {
    Append(u32, Vec<usize>),
    Settle(u64),
    Trim(u32, i64),
    Drop(u32),
    Housekeep(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0u32..5;
    prop_oneof![
        8 => (partition.clone(), proptest::collection::vec(1usize..1500, 1..8))
            .prop_map(|(partition, sizes)| Step::Append(partition, sizes)),
        4 => (1u64..20_000).prop_map(Step::Settle),
        2 => (partition.clone(), 0i64..30).prop_map(|(partition, back)| Step::Trim(partition, back)),
        1 => partition.prop_map(Step::Drop),
        3 => (1usize..30).prop_map(Step::Housekeep),
        1 => Just(Step::Reopen),
    ]
}

fn policies() -> impl Strategy<Value = Vec<PartitionPolicy>> {
    let policy = (500u64..50_000, 1u64..100_000, 1u32..5000).prop_map(|(bytes, ms, interval)| {
        PartitionPolicy {
            segment_bytes: bytes,
            segment_ms: ms,
            index_interval_bytes: interval,
            ..PartitionPolicy::default()
        }
    });
    proptest::collection::vec(policy, 5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn nothing_is_lost(
        policies in policies(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(1);
        for (partition, policy) in policies.iter().enumerate() {
            world.create(partition as u32, *policy);
        }
        for step in steps {
            match step {
                Step::Append(partition, sizes) => {
                    if !world.view.is_dropped(PartitionId(partition)) {
                        for size in sizes {
                            world.now += 7;
                            world.append_bytes(partition, size);
                        }
                    }
                }
                Step::Settle(budget) => world.settle(budget).unwrap(),
                Step::Trim(partition, back) => {
                    let end = world.models[&PartitionId(partition)].end;
                    let facts = world.facts(partition);
                    facts.log_start = facts.log_start.max(Offset(end - back));
                }
                Step::Drop(partition) => {
                    world.tails.remove(&PartitionId(partition));
                    world.view.dropped.insert(PartitionId(partition));
                }
                Step::Housekeep(steps) => world.housekeep(steps).unwrap(),
                Step::Reopen => world.reopen(),
            }
            for partition in 0..5 {
                if !world.view.is_dropped(PartitionId(partition)) {
                    world.check(partition);
                }
            }
        }
        world.tidy();
        let mut live = 0;
        for partition in 0..5 {
            let id = PartitionId(partition);
            if world.view.is_dropped(id) {
                prop_assert!(world.manifests.packs().ranges(id).is_empty());
            } else {
                world.check(partition);
                live += world.wanted(partition).iter().map(|batch| batch.bytes.len() as u64).sum::<u64>();
            }
        }
        // Packs are at most half dead, beside what a pack costs in itself.
        let packs = pack_count(&world) as u64;
        let allowed = 3 * live + packs * (SIZES.reclaim_min + 16 * 1024);
        prop_assert!(world.manifests.current().size_bytes() <= allowed);
    }
}

#[test]
fn quiet_partitions_share_a_pack_and_a_busy_one_gets_its_own() {
    let mut world = World::new(1);
    for partition in 0..50 {
        world.create(partition, PartitionPolicy::default());
        world.append_bytes(partition, 50);
    }
    for _ in 0..20 {
        world.append_bytes(7, 1000);
    }
    world.settle(1 << 20).unwrap();
    let packs: Vec<_> = world.manifests.current().packs.values().cloned().collect();
    assert_eq!(packs.len(), 2);
    let ranges: Vec<_> = packs.iter().map(|pack| pack.ranges.len()).collect();
    assert_eq!(ranges, [1, 49]);
    assert_eq!(packs[0].ranges[0].partition, PartitionId(7));
    world.tidy();
    assert_eq!(pack_count(&world), 2, "there is nothing to merge");
}

#[test]
fn small_packs_are_merged_and_each_byte_is_rewritten_a_few_times() {
    let mut world = World::new(1);
    for partition in 0..10 {
        world.create(partition, PartitionPolicy::default());
    }
    let mut written = 0;
    let mut settled = 0;
    for _ in 0..64 {
        for partition in 0..10 {
            let batch = world.append_bytes(partition, 40);
            settled += batch.bytes.len() as u64;
        }
        world.settle(1 << 20).unwrap();
        let before: BTreeSet<_> = world.manifests.current().packs.keys().copied().collect();
        world.tidy();
        let packs = world.manifests.current().packs.values();
        let new = packs.filter(|pack| !before.contains(&pack.id));
        written += new
            .flat_map(|pack| &pack.ranges)
            .map(|range| range.bytes)
            .sum::<u64>();
        assert!(pack_count(&world) <= 24, "{} packs", pack_count(&world));
    }
    assert!(
        written <= 3 * settled,
        "{written} bytes rewritten for {settled} settled"
    );
    for partition in 0..10 {
        world.check(partition);
        let ranges = world.manifests.packs().ranges(PartitionId(partition));
        assert!(ranges.len() < 20, "neighbours become one range");
    }
}

#[test]
fn merging_separates_what_has_grown_large() {
    let mut world = World::new(1);
    for partition in 0..3 {
        world.create(partition, PartitionPolicy::default());
    }
    for _ in 0..16 {
        for partition in 0..3 {
            world.append_bytes(partition, if partition == 1 { 2000 } else { 20 });
        }
        world.settle(1 << 20).unwrap();
        world.tidy();
    }
    let packs = world.manifests.current().packs.values();
    let own = packs.filter(|pack| {
        pack.ranges
            .iter()
            .all(|range| range.partition == PartitionId(1))
    });
    assert!(own.count() > 0);
    (0..3).for_each(|partition| world.check(partition));
}

#[test]
fn ranges_stay_within_what_retention_drops_at_once() {
    let mut world = World::new(1);
    let policy = PartitionPolicy {
        retention_ms: Some(80_000),
        retention_bytes: Some(64_000),
        ..PartitionPolicy::default()
    };
    world.create(0, policy);
    for _ in 0..100 {
        world.now += 500;
        world.append_bytes(0, 300);
        if world.now % 2000 == 0 {
            world.settle(1 << 20).unwrap();
            world.tidy();
        }
    }
    for placed in world.manifests.packs().ranges(PartitionId(0)) {
        let range = placed.range;
        assert!(range.bytes <= 8_000, "{range:?}");
        assert!(
            range.max_timestamp.0 - range.first_timestamp.0 <= 10_000,
            "{range:?}"
        );
    }
    world.check(0);
}

#[test]
fn a_partition_that_is_merely_unknown_keeps_all_it_has() {
    let mut world = World::new(1);
    for partition in 0..4 {
        world.create(partition, PartitionPolicy::default());
    }
    for _ in 0..10 {
        for partition in 0..4 {
            world.append_bytes(partition, 900);
        }
        world.settle(1 << 20).unwrap();
    }
    let facts = std::mem::take(&mut world.view.facts);
    world.tidy();
    assert_eq!(
        expired(
            world.manifests.current(),
            &world.view,
            TimestampMs(i64::MAX)
        ),
        []
    );
    world.view.facts = facts;
    (0..4).for_each(|partition| world.check(partition));
}

#[test]
fn a_damaged_pack_is_left_alone_and_the_rest_goes_on() {
    let mut world = World::new(1);
    for partition in 0..2 {
        world.create(partition, PartitionPolicy::default());
    }
    for _ in 0..8 {
        world.append_bytes(0, 300);
        world.append_bytes(1, 300);
        world.settle(1 << 20).unwrap();
    }
    let damaged = *world.manifests.current().packs.keys().nth(3).unwrap();
    let path = format!("/data/packs/{}", crate::pack::blob_name(damaged));
    let mount = world.disk.mount();
    let file = mount
        .open(Path::new(&path), millstream_env::Access::ReadWrite)
        .unwrap();
    file.write_at(&[0xff; 8], 64 + 100).unwrap();
    world.tidy();
    assert_eq!(world.housekeeper.damaged().collect::<Vec<_>>(), [damaged]);
    assert!(world.manifests.current().packs.contains_key(&damaged));
    for _ in 0..8 {
        world.append_bytes(0, 300);
        world.settle(1 << 20).unwrap();
    }
    world.tidy();
    assert!(pack_count(&world) < 10, "the others are merged");
    let last = world.wanted(0).last().unwrap().clone();
    let read =
        world
            .manifests
            .packs()
            .read(PartitionId(0), last.header.base_offset, 1, Offset(i64::MAX));
    assert_eq!(read.unwrap().run().unwrap().unwrap(), last.bytes);
}

#[test]
fn a_pack_that_cannot_be_read_for_a_while_is_merged_after_it() {
    let mut world = World::new(1);
    world.create(0, PartitionPolicy::default());
    for _ in 0..8 {
        world.append_bytes(0, 300);
        world.settle(1 << 20).unwrap();
    }
    let pack = *world.manifests.current().packs.keys().nth(3).unwrap();
    let path = format!("/data/packs/{}", crate::pack::blob_name(pack));
    let path = Path::new(&path);
    world.disk.lose_sectors(path, 0, 4096).unwrap();
    world.tidy();
    assert_eq!(world.housekeeper.damaged().count(), 0);
    assert!(world.manifests.current().packs.contains_key(&pack));
    world.disk.find_sectors(path).unwrap();
    world.now += 1;
    world.tidy();
    assert!(
        world.manifests.current().packs.contains_key(&pack),
        "it waits"
    );
    world.now += 60_000;
    for _ in 0..8 {
        world.append_bytes(0, 300);
        world.settle(1 << 20).unwrap();
    }
    world.tidy();
    assert!(!world.manifests.current().packs.contains_key(&pack));
    world.check(0);
}

#[test]
fn a_trim_inside_a_batch_is_not_chased_for_ever() {
    let mut world = World::new(1);
    world.create(0, PartitionPolicy::default());
    let now = world.now;
    world.append(0, |builder| {
        let record = (b"key".to_vec(), Some(vec![b'x'; 300]), now);
        with_records(builder, &vec![record; 100])
    });
    world.settle(1 << 20).unwrap();
    for log_start in [60, 61, 62, 95, 99] {
        world.facts(0).log_start = Offset(log_start);
        world.tidy();
        world.check(0);
    }
    world.facts(0).log_start = Offset(100);
    world.tidy();
    assert_eq!(pack_count(&world), 0);
}

/// A partition whose log start moves on each time that somebody asks.
struct Trimmed {
    view: View,
    log_starts: std::cell::RefCell<Vec<Offset>>,
}

impl SlotView for Trimmed {
    fn facts(&self, partition: PartitionId) -> Option<PartitionFacts> {
        let log_start = self.log_starts.borrow_mut().pop();
        let facts = self.view.facts(partition)?;
        Some(PartitionFacts {
            log_start: log_start.unwrap_or(facts.log_start),
            ..facts
        })
    }

    fn is_dropped(&self, partition: PartitionId) -> bool {
        self.view.is_dropped(partition)
    }

    fn last_batches(&self, partition: PartitionId) -> HashMap<ProducerId, Offset> {
        self.view.last_batches(partition)
    }

    fn compacted(&self, partition: PartitionId, end: Offset) {
        self.view.compacted(partition, end);
    }
}

#[test]
fn a_trim_while_a_rewrite_is_planned_covers_nothing_twice() {
    let mut world = World::new(1);
    world.create(0, PartitionPolicy::default());
    let mut ends = Vec::new();
    for _ in 0..2 {
        for _ in 0..10 {
            world.append_bytes(0, 2_000);
        }
        world.settle(1 << 20).unwrap();
        ends.push(world.manifests.packs().end(PartitionId(0)).unwrap());
    }
    // First nothing is dead; when it is asked again, the first pack is, and a part of what the second covers.
    let view = Trimmed {
        view: world.view.clone(),
        log_starts: vec![ends[0] + 1, ends[0] + 1, Offset(0)].into(),
    };
    world.facts(0).log_start = ends[0] + 1;
    for _ in 0..10 {
        let now = world.now();
        world
            .housekeeper
            .step(&mut world.manifests, &view, now, Space::AMPLE, 1 << 20)
            .unwrap();
    }
    world.check(0);
}

#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let mut world = World::new(1);
    world.create(0, PartitionPolicy::default());
    world.append_bytes(0, 20_000);
    world.settle(1 << 20).unwrap();
    let before = world.manifests.current().clone();
    world.disk.set_capacity(1);
    world.append_bytes(0, 20_000);
    let (sealed, now) = (world.sealed(), world.now());
    let mut job = SettleJob::new(&world.manifests, sealed, JournalPosition(9), now, SIZES);
    let error = loop {
        match job.step(&mut world.manifests, 4096) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => panic!("there was no room"),
            Err(error) => break error,
        }
    };
    assert!(error.is_want_of_room(), "{error}");
    job.abandon(&mut world.manifests);
    assert_eq!(world.manifests.current(), &before);
    world.disk.set_capacity(1 << 30);
    world.settle(1 << 20).unwrap();
    world.check(0);
    world.reopen();
    world.check(0);
}
