//! `consumed` partitions give back what the holders say is finished, and not before that is durable.

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{batch, manual, one, open_partition_with, read_all};
use millstream_env::{Env, ManualClock};
use millstream_record::Offset;
use millstream_store::{
    Commit, Durability, Holders, PartitionId, PartitionPolicy, Slot, SlotSettings,
};
use parking_lot::Mutex;

/// One queue, as far as it matters here.
#[derive(Default)]
struct Queue(Mutex<Vec<Range<Offset>>>);

impl Holders for Queue {
    fn finished(&self, _: PartitionId, from: Offset, to: Offset) -> Vec<Range<Offset>> {
        let ranges = self.0.lock();
        let cut = ranges
            .iter()
            .map(|range| range.start.max(from)..range.end.min(to));
        cut.filter(|range| !range.is_empty()).collect()
    }
}

impl Queue {
    fn finish(&self, ranges: &[(i64, i64)]) {
        let ranges = ranges
            .iter()
            .map(|(start, end)| Offset(*start)..Offset(*end));
        *self.0.lock() = ranges.collect();
    }
}

struct World {
    slot: Slot,
    clock: Arc<ManualClock>,
    queue: Arc<Queue>,
    id: PartitionId,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(durability: Durability) -> Self {
        Self::settling_after(durability, Duration::from_secs(5))
    }

    fn settling_after(durability: Durability, settle_after: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let env = Env {
            clock: Arc::clone(&clock) as _,
            ..Env::real()
        };
        let settings = SlotSettings {
            settle_after,
            ..manual(dir.path())
        };
        let slot = Slot::open(settings, env).unwrap();
        let queue = Arc::new(Queue::default());
        slot.set_holders(Arc::clone(&queue) as _);
        let policy = PartitionPolicy {
            consumed: true,
            ..PartitionPolicy::default()
        };
        let id = open_partition_with(&slot, durability, policy);
        Self {
            slot,
            clock,
            queue,
            id,
            _dir: dir,
        }
    }

    /// Batches of two records, and settles all but the last ones.
    fn fill(&self, batches: u64) {
        for n in 0..batches {
            drop(
                self.slot
                    .commit(one(self.id, batch(2, &[n as u8; 10_000])))
                    .unwrap(),
            );
            while self.slot.step_journal() {}
            self.slot.step_settling();
        }
        self.run(10);
    }

    fn run(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance_ms(1000);
            while self.slot.step_journal() | self.slot.step_settling() {}
        }
        assert!(self.slot.failed().is_none(), "{:?}", self.slot.failed());
    }

    fn bases(&self) -> Vec<i64> {
        let partition = self.slot.partition(self.id).unwrap();
        let log_start = partition.offsets().log_start;
        read_all(&partition, log_start)
            .iter()
            .map(|(base, _)| *base)
            .collect()
    }

    fn log_start(&self) -> Offset {
        self.slot.partition(self.id).unwrap().offsets().log_start
    }
}

#[test]
fn what_is_behind_stragglers_comes_back_within_a_minute() {
    let world = World::new(Durability::Fsync);
    world.fill(1000);
    let before = world.slot.disk_usage(world.id);
    assert!(before > 9_500_000, "{before}");
    world.run(120);
    assert_eq!(world.slot.disk_usage(world.id), before, "there is no queue");

    world.queue.finish(&[(1, 777), (778, 1999)]);
    world.run(60);
    let left = world.slot.disk_usage(world.id);
    assert!(left < before / 10, "{left} of {before} bytes are left");
    assert_eq!(world.log_start(), Offset(0));
    assert!(read_all(&world.slot.partition(world.id).unwrap(), Offset(0)).len() <= 100);
    for straggler in [0, 776, 1998] {
        assert!(world.bases().contains(&straggler), "{straggler}");
    }

    world.queue.finish(&[(0, 1999)]);
    world.run(60);
    assert_eq!(world.log_start(), Offset(1999));
    assert_eq!(world.bases(), [1998]);
}

#[test]
fn what_is_finished_before_it_is_settled_never_gets_to_a_pack() {
    let world = World::new(Durability::Os);
    for n in 0..20u8 {
        drop(
            world
                .slot
                .commit(one(world.id, batch(2, &[n; 10_000])))
                .unwrap(),
        );
    }
    while world.slot.step_journal() {}
    world.queue.finish(&[(2, 38)]);
    world.run(10);
    let used = world.slot.disk_usage(world.id);
    assert!((20_000..25_000).contains(&used), "{used}");
    world.run(120);
    assert_eq!(world.log_start(), Offset(0));
}

/// The commit that says what is finished has to be durable first: otherwise a crash could undo it, and not the dropping.
#[test]
fn nothing_goes_before_its_end_is_durable() {
    let world = World::new(Durability::Fsync);
    world.fill(100);
    let acked = Commit {
        puts: vec![(Bytes::from_static(b"acked"), Bytes::new())],
        ..Commit::default()
    };
    drop(world.slot.commit(acked).unwrap());
    world.queue.finish(&[(0, 150)]);
    for _ in 0..120 {
        world.clock.advance_ms(1000);
        // The journal stands still.
        while world.slot.step_settling() {}
    }
    assert_eq!(world.log_start(), Offset(0));
    assert_eq!(world.bases().len(), 100);
    world.run(60);
    assert_eq!(world.log_start(), Offset(150));
}

#[test]
fn a_memory_partition_begins_after_what_is_finished() {
    let world = World::new(Durability::Memory);
    world.fill(10);
    world.queue.finish(&[(0, 7), (8, 9)]);
    world.run(60);
    assert_eq!(world.log_start(), Offset(7));
}

#[test]
fn what_a_power_failure_could_bring_back_is_still_there() {
    let world = World::settling_after(Durability::Os, Duration::from_secs(3_600));
    world.fill(1000);
    let before = world.slot.disk_usage(world.id);
    let acked = Commit {
        puts: vec![(Bytes::from_static(b"acked"), Bytes::new())],
        promise: Some(Durability::Os),
        ..Commit::default()
    };
    drop(world.slot.commit(acked).unwrap());
    world.queue.finish(&[(1, 777), (778, 1999)]);
    // It is in the page cache, and the journal stands still.
    world.slot.step_journal();
    for _ in 0..120 {
        world.clock.advance_ms(1000);
        while world.slot.step_settling() {}
    }
    assert_eq!(world.slot.disk_usage(world.id), before);

    // Nobody else needs anything synced.
    world.run(60);
    let left = world.slot.disk_usage(world.id);
    assert!(left < before / 5, "{left} of {before} bytes are left");
}
