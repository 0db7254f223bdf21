//! What every medium has to pass: in memory, on the machine's disk, and on the simulated one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millstream_env::sim::{Faults, SimDisk};
use millstream_env::{Access, Disk, RealDisk, SystemClock, aligned_buffer};
use millstream_store::JournalPosition;
use millstream_store::media::{
    BlobMedium, Claim, JournalMedium, LocalBlobs, LocalJournal, MemoryBlobs, MemoryJournal,
};

const FILE_BYTES: u64 = 32 << 10;

/// A medium that can be opened again, the former handle staying as it is.
struct Journals<'a> {
    open: Box<dyn Fn() -> Arc<dyn JournalMedium> + 'a>,
}

fn on_every_journal(check: impl Fn(&Journals<'_>)) {
    let memory = MemoryJournal::new();
    check(&Journals {
        open: Box::new(|| Arc::new(memory.reopen())),
    });

    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let path = dir.path().join("journal");
    check(&Journals {
        open: Box::new(|| Arc::new(open_journal(Arc::clone(&disk), &path).unwrap())),
    });

    for seed in 0..20 {
        let sim = SimDisk::new(seed, 64 << 20);
        check(&Journals {
            // Each handle after a crash: what is checked is what was synced.
            open: Box::new(|| {
                sim.restart();
                let journal = open_journal(sim.mount(), Path::new("/journal"));
                Arc::new(journal.unwrap())
            }),
        });
    }
}

fn open_journal(disk: Arc<dyn Disk>, path: &Path) -> io::Result<LocalJournal> {
    LocalJournal::open(disk, Arc::new(SystemClock::new()), path, FILE_BYTES)
}

fn group(fill: u8, len: usize) -> bytes::BytesMut {
    let mut group = aligned_buffer(len);
    group.resize(len, fill);
    group
}

fn read(journal: &dyn JournalMedium, at: JournalPosition, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    let count = journal.read(at, &mut buf).unwrap();
    buf.truncate(count);
    buf
}

/// Appends groups as the writer does, and returns where they went.
fn append(
    journal: &dyn JournalMedium,
    mut end: JournalPosition,
    groups: impl IntoIterator<Item = (u8, usize)>,
) -> Vec<(JournalPosition, u8, usize)> {
    let mut placed = Vec::new();
    for (fill, len) in groups {
        let room = journal.room(end);
        if room < len as u64 {
            end = end.advance(room);
        }
        assert!(
            journal
                .claim(end.advance(len as u64), Claim::Ahead)
                .unwrap()
        );
        journal.append(end, &group(fill, len), true).unwrap();
        placed.push((end, fill, len));
        end = end.advance(len as u64);
    }
    placed
}

#[test]
fn an_empty_journal_starts_at_zero() {
    on_every_journal(|journals| {
        let journal = (journals.open)();
        journal.fence().unwrap();
        let extent = journal.extent().unwrap();
        assert_eq!(
            (extent.first, extent.end),
            (JournalPosition(0), JournalPosition(0))
        );
        assert!(journal.room(JournalPosition(0)) >= 8192);
    });
}

#[test]
fn synced_groups_are_read_back_by_whoever_comes_next() {
    on_every_journal(|journals| {
        let placed = {
            let journal = (journals.open)();
            journal.fence().unwrap();
            let sizes = (1..30).map(|n| (n, 4096 * (1 + n as usize % 5)));
            append(&*journal, JournalPosition(0), sizes)
        };
        let journal = (journals.open)();
        for (at, fill, len) in &placed {
            assert_eq!(read(&*journal, *at, *len), vec![*fill; *len], "at {at}");
        }
        let (last, _, len) = placed[placed.len() - 1];
        assert!(journal.extent().unwrap().end >= last.advance(len as u64));
    });
}

#[test]
fn a_sync_covers_the_groups_before_it() {
    on_every_journal(|journals| {
        {
            let journal = (journals.open)();
            journal.fence().unwrap();
            assert!(
                journal
                    .claim(JournalPosition(2 * FILE_BYTES), Claim::Ahead)
                    .unwrap()
            );
            for n in 0..8u8 {
                let at = JournalPosition(u64::from(n) * 8192);
                journal.append(at, &group(n, 8192), n == 7).unwrap();
            }
        }
        let journal = (journals.open)();
        for n in 0..8u8 {
            let at = JournalPosition(u64::from(n) * 8192);
            assert_eq!(read(&*journal, at, 8192), vec![n; 8192]);
        }
    });
}

#[test]
fn trimming_keeps_what_comes_after() {
    on_every_journal(|journals| {
        let journal = (journals.open)();
        journal.fence().unwrap();
        let mut end = JournalPosition(0);
        for round in 0..10u8 {
            let placed = append(&*journal, end, (0..9).map(|n| (round * 10 + n, 8192)));
            let (at, _, _) = placed[4];
            journal.trim(at).unwrap();
            while journal.prepare(true).unwrap() {}
            assert!(journal.extent().unwrap().first <= at);
            for (at, fill, len) in &placed[4..] {
                assert_eq!(read(&*journal, *at, *len), vec![*fill; *len]);
            }
            let (last, _, len) = placed[8];
            end = last.advance(len as u64);
        }
        journal.trim(end).unwrap();
        let extent = journal.extent().unwrap();
        assert!(
            extent.first <= end && extent.end >= end,
            "it still says where it ends"
        );
    });
}

#[test]
fn a_journal_has_one_owner() {
    on_every_journal(|journals| {
        let first = (journals.open)();
        first.fence().unwrap();
        append(&*first, JournalPosition(0), [(1, 4096)]);
        let second = (journals.open)();
        match second.fence() {
            // The first is still there and stays the owner.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ResourceBusy),
            Ok(()) => {
                let stale = first.append(JournalPosition(4096), &group(9, 4096), true);
                assert!(stale.is_err(), "a fenced owner must not write");
                append(&*second, JournalPosition(4096), [(2, 4096)]);
                assert_eq!(read(&*second, JournalPosition(4096), 4096), vec![2; 4096]);
            }
        }
    });
}

#[test]
fn without_ample_room_all_spares_but_one_are_given_back() {
    let sim = SimDisk::new(1, 1 << 20);
    let mount = sim.mount();
    let journal = open_journal(mount.clone(), Path::new("/journal")).unwrap();
    let end = JournalPosition(4 * FILE_BYTES);
    assert!(journal.claim(end, Claim::Ahead).unwrap());
    journal
        .append(JournalPosition(3 * FILE_BYTES), &group(1, 4096), true)
        .unwrap();
    journal.trim(JournalPosition(3 * FILE_BYTES + 1)).unwrap();
    let files = || mount.list(Path::new("/journal")).unwrap().len();
    assert_eq!(files(), 4, "three spares wait beside the file in use");
    assert!(!journal.prepare(false).unwrap());
    assert_eq!(files(), 2);
    sim.set_capacity(sim.used_bytes());
    let next = JournalPosition(4 * FILE_BYTES + 4096);
    assert!(
        !journal.claim(next, Claim::Nothing).unwrap(),
        "it is kept for what makes room"
    );
    assert!(journal.claim(next, Claim::Needed).unwrap());
    assert_eq!(files(), 2, "the one that was kept is used");
}

#[test]
fn a_group_that_has_no_room_is_not_begun() {
    let sim = SimDisk::new(1, 100 << 10);
    let mount = sim.mount();
    let journal = open_journal(mount, Path::new("/journal")).unwrap();
    assert!(
        journal
            .claim(JournalPosition(3 * FILE_BYTES), Claim::Ahead)
            .unwrap()
    );
    assert!(
        !journal
            .claim(JournalPosition(3 * FILE_BYTES + 1), Claim::Ahead)
            .unwrap()
    );
    assert!(
        !journal.prepare(true).unwrap(),
        "there is nothing to be made ready without room"
    );
    journal
        .append(JournalPosition(2 * FILE_BYTES), &group(1, 8192), true)
        .unwrap();
    journal.trim(JournalPosition(2 * FILE_BYTES)).unwrap();
    assert!(
        journal
            .claim(JournalPosition(4 * FILE_BYTES), Claim::Ahead)
            .unwrap(),
        "old files are used again"
    );
}

/// A disk that has no room for a whole file takes what has to be written all the same, and the rest of the file later.
#[test]
fn what_is_needed_takes_no_more_of_the_disk_than_it_has_to() {
    let sim = SimDisk::new(1, FILE_BYTES + (12 << 10));
    let journal = open_journal(sim.mount(), Path::new("/journal")).unwrap();
    let claim = |upto, claim| journal.claim(JournalPosition(upto), claim).unwrap();
    assert!(!claim(FILE_BYTES, Claim::Nothing), "nothing is there");
    assert!(claim(4096, Claim::Ahead));
    assert!(claim(FILE_BYTES, Claim::Nothing), "all of it is");
    assert!(!claim(FILE_BYTES + 4096, Claim::Ahead));
    assert!(!claim(FILE_BYTES + 4096, Claim::Nothing));
    assert!(claim(FILE_BYTES + 4096, Claim::Needed));
    assert_eq!(sim.used_bytes(), FILE_BYTES + 4096);
    assert!(claim(FILE_BYTES + 8192, Claim::Needed));
    assert!(!claim(FILE_BYTES + 16384, Claim::Needed));
    assert_eq!(
        sim.used_bytes(),
        FILE_BYTES + 8192,
        "it gives back what is not enough"
    );
    let at = JournalPosition(FILE_BYTES);
    journal.append(at, &group(1, 8192), true).unwrap();
    drop(journal);

    let journal = open_journal(sim.mount(), Path::new("/journal")).unwrap();
    assert_eq!(read(&journal, at, 8192), vec![1; 8192]);
    let claim = |upto, claim| journal.claim(JournalPosition(upto), claim).unwrap();
    assert!(
        !claim(FILE_BYTES + 16384, Claim::Ahead),
        "it is still short"
    );
    sim.set_capacity(1 << 20);
    assert!(claim(FILE_BYTES + 16384, Claim::Ahead));
    assert_eq!(sim.used_bytes(), 2 * FILE_BYTES);
    assert_eq!(read(&journal, at, 8192), vec![1; 8192]);
}

#[test]
fn a_file_is_claimed_once_fewer_others_are_open() {
    let sim = SimDisk::new(1, 1 << 20);
    let dir = Path::new("/journal");
    let journal = open_journal(sim.mount(), dir).unwrap();
    assert!(
        journal
            .claim(JournalPosition(3 * FILE_BYTES), Claim::Ahead)
            .unwrap()
    );
    journal.trim(JournalPosition(2 * FILE_BYTES)).unwrap();
    let files = sim.files(dir).len();
    sim.set_faults(Faults {
        out_of_files_one_in: 1,
        ..Faults::default()
    });
    for _ in 0..3 {
        assert!(
            !journal
                .claim(JournalPosition(4 * FILE_BYTES), Claim::Ahead)
                .unwrap()
        );
    }
    sim.set_faults(Faults::default());
    assert!(
        journal
            .claim(JournalPosition(4 * FILE_BYTES), Claim::Ahead)
            .unwrap()
    );
    assert_eq!(sim.files(dir).len(), files, "the spare is used");
}

/// A full disk has the kept spare and nothing else: it must not get lost half way to its new name.
#[test]
fn too_many_open_files_do_not_use_up_the_spare() {
    for seed in 0..20 {
        let sim = SimDisk::new(seed, 1 << 20);
        let journal = open_journal(sim.mount(), Path::new("/journal")).unwrap();
        let claim = |files: u64| {
            let upto = JournalPosition(files * FILE_BYTES);
            journal.claim(upto, Claim::Ahead).unwrap()
        };
        assert!(claim(2));
        journal.trim(JournalPosition(2 * FILE_BYTES)).unwrap();
        sim.set_capacity(sim.used_bytes());
        sim.set_faults(Faults {
            out_of_files_one_in: 2,
            ..Faults::default()
        });
        for _ in 0..10 {
            if claim(3) {
                break;
            }
        }
        sim.set_faults(Faults::default());
        assert!(claim(3), "seed {seed}");
        let at = JournalPosition(2 * FILE_BYTES);
        journal.append(at, &group(1, 4096), true).unwrap();
        assert_eq!(read(&journal, at, 4096), vec![1; 4096]);
    }
}

fn on_every_blobs(check: impl Fn(&dyn Fn() -> Arc<dyn BlobMedium>)) {
    let memory = Arc::new(MemoryBlobs::default());
    check(&|| Arc::clone(&memory) as _);

    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    check(&|| Arc::new(LocalBlobs::open(Arc::clone(&disk), &dir.path().join("blobs")).unwrap()));

    for seed in 0..20 {
        let sim = SimDisk::new(seed, 64 << 20);
        check(&|| {
            sim.restart();
            Arc::new(LocalBlobs::open(sim.mount(), Path::new("/blobs")).unwrap())
        });
    }
}

#[test]
fn a_blob_is_there_once_it_is_finished() {
    on_every_blobs(|open| {
        let blobs = open();
        let mut writer = blobs.create("a.pack").unwrap();
        writer.write(&group(1, 8192)).unwrap();
        writer.write(b"odd").unwrap();
        assert!(blobs.list().unwrap().is_empty());
        assert!(blobs.open("a.pack").is_err());
        writer.finish().unwrap();

        let blobs = open();
        assert_eq!(blobs.list().unwrap(), [("a.pack".to_owned(), Some(8195))]);
        let blob = blobs.open("a.pack").unwrap();
        assert_eq!(blob.len(), 8195);
        let mut buf = [0; 10];
        assert_eq!(blob.read_at(&mut buf, 8190).unwrap(), 5);
        assert_eq!(&buf[..5], b"\x01\x01odd");
        let taken = blobs.create("a.pack").err().map(|error| error.kind());
        assert_eq!(taken, Some(io::ErrorKind::AlreadyExists));
    });
}

#[test]
fn an_unfinished_blob_leaves_nothing() {
    on_every_blobs(|open| {
        let blobs = open();
        let mut writer = blobs.create("a.pack").unwrap();
        writer.write(&group(1, 8192)).unwrap();
        drop(writer);
        assert!(open().list().unwrap().is_empty());
        let blobs = open();
        blobs.create("a.pack").unwrap().finish().unwrap();
        assert_eq!(blobs.list().unwrap(), [("a.pack".to_owned(), Some(0))]);
    });
}

#[test]
fn a_deleted_blob_is_readable_to_who_has_it_open() {
    on_every_blobs(|open| {
        let blobs = open();
        for name in ["b.pack", "a.pack"] {
            let mut writer = blobs.create(name).unwrap();
            writer.write(b"content").unwrap();
            writer.finish().unwrap();
        }
        let blob = blobs.open("b.pack").unwrap();
        blobs.delete(&["b.pack".to_owned()]).unwrap();
        blobs.delete(&["b.pack".to_owned()]).unwrap();
        assert_eq!(blobs.list().unwrap(), [("a.pack".to_owned(), Some(7))]);
        let mut buf = [0; 7];
        blob.read_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"content");
        assert!(blobs.available_bytes().unwrap() > 0);
    });
}

/// The handles that this process has on a file.
#[cfg(target_os = "linux")]
fn handles(path: &Path) -> usize {
    let handles = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = handles.filter_map(|handle| std::fs::read_link(handle.ok()?.path()).ok());
    files.filter(|file| file == path).count()
}

/// New files and used ones alike: a file that is opened under a name it loses then is written through the page cache.
#[cfg(target_os = "linux")]
#[test]
fn every_journal_file_is_written_past_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let probe = dir.join("probe");
    let file = RealDisk.open(&probe, Access::Create).unwrap();
    file.write_direct(&group(1, 4096), 0).unwrap();
    let direct = handles(&probe);
    if direct < 2 {
        eprintln!("{} has no direct I/O: nothing to see here", dir.display());
        return;
    }

    let journal_dir = dir.join("journal");
    let journal = open_journal(Arc::new(RealDisk), &journal_dir).unwrap();
    journal.fence().unwrap();
    let mut end = JournalPosition(0);
    for round in 1..6 {
        let placed = append(&journal, end, [(round, FILE_BYTES as usize); 3]);
        end = placed[2].0.advance(FILE_BYTES);
        for (at, ..) in placed {
            let name = format!("{:020}.journal", at.0 / FILE_BYTES);
            assert_eq!(handles(&journal_dir.join(&name)), direct, "{name}");
        }
        journal.trim(end).unwrap();
    }
}
