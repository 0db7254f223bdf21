//! Batches move from the journal into packs, and readers never notice.

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::{
    append, batch, batch_from, manual, one, open, open_partition, open_partition_with, read_all,
};
use millstream_env::sim::{Faults, SimDisk};
use millstream_env::{Env, ManualClock, SeededRng};
use millstream_record::{
    BatchBuilder, Codec, LeaderEpoch, NewRecord, Offset, ProducerEpoch, ProducerId, Sequence,
    TimestampMs,
};
use millstream_store::{Cleanup, Commit, Durability, PartitionPolicy, Read, ReadError, Slot, Trim};
use smallvec::smallvec;

fn run(slot: &Slot) {
    while slot.step_journal() | slot.step_settling() {}
    assert!(slot.failed().is_none(), "{:?}", slot.failed());
}

fn in_packs(slot: &Slot, id: millstream_store::PartitionId) -> bool {
    let partition = slot.partition(id).unwrap();
    let offsets = partition.offsets();
    let read = partition.read(offsets.log_start, 1, offsets.high_watermark);
    matches!(read, Ok(Read::Disk(_)))
}

#[tokio::test]
async fn a_stop_in_order_leaves_everything_in_packs() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let a = open_partition(&slot, Durability::Fsync);
    let b = open_partition(&slot, Durability::Os);
    let memory = open_partition(&slot, Durability::Memory);
    for n in 0..50u8 {
        drop(
            slot.commit(Commit {
                appends: smallvec![
                    append(&[a, b, memory], batch(2, &[n; 1000])),
                    append(
                        &[b],
                        batch_from(
                            1,
                            b"p",
                            ProducerId(3),
                            ProducerEpoch(0),
                            Sequence(i32::from(n))
                        )
                    ),
                ],
                puts: vec![(Bytes::from(vec![9, n]), Bytes::from(vec![n]))],
                ..Commit::default()
            })
            .unwrap(),
        );
    }
    slot.shutdown().await.unwrap();
    drop(slot);

    let slot = open(manual(dir.path()));
    assert!(slot.recovery().clean);
    assert_eq!(slot.recovery().entries, 0);
    let partition = slot.partition(a).unwrap();
    assert!(in_packs(&slot, a));
    let found = read_all(&partition, Offset(0));
    assert_eq!(found.len(), 50);
    assert_eq!(found[49], (98, vec![49; 1000]));
    let b = slot.partition(b).unwrap();
    assert_eq!(read_all(&b, Offset(0)).len(), 100);
    assert_eq!(b.producers()[0].last_sequence, Sequence(49));
    assert_eq!(b.offsets().leader_epoch, LeaderEpoch(0));
    assert_eq!(slot.state().scan(&[9]).unwrap().count(), 50);
    assert!(slot.disk_usage(a) > 50_000);
    let memory = slot.partition(memory).unwrap().offsets();
    assert_eq!(memory.log_start, memory.log_end);

    let next = slot.commit(one(a, batch(1, b"next"))).unwrap();
    assert_eq!(next.appends[0].base_offset, Offset(100));
}

#[test]
fn reads_go_on_while_batches_move_and_memory_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let ids: Vec<_> = (0..5)
        .map(|_| open_partition(&slot, Durability::Fsync))
        .collect();
    for n in 0..2000u64 {
        let id = ids[(n % 5) as usize];
        drop(
            slot.commit(one(id, batch(1, &[(n / 5) as u8; 10_000])))
                .unwrap(),
        );
        if n % 10 == 0 {
            run(&slot);
        }
        let stats = slot.stats();
        assert!(stats.memory_bytes <= stats.memory_budget_bytes, "{stats:?}");
    }
    run(&slot);
    for id in &ids {
        assert!(in_packs(&slot, *id));
        let found = read_all(&slot.partition(*id).unwrap(), Offset(0));
        assert_eq!(found.len(), 400);
        for (at, (base, payload)) in found.iter().enumerate() {
            assert_eq!((*base, payload[0]), (at as i64, at as u8));
        }
    }
    assert!(slot.stats().unsettled_bytes < 1 << 20);
    drop(slot);

    let slot = open(manual(dir.path()));
    for id in &ids {
        assert_eq!(
            read_all(&slot.partition(*id).unwrap(), Offset(0)).len(),
            400
        );
    }
}

#[tokio::test]
async fn dropped_and_trimmed_records_give_the_disk_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || millstream_store::SlotSettings {
        housekeeping_interval: std::time::Duration::ZERO,
        settle_after: std::time::Duration::ZERO,
        ..manual(dir.path())
    };
    let slot = open(settings());
    let policy = PartitionPolicy {
        segment_bytes: 50_000,
        ..PartitionPolicy::default()
    };
    let trimmed = open_partition_with(&slot, Durability::Fsync, policy);
    let dropped = open_partition_with(&slot, Durability::Fsync, policy);
    for _ in 0..30 {
        drop(slot.commit(one(trimmed, batch(1, &[1; 10_000]))).unwrap());
        drop(slot.commit(one(dropped, batch(1, &[1; 10_000]))).unwrap());
    }
    for _ in 0..1000 {
        let _ = slot.step_journal() | slot.step_settling();
    }
    assert!(slot.disk_usage(dropped) >= 300_000);
    drop(
        slot.commit(Commit {
            trims: vec![Trim {
                partition: trimmed,
                log_start: Offset(20),
            }],
            drops: vec![dropped],
            ..Commit::default()
        })
        .unwrap(),
    );
    for _ in 0..1000 {
        let _ = slot.step_journal() | slot.step_settling();
    }
    assert!(slot.failed().is_none(), "{:?}", slot.failed());
    assert_eq!(slot.disk_usage(dropped), 0);
    assert!(
        slot.disk_usage(trimmed) < 200_000,
        "{}",
        slot.disk_usage(trimmed)
    );
    slot.shutdown().await.unwrap();
    drop(slot);

    let slot = open(settings());
    assert!(slot.partition(dropped).is_none());
    let found = read_all(&slot.partition(trimmed).unwrap(), Offset(20));
    assert_eq!(found.len(), 10);
}

fn keyed(value: &'static [u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(&NewRecord {
        timestamp: TimestampMs(1_000),
        key: Some(b"key"),
        value: Some(value),
        headers: &[],
    });
    builder.build().unwrap().bytes
}

#[test]
fn what_should_have_been_compacted_by_now_is_not_left_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let usual = PartitionPolicy {
        cleanup: Cleanup::Compact,
        ..PartitionPolicy::default()
    };
    let urgent = PartitionPolicy {
        max_compaction_lag_ms: 1,
        ..usual
    };
    let whenever = open_partition_with(&slot, Durability::Fsync, usual);
    drop(slot.commit(one(whenever, keyed(b"old"))).unwrap());
    run(&slot);
    assert_eq!(slot.disk_usage(whenever), 0);
    drop(slot);

    let slot = open(manual(dir.path()));
    let soon = open_partition_with(&slot, Durability::Fsync, urgent);
    for value in [b"old", b"new"] {
        drop(slot.commit(one(soon, keyed(value))).unwrap());
        slot.step_journal();
    }
    run(&slot);
    let partition = slot.partition(soon).unwrap();
    let kept: Vec<_> = read_all(&partition, Offset(0));
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].0, 1);
}

/// What was to be read may be trimmed, and its pack be gone, before a thread is there to read it.
#[tokio::test]
async fn a_read_that_a_trim_overtakes_is_never_taken_for_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || millstream_store::SlotSettings {
        housekeeping_interval: std::time::Duration::ZERO,
        ..manual(dir.path())
    };
    let slot = open(settings());
    let id = open_partition(&slot, Durability::Fsync);
    for n in 0..20 {
        drop(slot.commit(one(id, batch(1, &[n; 4_000]))).unwrap());
        slot.step_journal();
    }
    slot.shutdown().await.unwrap();
    drop(slot);

    let slot = open(settings());
    slot.set_policy(id, PartitionPolicy::default());
    let partition = slot.partition(id).unwrap();
    for n in 20..30 {
        drop(slot.commit(one(id, batch(1, &[n; 100]))).unwrap());
        slot.step_journal();
    }
    let end = partition.offsets().high_watermark;
    let begin = |from| match partition.read(Offset(from), 1 << 20, end).unwrap() {
        Read::Disk(read) => read,
        Read::Memory(_) => panic!("what has been settled is in memory"),
    };
    let before = [begin(0), begin(19)];
    drop(
        slot.commit(Commit {
            trims: vec![Trim {
                partition: id,
                log_start: Offset(20),
            }],
            ..Commit::default()
        })
        .unwrap(),
    );
    for _ in 0..1000 {
        let _ = slot.step_journal() | slot.step_settling();
    }
    assert_eq!(slot.disk_usage(id), 0);
    for read in before {
        let out_of_range = ReadError::OutOfRange {
            log_start: Offset(20),
            high_watermark: end,
        };
        let error = read.run().unwrap_err();
        assert_eq!(error.to_string(), out_of_range.to_string());
    }
    assert_eq!(read_all(&partition, Offset(20)).len(), 10);
}

#[test]
fn too_many_open_files_hold_up_the_slot_and_do_not_end_it() {
    let disk = SimDisk::new(1, 64 << 20);
    let clock = Arc::new(ManualClock::new(1_000_000));
    let env = Env {
        clock: clock.clone(),
        rng: Arc::new(SeededRng::new(1)),
        disk: disk.mount(),
    };
    let slot = Slot::open(manual(Path::new("/slot")), env).unwrap();
    let id = open_partition(&slot, Durability::Fsync);
    let mut taken = 0;
    let mut fill = |upto| {
        while taken < upto {
            let commit = one(id, batch(1, &[taken; 10_000]));
            let Ok(_) = slot.commit(commit) else { break };
            taken += 1;
            while slot.step_journal() {}
        }
        taken
    };
    fill(20);
    let faults = Faults {
        out_of_files_one_in: 1,
        ..Faults::default()
    };
    // First the journal needs a file, then settling does.
    for upto in [40, 80] {
        disk.set_faults(faults);
        fill(upto);
        for _ in 0..10 {
            clock.advance_ms(1_000);
            run(&slot);
        }
        disk.set_faults(Faults::default());
        for _ in 0..10 {
            clock.advance_ms(1_000);
            run(&slot);
        }
        fill(upto);
        run(&slot);
    }
    let found = read_all(&slot.partition(id).unwrap(), Offset(0));
    let payloads: Vec<u8> = found.iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(payloads, (0..80).collect::<Vec<u8>>());
    assert!(slot.disk_usage(id) > 0);
}
