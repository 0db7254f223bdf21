//! What recovery makes of a journal whose bytes have changed.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{batch, one};
use millstream_env::sim::{Faults, SimDisk};
use millstream_env::{Access, Env, ManualClock, SeededRng};
use millstream_record::Offset;
use millstream_store::doctor::{Depth, Severity, diagnose};
use millstream_store::{
    Commit, Drive, Durability, PartitionId, PartitionOpen, PartitionPolicy, Read, Slot,
    SlotSettings,
};

const DIR: &str = "/slot";
const JOURNAL: &str = "/slot/journal/00000000000000000000.journal";

fn env(disk: &SimDisk) -> Env {
    Env {
        clock: Arc::new(ManualClock::new(1_000_000)),
        rng: Arc::new(SeededRng::new(1)),
        disk: disk.mount(),
    }
}

fn open(disk: &SimDisk) -> Slot {
    let settings = SlotSettings {
        drive: Drive::Manual,
        memory_budget_bytes: 4 << 20,
        journal_file_bytes: 1 << 20,
        ..SlotSettings::new(DIR)
    };
    Slot::open(settings, env(disk)).unwrap()
}

/// A slot with one partition and ten synced groups of one batch of 5000 bytes each.
fn ten_batches(disk: &SimDisk) -> PartitionId {
    let slot = open(disk);
    let id = common::open_partition(&slot, Durability::Fsync);
    for n in 0..10 {
        let sequenced = slot.commit(one(id, batch(1, &[n; 5000]))).unwrap();
        slot.step_journal();
        sequenced.durable.wait().unwrap();
    }
    disk.restart();
    id
}

/// The groups lie 8192 bytes apart, after one for the start and one for the partition.
fn group_at(n: u64) -> u64 {
    8192 + n * 8192
}

fn overwrite(disk: &SimDisk, at: u64, bytes: &[u8]) {
    let file = disk
        .mount()
        .open(Path::new(JOURNAL), Access::ReadWrite)
        .unwrap();
    file.write_at(bytes, at).unwrap();
    file.sync_data().unwrap();
}

fn payloads(slot: &Slot, id: PartitionId) -> Vec<u8> {
    let found = common::read_all(&slot.partition(id).unwrap(), Offset(0));
    found.iter().map(|(_, payload)| payload[0]).collect()
}

#[test]
fn damage_before_the_synced_position_is_put_aside_and_the_rest_kept() {
    // In the framing, in the batch, and over several groups.
    for (at, len, lost) in [
        (group_at(4) + 30, 1, vec![4]),
        (group_at(4) + 2000, 1, vec![4]),
        (group_at(3) + 100, 8192, vec![3, 4]),
    ] {
        let disk = SimDisk::new(1, 64 << 20);
        let id = ten_batches(&disk);
        overwrite(&disk, at, &vec![0xAB; len]);
        let slot = open(&disk);
        let expected: Vec<u8> = (0..10).filter(|n| !lost.contains(n)).collect();
        let partition = slot.partition(id).unwrap();
        let mut found = Vec::new();
        let end = partition.offsets().high_watermark;
        assert_eq!(end, Offset(10), "offsets are not given out again");
        let millstream_store::Read::Memory(slices) =
            partition.read(Offset(0), 1 << 20, end).unwrap()
        else {
            panic!("nothing was settled");
        };
        for slice in slices {
            found.push(slice[61]);
        }
        assert_eq!(found, expected);
        let damaged = &slot.recovery().damaged;
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert!(damaged[0].from.0 <= at && at < damaged[0].to.0);
        let aside: Vec<(PathBuf, u64)> = disk.files(Path::new("/slot/quarantine"));
        assert_eq!(aside.len(), 1);
        assert_eq!(aside[0].1, damaged[0].to.0 - damaged[0].from.0);
    }
}

/// Has the disk lose the sector at `at` of the journal.
fn lose(disk: &SimDisk, at: u64) {
    disk.lose_sectors(Path::new(JOURNAL), at, at + 512).unwrap();
}

#[test]
fn what_the_disk_cannot_read_is_damage_and_the_rest_is_kept() {
    // In the framing, and in the batch; the last group is written after it.
    for at in [group_at(4), group_at(4) + 4200, group_at(8)] {
        let disk = SimDisk::new(1, 64 << 20);
        let id = ten_batches(&disk);
        lose(&disk, at);
        let lost = ((at - group_at(0)) / 8192) as u8;
        let expected: Vec<u8> = (0..10).filter(|n| *n != lost).collect();
        for _ in 0..2 {
            let slot = open(&disk);
            let partition = slot.partition(id).unwrap();
            assert_eq!(partition.offsets().high_watermark, Offset(10));
            assert_eq!(payloads(&slot, id), expected);
            let damaged = &slot.recovery().damaged;
            assert_eq!(damaged.len(), 1, "{damaged:?}");
            assert!(damaged[0].from.0 <= at && at < damaged[0].to.0 && damaged[0].was_durable);
            assert_eq!(damaged[0].reason, "the disk cannot read it");
            disk.restart();
        }
        assert_eq!(disk.files(Path::new("/slot/quarantine")).len(), 1);
    }
}

#[test]
fn a_bad_sector_where_nothing_lies_is_no_damage() {
    let disk = SimDisk::new(1, 64 << 20);
    let id = ten_batches(&disk);
    lose(&disk, group_at(20));
    lose(&disk, (1 << 20) - 512);
    let slot = open(&disk);
    assert_eq!(payloads(&slot, id), (0..10).collect::<Vec<u8>>());
    assert!(slot.recovery().damaged.is_empty());
}

/// Nothing says whether the last group had been acknowledged: it is told that it may have been.
#[test]
fn an_end_that_the_disk_cannot_read_is_told() {
    for at in [group_at(9), group_at(9) + 4200, group_at(10)] {
        let disk = SimDisk::new(1, 64 << 20);
        let id = ten_batches(&disk);
        lose(&disk, at);
        let slot = open(&disk);
        let kept = if at < group_at(10) { 9 } else { 10 };
        assert_eq!(payloads(&slot, id), (0..kept).collect::<Vec<u8>>());
        let damaged = slot.recovery().damaged.clone();
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert!(damaged[0].from.0 <= at && at < damaged[0].to.0 && !damaged[0].was_durable);
        // It is written over, and the sector can be read again.
        drop(slot.commit(one(id, batch(1, &[99; 5000]))).unwrap());
        slot.step_journal();
        disk.restart();
        let slot = open(&disk);
        assert_eq!(payloads(&slot, id).last(), Some(&99));
        assert!(slot.recovery().damaged.is_empty());
    }
}

#[test]
fn a_torn_end_is_cut_off() {
    // Nothing says that the last group was synced.
    let disk = SimDisk::new(1, 64 << 20);
    let id = ten_batches(&disk);
    overwrite(&disk, group_at(9) + 2000, &[0xAB]);
    let slot = open(&disk);
    assert_eq!(payloads(&slot, id), (0..9).collect::<Vec<u8>>());
    assert!(slot.recovery().damaged.is_empty());
    let next = slot.commit(one(id, batch(1, b"next"))).unwrap();
    assert_eq!(next.appends[0].base_offset, Offset(9));
    slot.step_journal();
    disk.restart();
    let slot = open(&disk);
    let found = common::read_all(&slot.partition(id).unwrap(), Offset(9));
    assert_eq!(found, [(9, b"next".to_vec())]);
}

#[tokio::test]
async fn a_pack_that_cannot_be_opened_keeps_no_slot_from_opening() {
    let disk = SimDisk::new(1, 64 << 20);
    let id = ten_batches(&disk);
    open(&disk).shutdown().await.unwrap();
    let (pack, _) = disk.files(Path::new("/slot/packs")).remove(0);
    disk.lose_file(&pack).unwrap();
    let found = diagnose(
        &env(&disk),
        Path::new(DIR),
        Depth::Structure,
        &mut |_, _| {},
    )
    .unwrap();
    assert_eq!(found.findings.len(), 1, "{found:?}");
    assert_eq!(found.findings[0].severity, Severity::Damage);

    let slot = open(&disk);
    let partition = slot.partition(id).unwrap();
    assert_eq!(partition.offsets().high_watermark, Offset(10));
    let Ok(Read::Disk(read)) = partition.read(Offset(0), 1, Offset(10)) else {
        panic!("the journal has been settled");
    };
    assert!(read.run().is_err());
    drop(slot.commit(one(id, batch(1, b"next"))).unwrap());
    slot.step_journal();
    assert_eq!(common::read_all(&partition, Offset(10)).len(), 1);
}

#[test]
fn what_was_cut_off_never_comes_back() {
    // Two groups that were never synced; the first does not reach the disk, the second does.
    let disk = SimDisk::new(1, 64 << 20);
    let id = {
        let slot = open(&disk);
        let id = common::open_partition(&slot, Durability::Os);
        for n in 0..2 {
            drop(slot.commit(one(id, batch(1, &[n; 5000]))).unwrap());
            slot.step_journal();
        }
        disk.kill();
        id
    };
    overwrite(&disk, group_at(0), &[0; 8192]);
    let slot = open(&disk);
    assert_eq!(slot.partition(id).unwrap().offsets().log_end, Offset(0));
    // Now a group takes the place of the first, and ends where the second begins.
    drop(slot.commit(one(id, batch(1, &[7; 1000]))).unwrap());
    slot.step_journal();
    disk.kill();
    let slot = open(&disk);
    let found = common::read_all(&slot.partition(id).unwrap(), Offset(0));
    assert_eq!(found, [(0, vec![7; 1000])]);
}

#[test]
fn a_failed_sync_ends_acknowledgements_for_good() {
    let disk = SimDisk::new(1, 64 << 20);
    let slot = open(&disk);
    let id = common::open_partition(&slot, Durability::Fsync);
    disk.set_faults(Faults {
        sync_error_one_in: 1,
        ..Faults::default()
    });
    let lost = slot.commit(one(id, batch(1, b"lost"))).unwrap();
    assert!(!slot.step_journal());
    assert!(lost.durable.wait().is_err());
    disk.set_faults(Faults::default());
    let failure = slot.failed().unwrap();
    assert!(
        failure.to_string().contains("simulated sync error"),
        "{failure}"
    );
    assert!(slot.commit(one(id, batch(1, b"later"))).is_err());
    assert_eq!(
        slot.partition(id).unwrap().offsets().high_watermark,
        Offset(0)
    );
}

#[test]
fn a_full_disk_refuses_appends_and_nothing_else() {
    let disk = SimDisk::new(1, 64 << 20);
    let slot = open(&disk);
    let id = common::open_partition(&slot, Durability::Fsync);
    drop(slot.commit(one(id, batch(1, b"first"))).unwrap());
    slot.step_journal();
    disk.set_capacity(disk.used_bytes() + 1000);
    let change_state = |slot: &Slot| {
        // Any group makes the slot look at the disk.
        let put = Commit {
            puts: vec![(
                bytes::Bytes::from_static(b"k"),
                bytes::Bytes::from_static(b"v"),
            )],
            ..Commit::default()
        };
        let put = slot.commit(put).unwrap();
        slot.step_journal();
        put.durable.wait().unwrap();
    };
    drop(slot);
    let slot = open(&disk);
    change_state(&slot);
    assert!(slot.stats().disk_full);
    let refused = slot.commit(one(id, batch(1, b"refused"))).unwrap_err();
    assert!(
        refused.to_string().contains("delete topics or records"),
        "{refused}"
    );
    change_state(&slot);
    let dropped = Commit {
        drops: vec![id],
        ..Commit::default()
    };
    let dropped = slot.commit(dropped).unwrap();
    slot.step_journal();
    dropped.durable.wait().unwrap();

    disk.set_capacity(64 << 20);
    drop(slot);
    let slot = open(&disk);
    assert!(!slot.stats().disk_full);
    let id = slot.next_partition_id();
    let opened = Commit {
        opens: vec![PartitionOpen {
            id,
            durability: Durability::Fsync,
            policy: PartitionPolicy::default(),
        }],
        ..Commit::default()
    };
    drop(slot.commit(opened).unwrap());
    slot.commit(one(id, batch(1, b"taken"))).unwrap();
}

/// Crashes right after a file was begun, one after the other, leave files that are shorter than they should be.
#[test]
fn short_files_in_a_row_are_gone_over_and_written_to() {
    for lengths in [[0, 0], [4096, 0], [0, 4096], [4096, 4096]] {
        let disk = SimDisk::new(1, 64 << 20);
        let id = ten_batches(&disk);
        let mount = disk.mount();
        for (number, length) in (1..).zip(lengths) {
            let path = format!("/slot/journal/{number:020}.journal");
            let file = mount.open(Path::new(&path), Access::Create).unwrap();
            file.set_len(length).unwrap();
            file.sync_data().unwrap();
        }
        mount.sync_dir(Path::new("/slot/journal")).unwrap();
        let slot = open(&disk);
        assert!(slot.recovery().damaged.is_empty(), "{lengths:?}");
        assert_eq!(payloads(&slot, id), (0..10).collect::<Vec<u8>>());
        // Into the second of them, without settling what comes before.
        for n in 10..30 {
            let sequenced = slot.commit(one(id, batch(1, &[n; 100_000]))).unwrap();
            slot.step_journal();
            sequenced.durable.wait().unwrap();
        }
        drop(slot);
        disk.restart();
        let slot = open(&disk);
        assert!(slot.recovery().damaged.is_empty(), "{lengths:?}");
        assert_eq!(payloads(&slot, id), (0..30).collect::<Vec<u8>>());
    }
}
