//! What holds for any bytes taken for a manifest. For the fuzz target `manifest`, and for the test that replays its seeds.

use super::Manifest;
use crate::format::crc32c;

/// Bytes of the checksum at a manifest's end.
const CHECKSUM_BYTES: usize = 4;

/// Reads `bytes` as a manifest, its checksum made right first so that what lies behind it is looked at, and checks that
/// what can be read makes sense and comes back when it is written.
///
/// # Panics
///
/// When that does not hold.
pub fn check_manifest(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    fix_checksum(&mut bytes);
    let Ok(manifest) = Manifest::decode(&bytes) else {
        return;
    };
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
    assert!(manifest.packs.keys().all(|id| *id < manifest.next_pack));
    for id in &manifest.discarded {
        assert!(!manifest.packs.contains_key(id), "a discarded pack counts");
    }
    for ranges in manifest.by_partition().values() {
        for pair in ranges.windows(2) {
            assert!(
                pair[0].1.end <= pair[1].1.first,
                "an offset lies in two places"
            );
        }
        for (id, range) in ranges {
            assert!(range.first <= range.end, "a range runs backwards");
            assert!(manifest.packs[id].ranges.contains(range));
        }
    }
}

/// Makes the last four bytes the checksum of the rest.
fn fix_checksum(bytes: &mut [u8]) {
    if let Some(content_bytes) = bytes.len().checked_sub(CHECKSUM_BYTES) {
        let (content, crc) = bytes.split_at_mut(content_bytes);
        crc.copy_from_slice(&crc32c(content).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use millstream_record::{Offset, TimestampMs};

    use super::*;
    use crate::ids::{JournalPosition, PackId, PartitionId};
    use crate::pack::{PackInfo, PackRange};

    fn seeds() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/manifest")
    }

    #[test]
    fn seeds_survive_the_codec() {
        let mut count = 0;
        for seed in fs::read_dir(seeds()).unwrap() {
            let bytes = fs::read(seed.unwrap().path()).unwrap();
            assert!(Manifest::decode(&bytes).is_ok());
            check_manifest(&bytes);
            // And whatever a single changed byte makes of it.
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0x55;
                check_manifest(&changed);
            }
            check_manifest(&bytes[..bytes.len() / 2]);
            count += 1;
        }
        assert!(
            count >= 3,
            "run `cargo test -p millstream-store -- --ignored write_seeds`"
        );
    }

    #[test]
    fn no_bytes_panic() {
        for len in [0, 3, 4, 64, 4096] {
            check_manifest(&vec![0; len]);
        }
    }

    #[test]
    #[ignore = "writes the seeds: for after the format has changed"]
    fn write_seeds() {
        fs::create_dir_all(seeds()).unwrap();
        for (name, packs, partitions) in [("empty", 0, 0), ("one-pack", 1, 1), ("many", 3, 4)] {
            let mut manifest = Manifest {
                number: 7,
                next_pack: PackId(20),
                settled: JournalPosition(123_456),
                ..Manifest::default()
            };
            for pack in 1..=packs {
                let ranges = (0..partitions).map(|partition| range(partition, pack));
                let info = PackInfo {
                    id: PackId(pack),
                    size_bytes: 4096 * pack,
                    created: TimestampMs(1_700_000_000_000),
                    ranges: ranges.collect(),
                };
                manifest.packs.insert(info.id, Arc::new(info));
                manifest.discarded.push(PackId(10 + pack));
            }
            fs::write(seeds().join(name), manifest.encode()).unwrap();
        }
    }

    /// Ten offsets of a partition, those of the next pack right behind them; every third range holds no batch any more.
    fn range(partition: u32, pack: u64) -> PackRange {
        let first = Offset(10 * pack as i64);
        let is_empty = partition % 3 == 2;
        PackRange {
            partition: PartitionId(partition),
            compacted: partition % 2 == 1,
            dense: partition.is_multiple_of(2),
            first,
            end: first + 10,
            last: if is_empty { first - 1 } else { first + 9 },
            bytes: if is_empty { 0 } else { 1_000 },
            first_timestamp: TimestampMs(5),
            max_timestamp: TimestampMs(9),
            delete_horizon: (partition == 1).then_some(TimestampMs(77)),
        }
    }
}
