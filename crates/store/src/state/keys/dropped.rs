//! A tombstone: the partition was dropped, so its batches may go.
//!
//! Only this record lets packs be emptied of a partition. One that is merely unknown keeps what it has: absence never
//! deletes. The tombstone itself goes when no pack holds anything of the partition any more.
//!
//! ```text
//! key    00 04 | partition u32
//! value  version u8 = 1
//! ```

use bytes::{BufMut, Bytes};

use super::{Kind, prefix};
use crate::format::{FormatError, Reader};
use crate::ids::PartitionId;

const VERSION: u8 = 1;
const WHAT: &str = "tombstone of a partition";

/// Where the tombstone of `partition` is.
pub fn key(partition: PartitionId) -> Bytes {
    let mut out = Vec::with_capacity(6);
    out.put_slice(&PREFIX);
    out.put_u32(partition.0);
    out.into()
}

/// What the keys of all tombstones start with.
pub const PREFIX: [u8; 2] = prefix(Kind::Dropped);

/// Which partition a tombstone is for.
pub fn parse_key(key: &[u8]) -> Result<PartitionId, FormatError> {
    let mut reader = Reader::new("tombstone key", key);
    reader.key_prefix(PREFIX)?;
    let partition = PartitionId(reader.u32()?);
    reader.end()?;
    Ok(partition)
}

/// The tombstone as it is stored.
pub fn value() -> Bytes {
    Bytes::from_static(&[VERSION])
}

/// Checks a stored tombstone.
pub fn check(value: &[u8]) -> Result<(), FormatError> {
    let mut reader = Reader::new(WHAT, value);
    reader.value_version(VERSION)?;
    reader.end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(id: u32) {
            prop_assert_eq!(parse_key(&key(PartitionId(id))), Ok(PartitionId(id)));
            prop_assert_eq!(check(&value()), Ok(()));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = check(&bytes);
            let _ = parse_key(&bytes);
        }
    }
}
