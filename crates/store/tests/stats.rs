//! What a slot says of itself is what it did.

mod common;

use common::{append, batch, manual, one, open, open_partition};
use millstream_store::{Appends, Commit, Durability, Slot};
use smallvec::smallvec;

fn appended(slot: &Slot, id: millstream_store::PartitionId) -> Appends {
    slot.partition(id).unwrap().appended()
}

#[test]
fn groups_and_syncs_are_counted_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let fsync = open_partition(&slot, Durability::Fsync);
    let os = open_partition(&slot, Durability::Os);
    let before = slot.stats();
    for _ in 0..3 {
        drop(slot.commit(one(fsync, batch(1, b"one"))).unwrap());
    }
    slot.step_journal();
    drop(slot.commit(one(os, batch(1, &[7; 10_000]))).unwrap());
    slot.step_journal();
    let after = slot.stats();
    assert_eq!(after.journal_commits - before.journal_commits, 4);
    assert_eq!(after.journal_groups - before.journal_groups, 2);
    assert_eq!(
        after.journal_syncs - before.journal_syncs,
        1,
        "a group that only the system has to have is not synced"
    );
    let bytes = after.journal_bytes - before.journal_bytes;
    assert!((14_000..30_000).contains(&bytes), "{bytes}");
    let sizes = (before.journal_group_sizes, after.journal_group_sizes);
    assert_eq!(sizes.1.buckets[0] - sizes.0.buckets[0], 1, "up to 4 KiB");
    assert_eq!(sizes.1.buckets[2] - sizes.0.buckets[2], 1, "up to 16 KiB");
    assert_eq!(
        after.journal_write_times.total(),
        after.journal_groups,
        "every group was timed"
    );
    assert!(after.journal_sync_times.sum <= after.journal_write_times.sum);
    assert!(after.disk_available_bytes.is_some_and(|bytes| bytes > 0));
}

#[test]
fn what_readers_see_is_counted_in_each_partition_it_went_to() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let disk = open_partition(&slot, Durability::Fsync);
    let memory = open_partition(&slot, Durability::Memory);
    let sent = batch(5, b"five");
    drop(
        slot.commit(Commit {
            appends: smallvec![append(&[disk, memory], sent.clone())],
            ..Commit::default()
        })
        .unwrap(),
    );
    assert_eq!(appended(&slot, disk), Appends::default(), "not durable yet");
    slot.step_journal();
    let once = Appends {
        batches: 1,
        records: 5,
        bytes: sent.len() as u64,
    };
    assert_eq!(appended(&slot, disk), once);
    assert_eq!(appended(&slot, memory), once);
    drop(slot);

    let slot = open(manual(dir.path()));
    assert_eq!(slot.partition(disk).unwrap().offsets().high_watermark.0, 5);
    assert_eq!(
        appended(&slot, disk),
        Appends::default(),
        "what recovery finds is not appended again"
    );
}
