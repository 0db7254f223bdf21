//! A slot on a full disk: what is written all the same, what is refused, and how it comes out of it.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_env::sim::SimDisk;
use millstream_env::{Env, ManualClock, SeededRng};
use millstream_store::{
    Commit, CommitError, Durability, Overflow, PartitionId, PartitionPolicy, Slot, SlotSettings,
    Stay, Ticket,
};

use common::{batch, manual, one};

const DIR: &str = "/slot";

const FILE_BYTES: u64 = 256 << 10;

/// Where there is room for everything.
const AMPLE_BYTES: u64 = 64 << 20;

/// A slot, and what it lives on.
struct Machine {
    disk: SimDisk,
    clock: Arc<ManualClock>,
}

impl Machine {
    fn new() -> Self {
        Self {
            disk: SimDisk::new(1, AMPLE_BYTES),
            clock: Arc::new(ManualClock::new(1_000_000)),
        }
    }

    fn open(&self) -> Slot {
        let settings = SlotSettings {
            settle_after: Duration::from_millis(500),
            housekeeping_interval: Duration::from_millis(500),
            journal_file_bytes: FILE_BYTES,
            ..manual(Path::new(DIR))
        };
        let env = Env {
            clock: Arc::clone(&self.clock) as _,
            rng: Arc::new(SeededRng::new(1)),
            disk: self.disk.mount(),
        };
        let slot = Slot::open(settings, env).unwrap();
        for partition in slot.partitions() {
            slot.set_policy(partition.id(), PartitionPolicy::default());
        }
        slot
    }

    /// Has the disk hold so many bytes more and then be full.
    fn leave(&self, bytes: u64) {
        self.disk.set_capacity(self.disk.used_bytes() + bytes);
    }

    /// Lets time pass, and the slot do what it has to do.
    fn pass(&self, slot: &Slot) {
        for _ in 0..20 {
            self.clock.advance_ms(300);
            for _ in 0..100 {
                let wrote = slot.step_journal();
                if !slot.step_settling() && !wrote {
                    break;
                }
            }
        }
        assert!(slot.failed().is_none(), "{:?}", slot.failed());
    }
}

/// Sets a key to a value of so many bytes.
fn put(slot: &Slot, key: u64, bytes: usize) -> Ticket {
    let put = Commit {
        puts: vec![(Bytes::from(format!("key {key}")), vec![7; bytes].into())],
        ..Commit::default()
    };
    slot.commit(put).unwrap().durable
}

/// Has the disk full, and the journal with it: what was put last waits.
fn fill_up(machine: &Machine, slot: &Slot) {
    machine.leave(0);
    let mut last = put(slot, 0, 10);
    while slot.step_journal() {
        last = put(slot, 0, 10);
    }
    assert!(!last.is_ready());
}

/// A partition with records in packs.
fn packed(machine: &Machine, slot: &Slot) -> PartitionId {
    let id = common::open_partition(slot, Durability::Fsync);
    for _ in 0..40 {
        drop(slot.commit(one(id, batch(1, &[1; 32 << 10]))).unwrap());
        while slot.step_journal() {}
    }
    machine.pass(slot);
    assert!(slot.disk_usage(id) > 0);
    id
}

fn delete(slot: &Slot, id: PartitionId) -> Ticket {
    let drop = Commit {
        drops: vec![id],
        ..Commit::default()
    };
    slot.commit(drop).unwrap().durable
}

#[test]
fn more_than_the_disk_has_room_for_is_written_in_rounds() {
    let machine = Machine::new();
    let slot = machine.open();
    drop(put(&slot, 0, 10));
    machine.pass(&slot);
    fill_up(&machine, &slot);
    machine.leave(3 * FILE_BYTES);
    let mut refused = 0;
    for round in 0..20 {
        let mut waiting = Vec::new();
        for step in 0..1000 {
            if slot.check_room(Stay::Passing).is_err() {
                refused += 1;
                break;
            }
            // The same few keys: it is the journal that grows.
            waiting.push(put(&slot, step % 60, 1000));
            if step % 20 == 0 {
                let _ = slot.step_journal();
            }
        }
        machine.pass(&slot);
        assert!(waiting.iter().all(Ticket::is_ready), "round {round}");
    }
    assert!(refused > 10);
    drop(slot);
    machine.disk.restart();
    let slot = machine.open();
    assert_eq!(slot.state().get(b"key 59").unwrap().unwrap().len(), 1000);
}

#[test]
fn what_clients_begin_is_refused_when_enough_waits() {
    let machine = Machine::new();
    let slot = machine.open();
    drop(put(&slot, 0, 10));
    machine.pass(&slot);
    fill_up(&machine, &slot);
    machine.leave(8 << 10);
    let mut waiting = Vec::new();
    while slot.check_room(Stay::Passing).is_ok() {
        waiting.push(put(&slot, 1, 1000));
        let _ = slot.step_journal();
        assert!(waiting.len() < 1000, "it waits without bound");
    }
    let refused = slot.check_room(Stay::Passing).unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull { .. }), "{refused}");
    assert!(slot.stats().disk_full);
    machine.disk.set_capacity(AMPLE_BYTES);
    machine.pass(&slot);
    assert!(waiting.iter().all(Ticket::is_ready));
    slot.check_room(Stay::Lasting).unwrap();
    assert!(!slot.stats().disk_full);
}

#[test]
fn what_stays_is_refused_before_what_passes() {
    let machine = Machine::new();
    let slot = machine.open();
    drop(put(&slot, 0, 10));
    machine.pass(&slot);
    let reserve = AMPLE_BYTES / 16;
    let check = |free: u64, stay| {
        // Only what is free changes, not how large the disk is.
        let filler = machine.disk.mount();
        let file = filler
            .open(Path::new("/filler"), millstream_env::Access::Create)
            .unwrap();
        file.set_len(0).unwrap();
        let used = machine.disk.used_bytes();
        file.allocate(AMPLE_BYTES - used - free).unwrap();
        drop(put(&slot, 1, 10));
        machine.clock.advance_ms(300);
        let _ = slot.step_journal();
        slot.check_room(stay).is_ok()
    };
    assert!(check(reserve * 3 / 2, Stay::Lasting));
    assert!(check(reserve * 3 / 4 + FILE_BYTES, Stay::Lasting));
    assert!(slot.stats().disk_full);
    assert!(!check(reserve / 3, Stay::Lasting));
    assert!(check(reserve / 3, Stay::Passing));
}

#[test]
fn a_directory_whose_journal_has_no_room_opens_and_settles() {
    let machine = Machine::new();
    let slot = machine.open();
    let id = packed(&machine, &slot);
    for key in 0..600 {
        drop(put(&slot, key % 50, 1000));
        let _ = slot.step_journal();
    }
    fill_up(&machine, &slot);
    drop(slot);
    machine.disk.kill();
    machine.leave(FILE_BYTES - 4096);
    let slot = machine.open();
    let waiting = put(&slot, 1000, 10);
    machine.pass(&slot);
    assert!(waiting.is_ready());
    let deleted = delete(&slot, id);
    machine.pass(&slot);
    assert!(deleted.is_ready());
    assert_eq!(slot.disk_usage(id), 0);
    assert!(slot.state().get(b"key 49").unwrap().is_some());
}

#[test]
fn a_memory_partition_keeps_to_its_bounds_while_it_waits_for_the_journal() {
    let machine = Machine::new();
    let slot = machine.open();
    let small = PartitionPolicy {
        memory_bytes: 100 << 10,
        overflow: Overflow::Refuse,
        ..PartitionPolicy::default()
    };
    let small = common::open_partition_with(&slot, Durability::Memory, small);
    let large = common::open_partition(&slot, Durability::Memory);
    machine.pass(&slot);
    fill_up(&machine, &slot);
    let publish = |id| slot.commit(one(id, batch(1, &[1; 40 << 10])));
    // The first offsets are given out once the journal says how many.
    let mut waiting = vec![publish(small).unwrap(), publish(small).unwrap()];
    let refused = publish(small).unwrap_err();
    assert!(
        matches!(refused, CommitError::MemoryFull { .. }),
        "{refused}"
    );
    let refused = loop {
        match publish(large) {
            Ok(sequenced) => waiting.push(sequenced),
            Err(refused) => break refused,
        }
        assert!(waiting.len() < 1000, "they are taken without bound");
    };
    assert!(matches!(refused, CommitError::DiskFull { .. }), "{refused}");
    let stats = slot.stats();
    assert!(stats.memory_bytes <= stats.memory_budget_bytes, "{stats:?}");
    assert!(stats.memory_bytes >= (waiting.len() as u64) * (40 << 10));
    machine.disk.set_capacity(AMPLE_BYTES);
    machine.pass(&slot);
    assert!(waiting.iter().all(|one| one.durable.is_ready()));
    drop(publish(large).unwrap());
    let shown = |id| slot.partition(id).unwrap().offsets().high_watermark.0;
    assert_eq!(shown(small), 2);
    assert_eq!(shown(large), waiting.len() as i64 - 1);
}

#[test]
fn a_deletion_makes_room_where_not_even_settling_has_any() {
    let machine = Machine::new();
    let slot = machine.open();
    let id = packed(&machine, &slot);
    for key in 0..3000 {
        drop(put(&slot, key, 1000));
        let _ = slot.step_journal();
    }
    fill_up(&machine, &slot);
    machine.leave(32 << 10);
    let sealed = put(&slot, 10_000, 10);
    machine.pass(&slot);
    assert!(sealed.is_ready(), "it was written with the boundary");
    fill_up(&machine, &slot);
    machine.leave(16 << 10);
    let waiting = put(&slot, 10_001, 10);
    machine.pass(&slot);
    assert!(!waiting.is_ready(), "a round cannot be settled");
    assert!(slot.check_room(Stay::Passing).is_err());
    let deleted = delete(&slot, id);
    machine.pass(&slot);
    assert!(deleted.is_ready());
    assert!(waiting.is_ready());
    slot.check_room(Stay::Passing).unwrap();
}
