//! What holds for any bytes taken for a pack. For the fuzz target `pack`, and for the test that replays its seeds.

use std::sync::Arc;

use millstream_record::{Batch, Offset, TimestampMs};

use super::layout::{HEADER_BYTES, TRAILER_BYTES, Trailer};
use super::{PackReader, blob_name};
use crate::format::crc32c;
use crate::ids::PackId;
use crate::media::{BlobMedium, MemoryBlobs};

/// Opens `bytes` as a pack, its checksums made right first so that what lies behind them is looked at, and checks that
/// what is found, by walking, by offset or by time, is whole and in order.
///
/// # Panics
///
/// When that does not hold.
pub fn check_pack(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    fix_checksums(&mut bytes);
    let medium = MemoryBlobs::default();
    let name = blob_name(PackId(1));
    medium.put(&name, bytes);
    let Ok(blob) = medium.open(&name) else {
        return;
    };
    let Ok(pack) = PackReader::from_blob(blob) else {
        return;
    };
    let pack = Arc::new(pack);
    for entry in pack.ranges() {
        let range = entry.range;
        assert!(pack.range(range.partition, range.first).is_some());
        let mut scan = pack.scan(&entry, 4096);
        let mut next = range.first;
        while let Ok(Some(batch)) = scan.next_batch() {
            let header = batch.header;
            assert!(header.base_offset >= next && header.next_offset() <= range.end);
            next = header.next_offset();
            // An index that lies may lead past it; what is found must be whole and no earlier all the same.
            if let Ok(found) = pack.read(&entry, header.base_offset, 0, Offset(i64::MAX))
                && !found.is_empty()
            {
                let found = Batch::parse(found).expect("one whole batch");
                assert!(found.header.last_offset() >= header.base_offset);
                assert!(found.check_crc().is_ok());
            }
        }
        let _ = pack.read(&entry, range.first, usize::MAX, range.end);
        let _ = pack.find_by_time(&entry, range.max_timestamp, range.first);
        let _ = pack.find_by_time(&entry, TimestampMs(0), range.last);
    }
}

/// Puts the right checksums over whatever the header, the footer and the trailer are.
fn fix_checksums(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES + TRAILER_BYTES {
        return;
    }
    seal(&mut bytes[..HEADER_BYTES]);
    let trailer_position = bytes.len() - TRAILER_BYTES;
    let (content, trailer_bytes) = bytes.split_at_mut(trailer_position);
    seal(trailer_bytes);
    let Ok(mut trailer) = Trailer::decode(trailer_bytes) else {
        return;
    };
    let end = trailer.footer_position.checked_add(trailer.footer_bytes());
    let footer = end.and_then(|end| content.get(trailer.footer_position as usize..end as usize));
    if let Some(footer) = footer {
        trailer.footer_crc = crc32c(footer);
        trailer_bytes.copy_from_slice(&trailer.encode());
    }
}

/// Makes the last four bytes the checksum of the rest.
fn seal(bytes: &mut [u8]) {
    let (content, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&crc32c(content).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use millstream_record::{BatchBuilder, Codec, LeaderEpoch, NewRecord, emptied};

    use super::*;
    use crate::ids::PartitionId;
    use crate::pack::{PackOrigin, PackWriter};

    fn seeds() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/pack")
    }

    #[test]
    fn seeds_survive_the_reader() {
        let mut count = 0;
        for seed in fs::read_dir(seeds()).unwrap() {
            let bytes = fs::read(seed.unwrap().path()).unwrap();
            check_pack(&bytes);
            // And whatever a single changed byte makes of it.
            for at in (0..bytes.len()).filter(|at| bytes[*at] != 0 || at.is_multiple_of(61)) {
                let mut changed = bytes.clone();
                changed[at] ^= 0x55;
                check_pack(&changed);
            }
            check_pack(&bytes[..bytes.len() / 2]);
            count += 1;
        }
        assert!(
            count >= 3,
            "run `cargo test -p millstream-store -- --ignored write_seeds`"
        );
    }

    #[test]
    #[ignore = "writes the seeds: for after the format has changed"]
    fn write_seeds() {
        fs::create_dir_all(seeds()).unwrap();
        for (name, partitions, batches, interval) in [
            ("one-batch", 1, 1, 4096),
            ("many-batches", 1, 30, 100),
            ("many-partitions", 12, 2, 1),
        ] {
            let medium = MemoryBlobs::default();
            let mut writer = PackWriter::new(Arc::new(medium.clone()));
            let origin = PackOrigin {
                now: TimestampMs(1_700_000_000_000),
                manifest: 3,
            };
            writer.begin(origin.header(PackId(1))).unwrap();
            for partition in 0..partitions {
                writer.begin_range(PartitionId(partition), Offset(10), partition == 2, interval);
                for number in 0..batches {
                    let batch = batch(10 + 3 * number);
                    let batch = if number % 7 == 6 {
                        emptied(&batch.header)
                    } else {
                        batch
                    };
                    writer.append(&batch.bytes).unwrap();
                }
                writer.cover(Offset(12 + 3 * batches));
                writer.end_range();
            }
            writer.begin_range(PartitionId(99), Offset(0), true, interval);
            writer.cover(Offset(5));
            writer.end_range();
            writer.finish().unwrap();
            fs::write(
                seeds().join(name),
                medium.get(&blob_name(PackId(1))).unwrap(),
            )
            .unwrap();
        }
    }

    fn batch(base: i64) -> millstream_record::Batch {
        let mut builder = BatchBuilder::new(Codec::None).at(Offset(base), LeaderEpoch(2));
        for number in 0..2 {
            builder.append(&NewRecord {
                timestamp: TimestampMs(1000 + base + number),
                key: Some(b"key"),
                value: Some(b"value"),
                headers: &[],
            });
        }
        builder.build().unwrap()
    }

    #[test]
    fn no_bytes_panic() {
        for len in [0, 63, 64, 128, 4096] {
            check_pack(&vec![0; len]);
        }
    }
}
