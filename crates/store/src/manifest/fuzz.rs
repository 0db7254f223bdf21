//! What holds for any bytes taken for a manifest. For the fuzz target `manifest`, and for the test that replays its seeds.

use super::Manifest;
use crate::format::crc32c;

/// Bytes of the checksum at a manifest's end.
const CHECKSUM_BYTES: usize = 4;

/// Reads `bytes` as a manifest, its checksum made right first so that what lies behind it is looked at, and checks that
/// what can be read makes sense and is written as it was.
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
    assert_eq!(manifest.encode(), bytes, "one manifest, one encoding");
    assert!(manifest.packs.keys().all(|id| *id < manifest.next_pack));
    for id in &manifest.discarded {
        assert!(!manifest.packs.contains_key(id), "a discarded pack counts");
    }
    for ranges in manifest.by_partition().values() {
        for pair in ranges.windows(2) {
            assert!(pair[0].1.end <= pair[1].1.first, "an offset lies in two places");
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
