//! Backups of a slot at work, and what the doctor says of whole and damaged directories.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use common::{append, batch, manual, one, open, open_partition, read_all};
use millstream_env::Env;
use millstream_record::Offset;
use millstream_store::doctor::{Depth, Diagnosis, Severity, diagnose};
use millstream_store::{
    BackupError, Commit, Durability, OpenError, PartitionId, Slot, SlotSettings, backup_closed,
    restore,
};
use smallvec::smallvec;
use tempfile::TempDir;

fn run(slot: &Slot) {
    while slot.step_journal() | slot.step_settling() {}
    assert!(slot.failed().is_none(), "{:?}", slot.failed());
}

fn examine(dir: &Path, depth: Depth) -> Diagnosis {
    diagnose(&Env::real(), dir, depth, &mut |_, _| {}).unwrap()
}

/// Commits `count` batches to each partition, numbered from `from`.
fn fill(slot: &Slot, partitions: &[PartitionId], from: u32, count: u32) {
    for number in from..from + count {
        let number = number.to_be_bytes();
        let payload = [&number[..], &[7; 2000]].concat();
        let commit = Commit {
            appends: smallvec![append(partitions, batch(1, &payload))],
            puts: vec![(
                Bytes::from(vec![9, number[3]]),
                Bytes::copy_from_slice(&number),
            )],
            ..Commit::default()
        };
        drop(slot.commit(commit).unwrap());
        slot.step_journal();
    }
}

fn check(slot: &Slot, partitions: &[PartitionId], count: u32) {
    for partition in partitions {
        let found = read_all(&slot.partition(*partition).unwrap(), Offset(0));
        assert_eq!(found.len(), count as usize, "partition {partition}");
        for (number, (offset, payload)) in found.iter().enumerate() {
            assert_eq!(*offset, number as i64);
            assert_eq!(payload[..4], (number as u32).to_be_bytes());
        }
    }
}

/// A slot with batches in packs and more in the journal.
fn slot_at_work(dir: &Path) -> (Slot, Vec<PartitionId>) {
    let slot = open(manual(dir));
    let partitions: Vec<_> = (0..3)
        .map(|_| open_partition(&slot, Durability::Fsync))
        .collect();
    fill(&slot, &partitions, 0, 400);
    run(&slot);
    fill(&slot, &partitions, 400, 60);
    (slot, partitions)
}

#[test]
fn a_backup_holds_what_was_there_when_it_began() {
    let dirs = tempfile::tempdir().unwrap();
    let (slot, partitions) = slot_at_work(&dirs.path().join("data"));
    let backup = dirs.path().join("backup");
    let summary = slot.backup(&backup).unwrap();
    assert!(summary.packs > 0 && summary.linked == summary.packs);
    assert!(summary.journal_bytes > 60 * 2000);

    // The slot goes on, settles and merges; the backup does not notice.
    fill(&slot, &partitions, 460, 700);
    run(&slot);
    check(&slot, &partitions, 1160);
    drop(slot);

    let diagnosis = examine(&backup, Depth::Batches);
    assert!(
        diagnosis.whole && diagnosis.findings.is_empty(),
        "{diagnosis:?}"
    );

    let restored = dirs.path().join("restored");
    let summary = restore(&Env::real(), &backup, &restored).unwrap();
    assert_eq!(summary.linked, 0);
    let slot = open(manual(&restored));
    assert!(!slot.recovery().clean);
    check(&slot, &partitions, 460);
    assert_eq!(slot.state().scan(&[9]).unwrap().count(), 256);
    fill(&slot, &partitions, 460, 300);
    run(&slot);
    check(&slot, &partitions, 760);
}

#[test]
fn a_backup_has_no_journal_but_what_is_needed() {
    let dirs = tempfile::tempdir().unwrap();
    let settings = SlotSettings {
        journal_file_bytes: 1 << 20,
        ..manual(&dirs.path().join("data"))
    };
    let slot = open(settings);
    let partitions = [open_partition(&slot, Durability::Fsync)];
    for round in 0..20 {
        fill(&slot, &partitions, round * 500, 500);
        run(&slot);
    }
    let backup = dirs.path().join("backup");
    slot.backup(&backup).unwrap();
    let files = fs::read_dir(backup.join("journal")).unwrap().count();
    assert!(files <= 3, "{files} journal files");
    check(&open(manual(&backup)), &partitions, 10_000);
}

#[test]
fn a_new_slot_can_be_backed_up() {
    let dirs = tempfile::tempdir().unwrap();
    let slot = open(manual(&dirs.path().join("data")));
    let backup = dirs.path().join("backup");
    slot.backup(&backup).unwrap();
    assert!(examine(&backup, Depth::Batches).whole);
    drop(open(manual(&backup)));
}

#[tokio::test]
async fn a_slot_stopped_in_order_has_a_backup_without_a_journal() {
    let dirs = tempfile::tempdir().unwrap();
    let data = dirs.path().join("data");
    let (slot, partitions) = slot_at_work(&data);
    slot.shutdown().await.unwrap();
    drop(slot);
    let slot = open(manual(&data));
    let backup = dirs.path().join("backup");
    slot.backup(&backup).unwrap();
    check(&open(manual(&backup)), &partitions, 460);
}

#[tokio::test]
async fn a_closed_slot_is_backed_up_by_linking_its_packs() {
    let dirs = tempfile::tempdir().unwrap();
    let data = dirs.path().join("data");
    let (slot, partitions) = slot_at_work(&data);
    let backup = dirs.path().join("backup");
    assert!(matches!(
        backup_closed(&Env::real(), &data, &backup),
        Err(BackupError::Open(OpenError::Locked(_)))
    ));
    slot.shutdown().await.unwrap();
    drop(slot);
    let summary = backup_closed(&Env::real(), &data, &backup).unwrap();
    assert!(summary.packs > 0 && summary.linked == summary.packs);
    let bytes = examine(&backup, Depth::Batches).manifest.unwrap().bytes;
    assert_eq!(summary.pack_bytes, bytes);
    let slot = open(manual(&backup));
    assert!(slot.recovery().clean);
    check(&slot, &partitions, 460);
}

/// Whatever is damaged in a backup, down to one byte of one record.
#[test]
fn a_damaged_backup_is_not_restored() {
    let dirs = tempfile::tempdir().unwrap();
    let (slot, _) = slot_at_work(&dirs.path().join("data"));
    for (part, at) in [("packs", 1_000), ("packs", 3), ("manifest", 40)] {
        let backup = dirs.path().join(format!("backup-{part}-{at}"));
        slot.backup(&backup).unwrap();
        let file = first_file(&backup.join(part));
        // Not in the data directory, which has the same packs.
        let copy = backup.join("copy");
        fs::copy(&file, &copy).unwrap();
        fs::rename(&copy, &file).unwrap();
        flip(&file, at);
        let target = dirs.path().join("restored");
        let refused = restore(&Env::real(), &backup, &target).unwrap_err();
        assert!(
            matches!(&refused, BackupError::Damaged { dir, part: told, .. } if *dir == backup && told.starts_with(part)),
            "{refused}"
        );
        assert!(!target.exists());
    }
}

#[test]
fn a_directory_in_use_is_not_written_over() {
    let dirs = tempfile::tempdir().unwrap();
    let (slot, _) = slot_at_work(&dirs.path().join("data"));
    let taken = dirs.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("file"), "mine").unwrap();
    assert!(matches!(slot.backup(&taken), Err(BackupError::NotEmpty(_))));
    let backup = dirs.path().join("backup");
    slot.backup(&backup).unwrap();
    let restored = restore(&Env::real(), &backup, &taken);
    assert!(matches!(restored, Err(BackupError::NotEmpty(_))));
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1);
}

#[test]
fn an_unfinished_backup_is_no_data_directory() {
    let dirs = tempfile::tempdir().unwrap();
    let (slot, _) = slot_at_work(&dirs.path().join("data"));
    let backup = dirs.path().join("backup");
    slot.backup(&backup).unwrap();
    fs::remove_file(backup.join("FORMAT")).unwrap();
    let opened = Slot::open(manual(&backup), Env::real());
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
    let restored = restore(&Env::real(), &backup, &dirs.path().join("restored"));
    assert!(matches!(restored, Err(BackupError::Damaged { .. })));
}

#[test]
fn an_open_or_missing_directory_is_not_diagnosed() {
    let dirs = tempfile::tempdir().unwrap();
    let data = dirs.path().join("data");
    let (slot, _) = slot_at_work(&data);
    let look = |dir: &Path| diagnose(&Env::real(), dir, Depth::Structure, &mut |_, _| {});
    assert!(matches!(look(&data), Err(OpenError::Locked(_))));
    drop(slot);
    assert!(look(&data).unwrap().whole);
    let nothing = dirs.path().join("nothing");
    assert!(matches!(look(&nothing), Err(OpenError::Io { .. })));
    assert!(!nothing.exists());
}

#[test]
fn a_whole_directory_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (slot, _) = slot_at_work(dir.path());
    drop(slot);
    let before = listing(dir.path());
    let mut progress = Vec::new();
    let diagnosis = diagnose(
        &Env::real(),
        dir.path(),
        Depth::Batches,
        &mut |done, all| {
            progress.push((done, all));
        },
    )
    .unwrap();
    assert_eq!(listing(dir.path()), before);
    assert!(
        diagnosis.whole && diagnosis.findings.is_empty(),
        "{diagnosis:?}"
    );
    assert_eq!(diagnosis.packs.batches, 1200);
    let journal = diagnosis.journal.as_ref().unwrap();
    assert!(
        journal.entries >= 60 && journal.batches == 60,
        "{journal:?}"
    );
    assert_eq!(diagnosis.state.as_ref().unwrap().partitions, 3);
    assert_eq!(progress.last().map(|(done, all)| done == all), Some(true));
    let json = serde_json::to_value(&diagnosis).unwrap();
    assert_eq!(json["whole"], true);
}

/// All files with their content.
fn listing(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.push((path, content));
            }
        }
    }
    found.sort();
    found
}

/// Makes a slot, damages it, and returns what the doctor says.
fn damaged(damage: impl FnOnce(&Path)) -> (TempDir, Diagnosis) {
    let dir = tempfile::tempdir().unwrap();
    let (slot, _) = slot_at_work(dir.path());
    drop(slot);
    damage(dir.path());
    let diagnosis = examine(dir.path(), Depth::Batches);
    (dir, diagnosis)
}

fn first_file(dir: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.remove(0)
}

fn flip(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content[at] ^= 1;
    fs::write(path, content).unwrap();
}

fn expect(diagnosis: &Diagnosis, severity: Severity, part: &str, problem: &str) {
    assert!(!diagnosis.whole);
    let worst = &diagnosis.findings[0];
    assert_eq!(worst.severity, severity, "{diagnosis:?}");
    assert!(worst.part.starts_with(part), "{worst:?}");
    assert!(worst.problem.contains(problem), "{worst:?}");
}

#[test]
fn damage_is_named() {
    let (_dir, found) = damaged(|dir| flip(&first_file(&dir.join("packs")), 1000));
    expect(&found, Severity::Damage, "packs/", "checksum");
    assert_eq!(found.packs.damaged, 1);

    let (_dir, found) = damaged(|dir| flip(&first_file(&dir.join("packs")), 3));
    expect(&found, Severity::Damage, "packs/", "not a pack");
    assert_eq!(found.packs.batches, 1200, "they are read all the same");

    let (_dir, found) = damaged(|dir| fs::remove_file(first_file(&dir.join("packs"))).unwrap());
    expect(&found, Severity::Damage, "packs/", "missing");

    let (_dir, found) = damaged(|dir| flip(&first_file(&dir.join("manifest")), 40));
    expect(&found, Severity::Fatal, "manifest", "checksum");

    let (_dir, found) = damaged(|dir| fs::remove_file(first_file(&dir.join("manifest"))).unwrap());
    expect(&found, Severity::Fatal, "manifest", "no manifest");

    let (_dir, found) = damaged(|dir| fs::write(dir.join("state.redb"), "nothing").unwrap());
    expect(&found, Severity::Fatal, "state.redb", "");

    let (_dir, found) = damaged(|dir| fs::remove_file(dir.join("state.redb")).unwrap());
    expect(
        &found,
        Severity::Fatal,
        "journal",
        "what is in between is gone",
    );

    let (_dir, found) = damaged(|dir| flip(&dir.join("FORMAT"), 20));
    expect(&found, Severity::Fatal, "FORMAT", "");
}

/// By an older manifest newer packs would be left over: nothing may be deleted before that is noticed.
#[test]
fn a_manifest_older_than_the_state_table_is_refused_and_costs_nothing() {
    let dirs = tempfile::tempdir().unwrap();
    let data = dirs.path().join("data");
    let (slot, partitions) = slot_at_work(&data);
    let manifest = data.join("manifest");
    let older = listing(&manifest);
    fill(&slot, &partitions, 460, 400);
    run(&slot);
    drop(slot);
    let newer = listing(&manifest);
    let replace = |with: &[(PathBuf, Vec<u8>)]| {
        fs::remove_dir_all(&manifest).unwrap();
        fs::create_dir(&manifest).unwrap();
        for (path, content) in with {
            fs::write(path, content).unwrap();
        }
    };
    replace(&older);
    let packs = listing(&data.join("packs"));
    let refused = Slot::open(manual(&data), Env::real());
    assert!(
        matches!(&refused, Err(OpenError::Damaged { file, .. }) if *file == manifest),
        "{refused:?}"
    );
    let diagnosis = examine(&data, Depth::Batches);
    expect(
        &diagnosis,
        Severity::Fatal,
        "manifest",
        "newest manifest is missing",
    );
    assert_eq!(listing(&data.join("packs")), packs);

    replace(&newer);
    check(&open(manual(&data)), &partitions, 860);
}

#[test]
fn a_part_that_is_missing_is_not_made_up() {
    for part in ["journal", "packs", "manifest"] {
        let dirs = tempfile::tempdir().unwrap();
        let data = dirs.path().join("data");
        let (slot, partitions) = slot_at_work(&data);
        drop(slot);
        let (there, away) = (data.join(part), dirs.path().join("away"));
        fs::rename(&there, &away).unwrap();
        let refused = Slot::open(manual(&data), Env::real());
        assert!(
            matches!(&refused, Err(OpenError::Damaged { file, .. }) if *file == there),
            "{refused:?}"
        );
        fs::rename(&away, &there).unwrap();
        check(&open(manual(&data)), &partitions, 460);
    }
}

#[test]
fn what_does_not_belong_is_mentioned() {
    let (_dir, found) = damaged(|dir| fs::write(dir.join("packs/readme.txt"), "hello").unwrap());
    assert!(found.whole);
    assert_eq!(found.findings[0].severity, Severity::Notice);
    assert_eq!(found.findings[0].part, "packs/readme.txt");
}

#[test]
fn a_damaged_journal_is_told_from_one_that_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let slot = open(manual(dir.path()));
    let partition = open_partition(&slot, Durability::Fsync);
    for number in 0..20u8 {
        drop(
            slot.commit(one(partition, batch(1, &[number; 100])))
                .unwrap(),
        );
        slot.step_journal();
    }
    drop(slot);
    let file = fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "journal")
        })
        .unwrap();
    let whole = fs::read(&file).unwrap();
    let places: Vec<_> = (0..20u8)
        .map(|number| {
            whole
                .windows(100)
                .position(|window| window == [number; 100])
                .unwrap()
        })
        .collect();

    flip(&file, places[19]);
    let found = examine(dir.path(), Depth::Structure);
    assert!(
        found.whole,
        "the last one may not have been finished: {found:?}"
    );
    fs::write(&file, &whole).unwrap();

    flip(&file, places[5]);
    let found = examine(dir.path(), Depth::Structure);
    expect(&found, Severity::Damage, "journal", "cannot be read");
}
