//! Packs against a plain list of batches, and against damage.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use millstream_record::{
    Batch, BatchBuilder, BatchHeader, Codec, LeaderEpoch, NewRecord, Offset, TimestampMs,
};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::error::ReadError;
use crate::media::{Blob, BlobMedium, BlobWriter, MemoryBlobs};

const ORIGIN: PackOrigin = PackOrigin {
    now: TimestampMs(1_000),
    manifest: 7,
};

/// A batch of records with these timestamps and `payload_bytes` each.
fn batch(base: i64, timestamps: &[i64], payload_bytes: usize) -> Batch {
    let value = vec![b'x'; payload_bytes];
    let mut builder = BatchBuilder::new(Codec::None).at(Offset(base), LeaderEpoch(1));
    for timestamp in timestamps {
        builder.append(&NewRecord {
            timestamp: TimestampMs(*timestamp),
            key: Some(b"key"),
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build().unwrap()
}

/// A range to be written: whose, from where, its batches, and what it covers beyond them.
#[derive(Debug, Clone)]
struct Planned {
    partition: PartitionId,
    first: Offset,
    batches: Vec<Batch>,
    end: Offset,
}

fn write(medium: &MemoryBlobs, id: u64, ranges: &[Planned], interval: u32) -> Arc<PackInfo> {
    let mut writer = PackWriter::new(Arc::new(medium.clone()));
    writer.begin(ORIGIN.header(PackId(id))).unwrap();
    for range in ranges {
        writer.begin_range(range.partition, range.first, false, interval);
        for batch in &range.batches {
            writer.append(&batch.bytes).unwrap();
        }
        writer.cover(range.end);
        writer.end_range();
    }
    let size = writer.size_bytes();
    let info = writer.finish().unwrap();
    assert!(info.size_bytes >= size && info.size_bytes < size + 4096);
    Arc::new(info)
}

fn set(medium: &MemoryBlobs, packs: &[Arc<PackInfo>]) -> Arc<PackSet> {
    Arc::new(PackSet::new(Arc::new(medium.clone()), packs))
}

/// Batches that follow each other, with gaps, from `first` on.
fn planned(partition: u32, first: i64) -> impl Strategy<Value = Planned> {
    let one = (
        0i64..4,
        proptest::collection::vec(0i64..50, 1..4),
        0usize..3000,
    );
    (proptest::collection::vec(one, 0..12), 0i64..5).prop_map(move |(parts, beyond)| {
        let mut next = first;
        let mut batches = Vec::new();
        for (gap, timestamps, payload_bytes) in parts {
            let batch = batch(next + gap, &timestamps, payload_bytes);
            next = batch.header.next_offset().0;
            batches.push(batch);
        }
        Planned {
            partition: PartitionId(partition),
            first: Offset(first),
            batches,
            end: Offset(next + beyond),
        }
    })
}

/// Two partitions with two ranges each, the second after the first.
fn plan() -> impl Strategy<Value = Vec<Planned>> {
    let partition = |id| {
        planned(id, 5).prop_flat_map(move |one| {
            let next = one.end.0;
            (Just(one), planned(id, next + 3))
        })
    };
    (partition(3), partition(9)).prop_map(|(a, b)| vec![a.0, a.1, b.0, b.1])
}

/// What a read has to return, from the list of batches.
fn expected(
    batches: &[&Batch],
    from: Offset,
    max_bytes: usize,
    upto: Offset,
) -> Option<(Offset, usize)> {
    let first = batches
        .iter()
        .find(|batch| batch.header.last_offset() >= from)?;
    let fits = first.bytes.len().max(max_bytes);
    (first.header.base_offset < upto).then_some((first.header.base_offset, fits))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn reads_find_what_the_list_has(
        plan in plan(),
        interval in 1u32..5000,
        max_bytes in 0usize..8000,
        back in 0i64..10,
    ) {
        let medium = MemoryBlobs::default();
        // The four ranges lie in two packs, so that reads have to choose.
        let even: Vec<_> = plan.iter().step_by(2).cloned().collect();
        let odd: Vec<_> = plan.iter().skip(1).step_by(2).cloned().collect();
        let packs = [write(&medium, 1, &even, interval), write(&medium, 2, &odd, interval)];
        let set = set(&medium, &packs);
        for pair in plan.chunks(2) {
            let partition = pair[0].partition;
            let batches: Vec<_> = pair.iter().flat_map(|range| &range.batches).collect();
            let upto = pair[1].end - back;
            for from in 0..pair[1].end.0 + 2 {
                let from = Offset(from);
                let read = match set.read(partition, from, max_bytes, upto) {
                    Some(read) => read.run().unwrap().unwrap(),
                    None => Bytes::new(),
                };
                match expected(&batches, from, max_bytes, upto) {
                    None => prop_assert!(read.is_empty()),
                    Some((base, fits)) => {
                        let found: Vec<_> =
                            millstream_record::Batches::new(read.clone()).map(Result::unwrap).collect();
                        prop_assert_eq!(found[0].header.base_offset, base);
                        prop_assert!(read.len() <= fits);
                        let at = batches.iter().position(|batch| batch.header.base_offset == base).unwrap();
                        for (found, stored) in found.iter().zip(&batches[at..]) {
                            prop_assert_eq!(found, *stored);
                        }
                    }
                }
            }
            prop_assert_eq!(set.end(partition), Some(pair[1].end));
        }
    }

    #[test]
    fn times_find_what_the_list_has(plan in plan(), interval in 1u32..5000) {
        let medium = MemoryBlobs::default();
        let set = set(&medium, &[write(&medium, 1, &plan, interval)]);
        for pair in plan.chunks(2) {
            let partition = pair[0].partition;
            let records: Vec<_> = pair
                .iter()
                .flat_map(|range| &range.batches)
                .flat_map(|batch| batch.records(1 << 20))
                .map(|record| record.map(|record| (record.timestamp, record.offset)).unwrap())
                .collect();
            for from in [0, 5, 9, 20] {
                let from = Offset(from);
                let readable = || records.iter().copied().filter(|(_, offset)| *offset >= from);
                for at in 0..52 {
                    let at = TimestampMs(at);
                    let found = set.offset_for_time(partition, at, from).unwrap();
                    prop_assert_eq!(found, readable().find(|(time, _)| *time >= at));
                }
                let latest = readable().map(|(time, _)| time).max();
                let first = readable().find(|(time, _)| Some(*time) == latest);
                prop_assert_eq!(set.max_timestamp(partition, from).unwrap(), first);
            }
        }
    }
}

fn two_ranges() -> Vec<Planned> {
    let range = |partition, first: i64, batches: Vec<Batch>| Planned {
        partition: PartitionId(partition),
        first: Offset(first),
        end: batches
            .last()
            .map_or(Offset(first + 4), |batch| batch.header.next_offset()),
        batches,
    };
    vec![
        range(
            1,
            0,
            vec![
                batch(0, &[1, 2], 100),
                batch(2, &[3], 100),
                batch(3, &[9, 4], 100),
            ],
        ),
        range(2, 10, vec![]),
        range(2, 14, vec![batch(14, &[5], 10)]),
    ]
}

#[test]
fn a_pack_says_what_it_holds() {
    let medium = MemoryBlobs::default();
    let info = write(&medium, 4, &two_ranges(), 150);
    assert_eq!(
        medium.list().unwrap(),
        [(blob_name(PackId(4)), Some(info.size_bytes))]
    );
    assert_eq!(info.size_bytes % 4096, 0);
    let pack = PackReader::open(&medium, PackId(4)).unwrap();
    assert_eq!(pack.header(), ORIGIN.header(PackId(4)));
    let ranges: Vec<_> = pack.ranges().map(|entry| entry.range).collect();
    assert_eq!(ranges, info.ranges);
    assert_eq!(ranges[0].max_timestamp, TimestampMs(9));
    assert_eq!(ranges[0].first_timestamp, TimestampMs(2));
    assert_eq!((ranges[0].last, ranges[0].end), (Offset(4), Offset(5)));
    assert!(ranges[1].is_empty());
    assert_eq!((ranges[1].first, ranges[1].end), (Offset(10), Offset(14)));
    assert!(matches!(
        PackReader::open(&medium, PackId(5)),
        Err(PackError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound
    ));
}

#[test]
fn a_batch_out_of_place_is_refused() {
    let medium = MemoryBlobs::default();
    let mut writer = PackWriter::new(Arc::new(medium.clone()));
    writer.begin(ORIGIN.header(PackId(1))).unwrap();
    writer.begin_range(PartitionId(1), Offset(5), false, 4096);
    let misplaced = writer.append(&batch(4, &[1], 10).bytes);
    assert!(matches!(misplaced, Err(PackError::Misplaced { .. })));
    writer.append(&batch(6, &[1], 10).bytes).unwrap();
    assert!(writer.append(&batch(6, &[1], 10).bytes).is_err());
    drop(writer);
    assert_eq!(medium.list().unwrap(), []);
}

#[test]
fn a_batch_larger_than_a_chunk_is_stored_and_read() {
    let medium = MemoryBlobs::default();
    let large = batch(0, &[1], 9 << 20);
    let small = batch(1, &[2], 10);
    let range = Planned {
        partition: PartitionId(1),
        first: Offset(0),
        end: Offset(2),
        batches: vec![large.clone(), small],
    };
    let info = write(&medium, 1, &[range], 4096);
    let set = set(&medium, &[info]);
    let read = set
        .read(PartitionId(1), Offset(0), 1, Offset(9))
        .unwrap()
        .run()
        .unwrap();
    assert_eq!(read.unwrap(), large.bytes);
}

/// Every flipped bit outside the padding is noticed when the pack is opened or its batches are read.
#[test]
fn every_flipped_bit_is_noticed() {
    let medium = MemoryBlobs::default();
    let info = write(&medium, 1, &two_ranges(), 150);
    let name = blob_name(info.id);
    let whole = medium.get(&name).unwrap();
    let read_all = || -> Result<Vec<Bytes>, PackError> {
        let pack = Arc::new(PackReader::open(&medium, info.id)?);
        let mut found = Vec::new();
        for entry in pack.ranges() {
            let mut scan = pack.scan(&entry, 4096);
            while let Some(batch) = scan.next_batch()? {
                found.push(batch.bytes);
            }
        }
        Ok(found)
    };
    let stored = read_all().unwrap();
    let mut batches_bytes = 0;
    let mut epochs = Vec::new();
    for batch in &stored {
        let start = 64 + batches_bytes;
        epochs.push(start + 12..start + 16);
        batches_bytes += batch.len();
    }
    let pack = PackReader::open(&medium, info.id).unwrap();
    let footer_end = 64 + batches_bytes + pack.footer_bytes();
    let trailer = whole.len() - 64;
    for byte in (0..footer_end).chain(trailer..whole.len()) {
        for bit in 0..8 {
            let mut damaged = whole.to_vec();
            damaged[byte] ^= 1 << bit;
            medium.put(&name, damaged);
            match read_all() {
                Err(_) => {}
                // A batch's leader epoch lies outside its checksum.
                Ok(_) => assert!(
                    epochs.iter().any(|epoch| epoch.contains(&byte)),
                    "bit {bit} of byte {byte} went unnoticed"
                ),
            }
        }
    }
}

#[test]
fn a_pack_cut_off_anywhere_is_refused() {
    let medium = MemoryBlobs::default();
    let info = write(&medium, 1, &two_ranges(), 150);
    let name = blob_name(info.id);
    let whole = medium.get(&name).unwrap();
    for len in 0..whole.len() {
        medium.put(&name, whole.slice(..len));
        assert!(PackReader::open(&medium, info.id).is_err(), "{len} bytes");
    }
    medium.put(&blob_name(PackId(2)), whole);
    assert!(
        PackReader::open(&medium, PackId(2)).is_err(),
        "another pack's name"
    );
}

#[test]
fn only_what_is_damaged_cannot_be_read() {
    let medium = MemoryBlobs::default();
    let info = write(&medium, 1, &two_ranges(), 1);
    let name = blob_name(info.id);
    let mut damaged = medium.get(&name).unwrap().to_vec();
    let second = 64 + two_ranges()[0].batches[0].bytes.len();
    damaged[second + 70] ^= 1;
    medium.put(&name, damaged);
    let set = set(&medium, &[info]);
    let read = |from| {
        let read = set
            .read(PartitionId(1), Offset(from), 1 << 20, Offset(100))
            .unwrap();
        read.run().map(|batches| batches.unwrap().len())
    };
    assert_eq!(read(0).unwrap(), two_ranges()[0].batches[0].bytes.len());
    assert!(matches!(read(2), Err(ReadError::Damaged { .. })));
    assert_eq!(read(3).unwrap(), two_ranges()[0].batches[2].bytes.len());
}

proptest! {
    /// Whatever is damaged beside the batches, they are read as before.
    #[test]
    fn what_a_pack_says_of_itself_is_made_anew(
        plan in plan(),
        interval in prop_oneof![Just(1u32), Just(3000), Just(64 << 10)],
    ) {
        let medium = MemoryBlobs::default();
        let info = write(&medium, 1, &plan, interval);
        let name = blob_name(info.id);
        let whole = medium.get(&name).unwrap();
        let read_all = || {
            let set = set(&medium, std::slice::from_ref(&info));
            let mut found = Vec::new();
            for partition in [3, 9].map(PartitionId) {
                let end = set.end(partition).unwrap();
                for from in (0..end.0).map(Offset) {
                    let read = set.read(partition, from, 1000, end).map(|read| read.run().unwrap().unwrap());
                    let at = TimestampMs(from.0 % 50);
                    let by_time = set.offset_for_time(partition, at, Offset(0)).unwrap();
                    let latest = set.max_timestamp(partition, from).unwrap();
                    found.push((read, by_time, latest));
                }
            }
            found
        };
        let expected = read_all();
        let batches_bytes: u64 = info.ranges.iter().map(|range| range.bytes).sum();
        let footer = 64 + batches_bytes as usize;
        for byte in [0, 20, footer, footer + 100, whole.len() - 64, whole.len() - 1] {
            let mut damaged = whole.to_vec();
            damaged[byte] ^= 1;
            medium.put(&name, damaged);
            prop_assert_eq!(&read_all(), &expected, "byte {}", byte);
        }
        medium.put(&name, whole.slice(..footer.max(64)));
        prop_assert_eq!(&read_all(), &expected, "cut off");
    }
}

#[test]
fn another_packs_file_is_not_taken_for_one() {
    let medium = MemoryBlobs::default();
    let one = write(&medium, 1, &two_ranges(), 150);
    write(&medium, 2, &two_ranges(), 150);
    let mut other = medium.get(&blob_name(PackId(2))).unwrap().to_vec();
    for damaged in [None, Some(0), Some(other.len() - 1)] {
        if let Some(byte) = damaged {
            other[byte] ^= 1;
        }
        medium.put(&blob_name(one.id), other.clone());
        let read = set(&medium, std::slice::from_ref(&one)).read(
            PartitionId(1),
            Offset(0),
            1 << 20,
            Offset(100),
        );
        assert!(matches!(
            read.unwrap().run(),
            Err(ReadError::Damaged { .. })
        ));
        if let Some(byte) = damaged {
            other[byte] ^= 1;
        }
    }
}

/// A medium on which a pack is replaced while it is being opened.
struct Overtaken {
    blobs: MemoryBlobs,
    set: OnceLock<Weak<PackSet>>,
    replaced: Arc<PackInfo>,
    opened: Mutex<Vec<Weak<dyn Blob>>>,
}

impl BlobMedium for Overtaken {
    fn create(&self, name: &str) -> std::io::Result<Box<dyn BlobWriter>> {
        self.blobs.create(name)
    }

    fn open(&self, name: &str) -> std::io::Result<Arc<dyn Blob>> {
        let blob = self.blobs.open(name)?;
        self.opened.lock().push(Arc::downgrade(&blob));
        let set = self.set.get().and_then(Weak::upgrade).unwrap();
        set.replace(&[Arc::clone(&self.replaced)], []);
        Ok(blob)
    }

    fn list(&self) -> std::io::Result<Vec<(String, Option<u64>)>> {
        self.blobs.list()
    }

    fn delete(&self, names: &[String]) -> std::io::Result<()> {
        self.blobs.delete(names)
    }

    fn available_bytes(&self) -> std::io::Result<u64> {
        self.blobs.available_bytes()
    }
}

#[test]
fn a_pack_that_is_replaced_while_it_is_opened_does_not_stay_open() {
    let blobs = MemoryBlobs::default();
    let replaced = write(&blobs, 1, &two_ranges(), 150);
    let medium = Arc::new(Overtaken {
        blobs,
        set: OnceLock::new(),
        replaced: Arc::clone(&replaced),
        opened: Mutex::default(),
    });
    let set = Arc::new(PackSet::new(medium.clone(), [&replaced]));
    medium.set.set(Arc::downgrade(&set)).unwrap();
    let read = set.read(PartitionId(1), Offset(0), 1, Offset(100)).unwrap();
    assert!(read.run().unwrap().is_some());
    let opened = medium.opened.lock();
    assert_eq!(opened.len(), 1);
    assert!(opened.iter().all(|blob| blob.upgrade().is_none()));
}

#[test]
fn a_read_of_a_pack_that_was_replaced_says_so() {
    let medium = MemoryBlobs::default();
    let old = write(&medium, 1, &two_ranges(), 150);
    let set = set(&medium, std::slice::from_ref(&old));
    let read = set.read(PartitionId(1), Offset(2), 1, Offset(100)).unwrap();
    let new = write(&medium, 2, &two_ranges(), 150);
    set.replace(&[old], [&new]);
    medium.delete(&[blob_name(PackId(1))]).unwrap();
    assert_eq!(read.run().unwrap(), None);
    let read = set.read(PartitionId(1), Offset(2), 1, Offset(100)).unwrap();
    assert_eq!(
        read.run().unwrap(),
        Some(two_ranges()[0].batches[1].bytes.clone())
    );

    set.replace(&[new], []);
    assert!(
        set.read(PartitionId(1), Offset(2), 1, Offset(100))
            .is_none()
    );
    assert_eq!(set.end(PartitionId(1)), None);
}

#[test]
fn names_are_numbers_of_one_length() {
    assert_eq!(parse_blob_name(&blob_name(PackId(77))), Some(PackId(77)));
    for name in [
        "77.pack",
        "00000000000000000077",
        "x.pack",
        "+0000000000000000077.pack",
    ] {
        assert_eq!(parse_blob_name(name), None);
    }
}

#[test]
fn a_batch_without_records_has_no_time() {
    let medium = MemoryBlobs::default();
    let range = Planned {
        partition: PartitionId(1),
        first: Offset(0),
        end: Offset(3),
        batches: vec![
            millstream_record::emptied(&batch(0, &[90], 1).header),
            batch(1, &[10], 1),
            millstream_record::emptied(&batch(2, &[99], 1).header),
        ],
    };
    let info = write(&medium, 1, &[range], 1);
    assert_eq!(info.ranges[0].first_timestamp, TimestampMs(10));
    let set = set(&medium, &[info]);
    let found = Some((TimestampMs(10), Offset(1)));
    assert_eq!(set.max_timestamp(PartitionId(1), Offset(0)).unwrap(), found);
    assert_eq!(
        set.offset_for_time(PartitionId(1), TimestampMs(5), Offset(0))
            .unwrap(),
        found
    );
    assert_eq!(
        set.offset_for_time(PartitionId(1), TimestampMs(11), Offset(0))
            .unwrap(),
        None
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, pad in 0usize..2) {
        let medium = MemoryBlobs::default();
        let mut bytes = bytes;
        bytes.resize(bytes.len().next_multiple_of(4096) * pad, 0);
        medium.put(&blob_name(PackId(1)), bytes);
        let _ = PackReader::open(&medium, PackId(1));
    }
}

/// The manifest may have let go of some of a pack's ranges. Where the others lie only the footer says then, and what lies
/// where they would be without the gap is another partition's.
#[test]
fn ranges_of_a_damaged_pack_are_not_taken_for_each_other() {
    let medium = MemoryBlobs::default();
    let ranges = [2, 5].map(|partition| Planned {
        partition: PartitionId(partition),
        first: Offset(0),
        batches: vec![
            batch(0, &[i64::from(partition), 2], 100),
            batch(2, &[3], 50),
        ],
        end: Offset(3),
    });
    let info = write(&medium, 1, &ranges, 1);
    let name = blob_name(PackId(1));
    let whole = medium.get(&name).unwrap();
    let footer = 64 + info.ranges.iter().map(|range| range.bytes).sum::<u64>() as usize;
    // Where only the header is damaged, the footer tells.
    for (byte, is_told) in [(0, true), (footer, false), (whole.len() - 1, false)] {
        let mut damaged = whole.to_vec();
        damaged[byte] ^= 1;
        medium.put(&name, damaged);
        let left = Arc::new(PackInfo {
            ranges: vec![info.ranges[1]],
            ..(*info).clone()
        });
        let set = set(&medium, &[left]);
        let read = set.read(PartitionId(5), Offset(0), 1 << 20, Offset(3));
        match read.unwrap().run() {
            Ok(Some(batches)) if is_told => {
                let written: Vec<u8> = ranges[1]
                    .batches
                    .iter()
                    .flat_map(|batch| batch.bytes.to_vec())
                    .collect();
                assert_eq!(batches, written);
            }
            Err(ReadError::Damaged { .. }) if !is_told => {}
            other => panic!("byte {byte}: {other:?}"),
        }
    }
}

/// Three batches of one partition, from offset 0 on, with this distance between their offsets.
fn three_batches(gap: i64) -> Planned {
    let batches: Vec<_> = (0..3)
        .map(|number| batch(number * (1 + gap), &[number], 10))
        .collect();
    Planned {
        partition: PartitionId(1),
        first: Offset(0),
        end: batches[2].header.next_offset(),
        batches,
    }
}

/// Turns over the lowest bit of the second batch's base offset, and says what is found from each offset on: the first
/// batch, or where reading goes on behind damage.
fn with_a_rotten_place(planned: &Planned, interval: u32) -> Vec<Result<Offset, Offset>> {
    let medium = MemoryBlobs::default();
    let info = write(&medium, 1, std::slice::from_ref(planned), interval);
    let name = blob_name(info.id);
    let mut rotten = medium.get(&name).unwrap().to_vec();
    rotten[64 + planned.batches[0].bytes.len() + 7] ^= 1;
    medium.put(&name, rotten);
    let pack = PackReader::open(&medium, info.id).unwrap();
    let entry = pack.range(PartitionId(1), Offset(0)).unwrap();
    let found = |from| match pack.read(&entry, from, 1, Offset(100)) {
        Ok(bytes) => Ok(BatchHeader::parse(&bytes).unwrap().base_offset),
        Err(_) => Err(pack.after_damage(&entry, from)),
    };
    (0..planned.end.0).map(|from| found(Offset(from))).collect()
}

#[test]
fn a_batch_that_lies_about_its_place_is_not_served_and_harms_no_other() {
    for interval in [1, 4096] {
        let found = with_a_rotten_place(&three_batches(0), interval);
        assert_eq!(found, [Ok(Offset(0)), Err(Offset(2)), Ok(Offset(2))]);
    }
    // Where something is missing, only the index knows, and is asked only where reading begins.
    let found = with_a_rotten_place(&three_batches(3), 1);
    assert_eq!(found[4..8], [Err(Offset(8)); 4]);
    assert_eq!((found[0], found[8]), (Ok(Offset(0)), Ok(Offset(8))));
}
