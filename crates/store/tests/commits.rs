//! What a commit does, seen from outside, on the machine's disk.

mod common;

use bytes::Bytes;
use common::{
    append, batch, batch_from, manual, one, open, open_partition, open_partition_with, read_all,
};
use millstream_env::Env;
use millstream_record::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use millstream_store::{
    Append, Behind, Commit, CommitError, Durability, Mark, OpenError, Overflow, PartitionPolicy,
    ReadError, Require, Slot, SlotSettings, Trim,
};
use smallvec::smallvec;

#[test]
fn readers_see_a_batch_once_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let id = open_partition(&slot, Durability::Fsync);
    let partition = slot.partition(id).unwrap();

    let sequenced = slot.commit(one(id, batch(3, b"first"))).unwrap();
    assert_eq!(sequenced.appends[0].base_offset, Offset(0));
    assert_eq!(sequenced.appends[0].last_offset, Offset(2));
    assert_eq!(partition.offsets().high_watermark, Offset(0));
    assert_eq!(partition.offsets().log_end, Offset(3));
    assert!(!sequenced.durable.is_ready());

    assert!(slot.step_journal());
    sequenced.durable.wait().unwrap();
    assert_eq!(partition.offsets().high_watermark, Offset(3));
    assert_eq!(read_all(&partition, Offset(0)), [(0, b"first".to_vec())]);
    assert!(!slot.step_journal());
}

#[test]
fn a_restart_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = {
        let slot = open(manual(dir.path()));
        let a = open_partition(&slot, Durability::Fsync);
        let b = open_partition(&slot, Durability::Os);
        for n in 0..200u8 {
            let both = Commit {
                appends: smallvec![
                    append(&[a], batch(2, &[n; 5000])),
                    append(&[a, b], batch(1, &[n; 10])),
                ],
                puts: vec![(Bytes::from(vec![9, n]), Bytes::from(vec![n]))],
                ..Commit::default()
            };
            drop(slot.commit(both).unwrap());
            if n % 7 == 0 {
                slot.step_journal();
            }
        }
        while slot.step_journal() {}
        (a, b)
    };

    let slot = open(manual(dir.path()));
    assert!(!slot.recovery().clean);
    let found = read_all(&slot.partition(a).unwrap(), Offset(0));
    assert_eq!(found.len(), 400);
    assert_eq!(found[399], (599, vec![199; 10]));
    let found = read_all(&slot.partition(b).unwrap(), Offset(0));
    assert_eq!(found.len(), 200);
    assert_eq!(found[120], (120, vec![120; 10]));
    assert_eq!(slot.state().scan(&[9]).unwrap().count(), 200);
    let offsets = slot.partition(b).unwrap().offsets();
    assert_eq!(
        (offsets.log_end, offsets.leader_epoch),
        (Offset(200), LeaderEpoch(1))
    );
    assert_eq!(
        slot.partition(b).unwrap().epoch_end(LeaderEpoch(0)),
        Some((LeaderEpoch(0), Offset(200)))
    );
}

/// The second send of a batch for several partitions, with what came along.
#[test]
fn a_batch_for_several_partitions_sent_again_is_appended_to_none() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let durabilities = [Durability::Fsync, Durability::Os, Durability::Memory];
    let ids = durabilities.map(|durability| open_partition(&slot, durability));
    let all = || {
        let sent = batch_from(2, b"x", ProducerId(7), ProducerEpoch(0), Sequence(0));
        let mark = Mark {
            delta: 1,
            target: 1,
            key: Bytes::from_static(b"mark"),
            value: Bytes::new(),
            behind: Behind::Key,
        };
        Commit {
            appends: smallvec![
                Append {
                    marks: vec![mark],
                    ..append(&ids, sent)
                },
                Append {
                    after: Some(0),
                    ..append(&ids[1..2], batch(3, b"more"))
                },
                Append {
                    after: Some(1),
                    ..append(&ids[..1], batch(1, b"and more"))
                },
                append(&ids[1..2], batch(1, b"by itself")),
            ],
            ..Commit::default()
        }
    };
    let ends = |slot: &Slot| ids.map(|id| slot.partition(id).unwrap().offsets().log_end.0);

    let first = slot.commit(all()).unwrap();
    assert!(first.appends.iter().all(|appended| !appended.duplicate));
    assert_eq!(ends(&slot), [3, 6, 2]);
    let marked = [&b"mark"[..], &1i64.to_be_bytes()].concat();
    assert_eq!(slot.state().scan(b"mark").unwrap().count(), 1);
    assert!(slot.state().get(&marked).unwrap().is_some());

    let again = slot.commit(all()).unwrap();
    let got = again
        .appends
        .iter()
        .map(|it| (it.base_offset.0, it.duplicate));
    let gone = (-1, true);
    assert_eq!(
        got.collect::<Vec<_>>(),
        [(0, true), gone, gone, gone, gone, (6, false)]
    );
    assert_eq!(ends(&slot), [3, 7, 2]);
    while slot.step_journal() {}
    drop(slot);

    let slot = open(manual(dir.path()));
    let producers = |id| slot.partition(id).unwrap().producers().len();
    assert_eq!([producers(ids[0]), producers(ids[1])], [1, 0]);
    let after_restart = slot.commit(all()).unwrap();
    assert!(after_restart.appends[0].duplicate);
    assert_eq!(ends(&slot)[..2], [3, 8]);
}

/// What a memory partition knows of a producer is gone after a restart, and nobody else takes it over.
#[test]
fn the_producer_of_a_memory_partition_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let memory = open_partition(&slot, Durability::Memory);
    let disk = open_partition(&slot, Durability::Fsync);
    let sent = batch_from(2, b"x", ProducerId(7), ProducerEpoch(0), Sequence(0));
    let both = Commit::append(append(&[memory, disk], sent));
    drop(slot.commit(both.clone()).unwrap());
    assert!(
        slot.commit(both)
            .unwrap()
            .appends
            .iter()
            .all(|appended| appended.duplicate)
    );
    while slot.step_journal() {}
    drop(slot);

    let slot = open(manual(dir.path()));
    assert_eq!(slot.partition(disk).unwrap().offsets().log_end, Offset(2));
    for id in [memory, disk] {
        assert!(slot.partition(id).unwrap().producers().is_empty());
    }
}

/// Settled while its producer is at work: what would be written down then is old after the restart, and the producer's next
/// batch would be refused.
#[test]
fn the_producer_of_a_memory_partition_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || SlotSettings {
        settle_after: std::time::Duration::ZERO,
        ..manual(dir.path())
    };
    let slot = open(settings());
    let memory = open_partition(&slot, Durability::Memory);
    let produce = |slot: &Slot, sequence| {
        let sent = batch_from(1, b"x", ProducerId(7), ProducerEpoch(0), Sequence(sequence));
        slot.commit(Commit::append(append(&[memory], sent)))
    };
    for sequence in 0..3 {
        drop(produce(&slot, sequence).unwrap());
        while slot.step_journal() | slot.step_settling() {}
    }
    drop(produce(&slot, 3).unwrap());
    drop(slot);

    let slot = open(settings());
    assert!(slot.partition(memory).unwrap().producers().is_empty());
    drop(produce(&slot, 4).unwrap());
}

/// Whether the entry has changed since the last checkpoint or not.
#[test]
fn a_commit_that_requires_an_offset_is_taken_only_if_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let settings = SlotSettings {
        settle_after: std::time::Duration::ZERO,
        ..manual(dir.path())
    };
    let slot = open(settings);
    let id = open_partition(&slot, Durability::Fsync);
    let publish = |expected: Option<i64>| {
        let mark = Mark {
            delta: 1,
            target: 0,
            key: Bytes::from_static(b"position"),
            value: Bytes::from_static(b"v"),
            behind: Behind::Value,
        };
        let require = Require {
            partition: id,
            key: mark.key.clone(),
            expected: expected.map(Offset),
            number: 3,
        };
        slot.commit(Commit::append(Append {
            marks: vec![mark],
            requires: vec![require],
            ..append(&[id], batch(2, b"x"))
        }))
    };
    let mismatch = |actual: Option<i64>, tried: Result<_, CommitError>| match tried {
        Err(CommitError::PositionMismatch {
            actual: found,
            number,
            ..
        }) => {
            assert_eq!((found, number), (actual.map(Offset), 3));
        }
        other => panic!("{other:?}"),
    };
    mismatch(None, publish(Some(1)));
    for round in 0..4 {
        let last = (round > 0).then_some(2 * round - 1);
        mismatch(last, publish(Some(2 * round + 1)));
        drop(publish(last).unwrap());
        mismatch(Some(2 * round + 1), publish(last));
        if round % 2 == 0 {
            while slot.step_journal() | slot.step_settling() {}
        }
    }
    assert_eq!(slot.partition(id).unwrap().offsets().log_end, Offset(8));
    let trim = Trim {
        partition: id,
        log_start: Offset(8),
    };
    let trim = Commit {
        trims: vec![trim],
        ..Commit::default()
    };
    drop(slot.commit(trim).unwrap());
    mismatch(None, publish(Some(7)));
    drop(publish(None).unwrap());
}

#[test]
fn a_refused_commit_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let id = open_partition(&slot, Durability::Fsync);
    let producer =
        |sequence| batch_from(2, b"x", ProducerId(7), ProducerEpoch(0), Sequence(sequence));
    let refused = slot.commit(Commit {
        appends: smallvec![
            append(&[id], producer(0)),
            append(&[id], producer(2)),
            append(&[id], producer(9)),
        ],
        puts: vec![(Bytes::from_static(b"k"), Bytes::from_static(b"v"))],
        ..Commit::default()
    });
    assert!(matches!(
        refused,
        Err(CommitError::OutOfOrderSequence { .. })
    ));
    assert_eq!(slot.partition(id).unwrap().offsets().log_end, Offset(0));
    assert_eq!(slot.state().get(b"k").unwrap(), None);
    assert!(slot.partition(id).unwrap().producers().is_empty());

    let reserved = slot.commit(Commit {
        puts: vec![(Bytes::from_static(b"\0k"), Bytes::new())],
        ..Commit::default()
    });
    assert!(matches!(reserved, Err(CommitError::BadKey { .. })));
    let large = slot.commit(one(id, batch(1, &[0; 256 << 10])));
    assert!(matches!(large, Err(CommitError::TooLarge { .. })));
    let beyond = slot.commit(Commit {
        trims: vec![Trim {
            partition: id,
            log_start: Offset(1),
        }],
        ..Commit::default()
    });
    assert!(matches!(beyond, Err(CommitError::TrimBeyondEnd { .. })));
}

#[test]
fn idempotent_batches_are_appended_once_also_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let producer = |epoch, sequence| {
        batch_from(
            2,
            b"x",
            ProducerId(7),
            ProducerEpoch(epoch),
            Sequence(sequence),
        )
    };
    let slot = open(manual(dir.path()));
    let id = open_partition(&slot, Durability::Fsync);
    let first = slot.commit(one(id, producer(0, 0))).unwrap();
    let again = slot.commit(one(id, producer(0, 0))).unwrap();
    assert!(again.appends[0].duplicate);
    assert_eq!(again.appends[0].base_offset, first.appends[0].base_offset);
    assert!(
        !again.durable.is_ready(),
        "a duplicate is as durable as the original"
    );
    slot.step_journal();
    again.durable.wait().unwrap();
    drop(slot.commit(one(id, producer(0, 2))).unwrap());
    slot.step_journal();
    drop(slot);

    let slot = open(manual(dir.path()));
    assert!(slot.commit(one(id, producer(0, 2))).unwrap().appends[0].duplicate);
    let skipped = slot.commit(one(id, producer(0, 6)));
    assert!(matches!(
        skipped,
        Err(CommitError::OutOfOrderSequence { .. })
    ));
    let next = slot.commit(one(id, producer(0, 4))).unwrap();
    assert_eq!(next.appends[0].base_offset, Offset(4));
    let bumped = slot.commit(one(id, producer(1, 0))).unwrap();
    assert_eq!(bumped.appends[0].base_offset, Offset(6));
    let fenced = slot.commit(one(id, producer(0, 6)));
    assert!(matches!(
        fenced,
        Err(CommitError::InvalidProducerEpoch { .. })
    ));
}

#[test]
fn trims_and_drops_last() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let id = open_partition(&slot, Durability::Fsync);
    let gone = open_partition(&slot, Durability::Fsync);
    for n in 0..4 {
        drop(slot.commit(one(id, batch(5, &[n]))).unwrap());
        drop(slot.commit(one(gone, batch(5, &[n]))).unwrap());
    }
    slot.step_journal();
    drop(
        slot.commit(Commit {
            trims: vec![Trim {
                partition: id,
                log_start: Offset(7),
            }],
            drops: vec![gone],
            ..Commit::default()
        })
        .unwrap(),
    );
    assert!(slot.partition(gone).is_none());
    slot.step_journal();
    drop(slot);

    let slot = open(manual(dir.path()));
    assert!(slot.partition(gone).is_none());
    let partition = slot.partition(id).unwrap();
    assert_eq!(partition.offsets().log_start, Offset(7));
    assert!(matches!(
        partition.read(Offset(6), 100, Offset(20)),
        Err(ReadError::OutOfRange { .. })
    ));
    assert_eq!(read_all(&partition, Offset(7))[0].0, 5);
    assert!(
        slot.next_partition_id() > gone,
        "numbers are not used again"
    );
}

#[test]
fn memory_partitions_answer_at_once_and_resume_higher() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let policy = PartitionPolicy {
        memory_bytes: 1000,
        ..PartitionPolicy::default()
    };
    let id = open_partition_with(&slot, Durability::Memory, policy);
    // The first offsets are reserved through the journal.
    drop(slot.commit(one(id, batch(1, &[0; 100]))).unwrap());
    slot.step_journal();
    for n in 1..20 {
        let sequenced = slot.commit(one(id, batch(1, &[n; 100]))).unwrap();
        assert!(sequenced.durable.is_ready());
    }
    let partition = slot.partition(id).unwrap();
    let found = read_all(&partition, partition.offsets().log_start);
    assert_eq!(found.len(), 6, "the oldest make room");
    assert_eq!(found[5], (19, vec![19; 100]));

    let refusing = PartitionPolicy {
        overflow: Overflow::Refuse,
        ..policy
    };
    slot.set_policy(id, refusing);
    let refused = slot.commit(one(id, batch(1, &[0; 100])));
    assert!(matches!(refused, Err(CommitError::MemoryFull { .. })));
    let hopeless = slot.commit(one(id, batch(1, &[0; 1001])));
    assert!(matches!(hopeless, Err(CommitError::TooLarge { .. })));
    drop((slot, partition));

    let slot = open(manual(dir.path()));
    let offsets = slot.partition(id).unwrap().offsets();
    assert!(offsets.log_start > Offset(19));
    assert_eq!(offsets.log_start, offsets.log_end);
    assert_eq!(offsets.leader_epoch, LeaderEpoch(1));
}

#[test]
fn one_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let second = Slot::open(manual(dir.path()), Env::real());
    assert!(matches!(second, Err(OpenError::Locked(_))));
    drop(slot);
    drop(open(manual(dir.path())));
}

#[tokio::test]
async fn threads_drive_a_slot_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(SlotSettings::new(dir.path()));
    let id = slot.next_partition_id();
    let opened = Commit {
        opens: vec![millstream_store::PartitionOpen {
            id,
            durability: Durability::Fsync,
            policy: PartitionPolicy::default(),
        }],
        ..Commit::default()
    };
    slot.commit(opened).unwrap().durable.await.unwrap();
    let mut tickets = Vec::new();
    for n in 0..100 {
        let _admission = slot.admit(1000).await;
        tickets.push(slot.commit(one(id, batch(1, &[n; 1000]))).unwrap().durable);
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    assert_eq!(read_all(&slot.partition(id).unwrap(), Offset(0)).len(), 100);
    slot.shutdown().await.unwrap();
    assert!(matches!(
        slot.commit(one(id, batch(1, b""))),
        Err(CommitError::ShuttingDown)
    ));
}
