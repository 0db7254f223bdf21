//! Manifests through edits, crashes and damage.

use std::sync::Arc;

use millstream_env::RealDisk;
use millstream_record::{BatchBuilder, Codec, LeaderEpoch, NewRecord, TimestampMs};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::media::{BlobMedium, MemoryBlobs};
use crate::pack::{PackOrigin, PackWriter, blob_name};

struct Fixture {
    dir: TempDir,
    medium: MemoryBlobs,
}

impl Fixture {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            medium: MemoryBlobs::default(),
        }
    }

    fn open(&self) -> Result<(Manifests, ManifestReport), ManifestError> {
        let medium = Arc::new(self.medium.clone());
        let (mut manifests, report) = Manifests::open(Arc::new(RealDisk), self.dir.path(), medium)?;
        manifests.sweep();
        Ok((manifests, report))
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn packs(&self) -> Vec<String> {
        self.medium
            .list()
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    /// Writes a pack with one record at `offset`.
    fn pack(&self, origin: PackOrigin, id: PackId, offset: i64) -> PackInfo {
        let mut builder = BatchBuilder::new(Codec::None).at(Offset(offset), LeaderEpoch(0));
        builder.append(&NewRecord {
            timestamp: TimestampMs(5),
            key: None,
            value: None,
            headers: &[],
        });
        let mut writer = PackWriter::new(Arc::new(self.medium.clone()));
        writer.begin(origin.header(id)).unwrap();
        writer.begin_range(PartitionId(1), Offset(offset), false, 4096);
        writer.append(&builder.build().unwrap().bytes).unwrap();
        writer.end_range();
        writer.finish().unwrap()
    }

    fn add(&self, manifests: &mut Manifests, offset: i64) -> PackId {
        let origin = manifests.origin(TimestampMs(0)).unwrap();
        let id = manifests.allocate();
        let edit = Edit {
            settled: Some(JournalPosition(offset as u64)),
            add: vec![self.pack(origin, id, offset)],
            ..Edit::default()
        };
        manifests.commit(&edit).unwrap();
        id
    }
}

#[test]
fn an_empty_directory_stays_empty() {
    let fixture = Fixture::new();
    let (manifests, report) = fixture.open().unwrap();
    assert_eq!(manifests.current(), &Manifest::default());
    assert_eq!(report, ManifestReport::default());
    assert!(fixture.files().is_empty());
}

#[test]
fn edits_survive_and_removed_packs_go() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    let first = fixture.add(&mut manifests, 10);
    let second = fixture.add(&mut manifests, 20);
    assert_eq!(manifests.packs().end(PartitionId(1)), Some(Offset(21)));
    manifests
        .commit(&Edit {
            remove: vec![first],
            ..Edit::default()
        })
        .unwrap();
    assert_eq!(fixture.packs(), [blob_name(second)]);
    assert_eq!(fixture.files().len(), 1, "older manifests are removed");
    let before = manifests.current().clone();
    drop(manifests);

    let (mut manifests, report) = fixture.open().unwrap();
    assert_eq!(report, ManifestReport::default());
    assert_eq!(manifests.current(), &before);
    assert_eq!(manifests.current().settled, JournalPosition(20));
    assert!(manifests.allocate() > second, "numbers are not used again");
}

#[test]
fn an_edit_that_contradicts_changes_nothing() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    fixture.add(&mut manifests, 10);
    let before = manifests.current().clone();
    let unknown = Edit {
        remove: vec![PackId(99)],
        ..Edit::default()
    };
    let backwards = Edit {
        settled: Some(JournalPosition(1)),
        ..Edit::default()
    };
    for edit in [unknown, backwards] {
        assert!(matches!(
            manifests.commit(&edit),
            Err(ManifestError::Contradiction(_))
        ));
        assert_eq!(manifests.current(), &before);
    }
}

#[test]
fn an_unfinished_round_is_cleared_away() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    let listed = fixture.add(&mut manifests, 10);
    let origin = manifests.origin(TimestampMs(0)).unwrap();
    let unfinished = manifests.allocate();
    fixture.pack(origin, unfinished, 20);
    std::fs::write(fixture.dir.path().join("00000000000000000009.new"), "half").unwrap();
    drop(manifests);

    let (mut manifests, report) = fixture.open().unwrap();
    assert_eq!(report.deleted, [unfinished]);
    assert_eq!(fixture.packs(), [blob_name(listed)]);
    assert_eq!(fixture.files().len(), 1);
    assert!(manifests.allocate() > listed);
}

#[test]
fn a_first_round_that_was_not_finished_is_cleared_away() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    let origin = manifests.origin(TimestampMs(0)).unwrap();
    let id = manifests.allocate();
    fixture.pack(origin, id, 0);
    drop(manifests);
    let (_, report) = fixture.open().unwrap();
    assert_eq!(report.deleted, [id]);
}

#[test]
fn what_was_being_written_during_a_commit_is_cleared_away() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    let origin = manifests.origin(TimestampMs(0)).unwrap();
    let slow = manifests.allocate();
    fixture.pack(origin, slow, 50);
    let listed = fixture.add(&mut manifests, 10);
    assert_eq!(fixture.packs().len(), 2, "it is still being written");
    drop(manifests);
    let (mut manifests, report) = fixture.open().unwrap();
    assert_eq!(report.deleted, [slow]);

    let origin = manifests.origin(TimestampMs(0)).unwrap();
    let abandoned = manifests.allocate();
    fixture.pack(origin, abandoned, 50);
    manifests.abandon(&[abandoned]);
    assert_eq!(fixture.packs(), [blob_name(listed)]);
}

#[test]
fn a_dropped_range_is_gone_at_once_and_its_pack_with_the_last_one() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    let origin = manifests.origin(TimestampMs(0)).unwrap();
    let id = manifests.allocate();
    let mut pack = fixture.pack(origin, id, 10);
    let mut other = pack.ranges[0];
    other.partition = PartitionId(2);
    pack.ranges.push(other);
    let edit = Edit {
        add: vec![pack.clone()],
        ..Edit::default()
    };
    manifests.commit(&edit).unwrap();
    let drop_range = |manifests: &mut Manifests, range| {
        manifests.commit(&Edit {
            drop_ranges: vec![(id, range)],
            ..Edit::default()
        })
    };
    drop_range(&mut manifests, pack.ranges[0]).unwrap();
    assert_eq!(manifests.packs().end(PartitionId(1)), None);
    assert_eq!(manifests.packs().end(PartitionId(2)), Some(Offset(11)));
    assert!(
        drop_range(&mut manifests, pack.ranges[0]).is_err(),
        "it is gone"
    );
    drop_range(&mut manifests, other).unwrap();
    assert_eq!(manifests.packs().end(PartitionId(2)), None);
    assert!(manifests.current().packs.is_empty() && fixture.packs().is_empty());
}

#[test]
fn a_dropped_pack_that_is_still_there_is_deleted() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    let id = fixture.add(&mut manifests, 10);
    let content = fixture.medium.get(&blob_name(id)).unwrap();
    manifests
        .commit(&Edit {
            remove: vec![id],
            ..Edit::default()
        })
        .unwrap();
    // As if the crash had come between the manifest and the deletion.
    fixture.medium.put(&blob_name(id), content);
    drop(manifests);
    let (_, report) = fixture.open().unwrap();
    assert_eq!(report.deleted, [id]);
    assert!(fixture.packs().is_empty());
}

#[test]
fn what_nothing_explains_is_left_alone() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    fixture.add(&mut manifests, 10);
    let stranger = PackOrigin {
        now: TimestampMs(0),
        manifest: 1,
    };
    fixture.pack(stranger, PackId(50), 99);
    fixture.medium.put("notes.txt", "hello");
    fixture.medium.put(&blob_name(PackId(51)), "not a pack");
    drop(manifests);

    let (mut manifests, report) = fixture.open().unwrap();
    let orphans = vec![
        "notes.txt".to_owned(),
        blob_name(PackId(50)),
        blob_name(PackId(51)),
    ];
    assert_eq!(report.orphans, orphans);
    assert_eq!(fixture.packs().len(), 4);
    assert_eq!(
        manifests.allocate(),
        PackId(52),
        "an orphan's number is not used"
    );
}

#[test]
fn packs_without_a_manifest_are_an_error() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    fixture.add(&mut manifests, 10);
    drop(manifests);
    for name in fixture.files() {
        std::fs::remove_file(fixture.dir.path().join(name)).unwrap();
    }
    assert!(matches!(
        fixture.open(),
        Err(ManifestError::Missing { packs: 1, .. })
    ));
    assert_eq!(fixture.packs().len(), 1);
}

#[test]
fn a_missing_pack_is_reported_and_the_rest_kept() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    let lost = fixture.add(&mut manifests, 10);
    let cut = fixture.add(&mut manifests, 20);
    let whole = fixture.add(&mut manifests, 30);
    drop(manifests);
    fixture.medium.delete(&[blob_name(lost)]).unwrap();
    fixture.medium.put(&blob_name(cut), "short");
    let (manifests, report) = fixture.open().unwrap();
    assert_eq!(report.missing, [lost, cut]);
    assert_eq!(manifests.current().packs.len(), 3);
    let read = |from| {
        let read = manifests
            .packs()
            .read(PartitionId(1), Offset(from), 1, Offset(99));
        read.unwrap().run().is_ok()
    };
    assert!(!read(10) && !read(20) && read(30));
    assert_eq!(fixture.packs(), [blob_name(cut), blob_name(whole)]);
}

#[test]
fn every_damage_is_noticed() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    fixture.add(&mut manifests, 10);
    let whole = manifests.current().encode();
    let path = fixture
        .dir
        .path()
        .join(store::file_name(manifests.current().number));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1 << bit;
            assert!(
                Manifest::decode(&damaged).is_err(),
                "bit {bit} of byte {byte}"
            );
        }
        assert!(Manifest::decode(&whole[..byte]).is_err());
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(fixture.open(), Err(ManifestError::Damaged { .. })));
    assert_eq!(fixture.packs().len(), 1);
}

#[test]
fn a_newer_layout_is_refused_by_name() {
    let fixture = Fixture::new();
    let (mut manifests, _) = fixture.open().unwrap();
    fixture.add(&mut manifests, 10);
    let mut newer = manifests.current().encode();
    newer[9] = 2;
    let refused = FormatError::Newer {
        what: "manifest",
        found: 2,
        supported: 1,
    };
    assert_eq!(Manifest::decode(&newer), Err(refused));
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let range = (
        0u32..4,
        0i64..100,
        0i64..100,
        any::<bool>(),
        any::<(u16, i64)>(),
    );
    let pack = (any::<(u32, i64)>(), proptest::collection::vec(range, 0..5));
    let packs = proptest::collection::vec(pack, 0..5);
    let dropped = proptest::collection::vec(100u64..200, 0..4);
    (packs, dropped, any::<u64>()).prop_map(|(packs, dropped, settled)| {
        let mut next = [0; 4];
        let packs = packs
            .into_iter()
            .enumerate()
            .map(|(number, (about, ranges))| {
                let mut ranges: Vec<_> = ranges
                    .into_iter()
                    .map(|(partition, gap, covered, compacted, (bytes, time))| {
                        let first = next[partition as usize] + gap;
                        next[partition as usize] = first + covered;
                        let bytes = if covered == 0 { 0 } else { bytes };
                        PackRange {
                            partition: PartitionId(partition),
                            compacted,
                            dense: !compacted && covered % 2 == 0,
                            first: Offset(first),
                            end: Offset(first + covered),
                            last: Offset(if bytes == 0 { first - 1 } else { first }),
                            bytes: bytes.into(),
                            first_timestamp: TimestampMs(time),
                            max_timestamp: TimestampMs(time),
                            delete_horizon: compacted.then_some(TimestampMs(time.saturating_abs())),
                        }
                    })
                    .collect();
                ranges.sort_by_key(|range| (range.partition, range.first, range.end));
                let pack = PackInfo {
                    id: PackId(number as u64),
                    size_bytes: about.0.into(),
                    created: TimestampMs(about.1),
                    ranges,
                };
                (pack.id, Arc::new(pack))
            });
        Manifest {
            number: settled.max(1),
            next_pack: PackId(200),
            settled: JournalPosition(settled),
            packs: packs.collect(),
            discarded: dropped.into_iter().map(PackId).collect(),
        }
    })
}

proptest! {
    #[test]
    fn round_trip(manifest in manifest()) {
        prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Manifest::decode(&bytes);
        // The same with a checksum that fits.
        let mut sealed = b"MSMANI\r\n\x00\x01".to_vec();
        sealed.extend(bytes);
        crate::format::seal(&mut sealed);
        let _ = Manifest::decode(&sealed);
    }
}
