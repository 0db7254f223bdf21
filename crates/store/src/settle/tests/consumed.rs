//! What queues have finished goes, batch by batch, and nothing else does.

use std::ops::Range;

use millstream_record::emptied;
use proptest::prelude::*;

use super::*;

fn consumed() -> PartitionPolicy {
    PartitionPolicy {
        consumed: true,
        segment_bytes: 4000,
        ..PartitionPolicy::default()
    }
}

/// The ranges of a set of offsets.
fn ranges(offsets: &BTreeSet<i64>) -> Finished {
    let mut ranges: Vec<Range<Offset>> = Vec::new();
    for &offset in offsets {
        match ranges.last_mut() {
            Some(last) if last.end.0 == offset => last.end = Offset(offset + 1),
            _ => ranges.push(Offset(offset)..Offset(offset + 1)),
        }
    }
    ranges.into()
}

fn append(world: &mut World, partition: u32, records: usize) {
    let now = world.now;
    world.append(partition, |builder| {
        let record = (b"key".to_vec(), Some(vec![b'x'; 150]), now);
        with_records(builder, &vec![record; records])
    });
}

fn is_finished(batch: &Batch, finished: &BTreeSet<i64>) -> bool {
    let header = &batch.header;
    (header.base_offset.0..header.next_offset().0).all(|offset| finished.contains(&offset))
}

#[derive(Debug, Clone)]
enum Step {
    Append(u32, Vec<usize>),
    Settle,
    Finish(u32, i64, i64),
    Wait(i64),
    Housekeep(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0u32..3;
    prop_oneof![
        6 => (partition.clone(), proptest::collection::vec(1usize..6, 1..12))
            .prop_map(|(partition, counts)| Step::Append(partition, counts)),
        4 => Just(Step::Settle),
        6 => (partition, 0i64..120, 1i64..60)
            .prop_map(|(partition, first, count)| Step::Finish(partition, first, count)),
        2 => (0i64..40_000).prop_map(Step::Wait),
        4 => (1usize..30).prop_map(Step::Housekeep),
        1 => Just(Step::Reopen),
    ]
}

/// Every batch with an unfinished record is read, unchanged, and nothing that was not written; and what is read leads to
/// the end.
fn check(world: &World, finished: &[BTreeSet<i64>]) {
    for (partition, finished) in (0..).zip(finished) {
        let found = world.read(partition);
        let written = world.wanted(partition);
        let end_of = |batches: &[Batch]| batches.last().map(|batch| batch.header.next_offset());
        assert_eq!(end_of(&found), end_of(&written));
        let headers: Vec<Batch> = written.iter().map(|batch| emptied(&batch.header)).collect();
        let is_known = |batch: &Batch| written.contains(batch) || headers.contains(batch);
        assert!(found.iter().all(is_known));
        for batch in written.iter().filter(|batch| !is_finished(batch, finished)) {
            assert!(found.contains(batch), "{partition}: {:?}", batch.header);
        }
        let end = world.manifests.packs().end(PartitionId(partition));
        let model_end = world.models[&PartitionId(partition)].end;
        assert_eq!(end.unwrap_or(Offset(0)), Offset(model_end));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn only_what_is_finished_goes(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(1);
        let mut finished = vec![BTreeSet::new(); 3];
        for partition in 0..2 {
            world.create(partition, consumed());
        }
        // One that keeps what queues have finished.
        world.create(2, PartitionPolicy { consumed: false, ..consumed() });
        for step in steps {
            match step {
                Step::Append(partition, counts) => {
                    for count in counts {
                        append(&mut world, partition, count);
                    }
                }
                Step::Settle => world.settle(10_000).unwrap(),
                Step::Finish(partition, first, count) => {
                    let end = (first + count).min(world.log_end(partition));
                    finished[partition as usize].extend(first..end);
                    let known = ranges(&finished[partition as usize]);
                    world.view.finished.insert(PartitionId(partition), known);
                }
                Step::Wait(ms) => world.now += ms,
                Step::Housekeep(steps) => world.housekeep(steps).unwrap(),
                Step::Reopen => world.reopen(),
            }
            check(&world, &finished);
        }
        world.tidy();
        world.now += 60_000;
        world.tidy();
        check(&world, &finished);
        world.check(2);
    }
}

/// Stragglers at the front and all over keep their own batches only.
#[test]
fn stragglers_do_not_keep_what_is_behind_them() {
    let mut world = World::new(1);
    world.create(0, consumed());
    world.create(1, PartitionPolicy::default());
    for n in 0..600 {
        append(&mut world, 0, 3);
        append(&mut world, 1, 1);
        if n % 20 == 0 {
            world.settle(100_000).unwrap();
        }
    }
    world.settle(100_000).unwrap();
    world.tidy();
    let used = |world: &World| -> u64 {
        let packs = world.manifests.current().packs.values();
        packs.map(|pack| pack.size_bytes).sum()
    };
    let others: u64 = world
        .wanted(1)
        .iter()
        .map(|batch| batch.bytes.len() as u64)
        .sum();
    let before = used(&world) - others;
    let stragglers = [0, 1, 900];
    let finished: BTreeSet<i64> = (0..1800)
        .filter(|offset| !stragglers.contains(offset))
        .collect();
    world
        .view
        .finished
        .insert(PartitionId(0), ranges(&finished));
    world.now += 30_000;
    world.tidy();
    let left = used(&world) - others;
    assert!(left < before / 10, "{left} of {before} bytes are left");
    let kept: Vec<i64> = world
        .read(0)
        .iter()
        .map(|batch| batch.header.base_offset.0)
        .collect();
    assert_eq!(kept, [0, 900, 1797], "and the last, for readers to end at");
    world.check(1);

    // What was rewritten is not rewritten again for the records beside a straggler.
    let packs = world.manifests.current().packs.clone();
    world.now += 60_000;
    world.tidy();
    assert_eq!(world.manifests.current().packs, packs);
}
