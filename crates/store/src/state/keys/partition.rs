//! A partition's descriptor: what cannot be told from its batches.
//!
//! ```text
//! key    00 02 | partition u32
//! value  version u8 = 1 | durability u8 (0 memory, 1 os, 2 fsync) | log start i64 | reserved i64 | count u32
//!        count x (leader epoch i32 | first offset i64), both rising
//! ```

use bytes::{BufMut, Bytes};
use millstream_record::{LeaderEpoch, Offset};

use super::{Kind, prefix};
use crate::format::{FormatError, Reader};
use crate::ids::PartitionId;
use crate::policy::Durability;

const VERSION: u8 = 1;
const WHAT: &str = "partition record";
const EPOCH_BYTES: usize = 12;

/// A partition's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// The first offset that readers may have; rises by retention and trims.
    pub log_start: Offset,
    /// Offsets below this may have been given out by a memory partition before a restart, so it resumes here. 0 for a
    /// partition whose batches are stored.
    pub reserved: Offset,
    /// Each leader epoch in which something was appended, with the first offset it gave out. Both rise.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
}

/// Where the descriptor of `partition` is.
pub fn key(partition: PartitionId) -> Bytes {
    let mut out = Vec::with_capacity(6);
    out.put_slice(&prefix(Kind::Partition));
    out.put_u32(partition.0);
    out.into()
}

/// What the keys of all partitions start with.
pub const PREFIX: [u8; 2] = prefix(Kind::Partition);

/// Which partition a key describes.
pub fn parse_key(key: &[u8]) -> Result<PartitionId, FormatError> {
    let mut reader = Reader::new("partition key", key);
    reader.key_prefix(PREFIX)?;
    let partition = PartitionId(reader.u32()?);
    reader.end()?;
    Ok(partition)
}

impl PartitionState {
    /// The descriptor as it is stored.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(22 + self.epochs.len() * EPOCH_BYTES);
        out.put_u8(VERSION);
        out.put_u8(self.durability as u8);
        out.put_i64(self.log_start.0);
        out.put_i64(self.reserved.0);
        out.put_u32(self.epochs.len() as u32);
        for (epoch, first) in &self.epochs {
            out.put_i32(epoch.0);
            out.put_i64(first.0);
        }
        out.into()
    }

    /// Reads a stored descriptor.
    pub fn decode(value: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(WHAT, value);
        reader.value_version(VERSION)?;
        let durability = Durability::from_u8(reader.u8()?)
            .ok_or_else(|| reader.malformed("there is no such durability"))?;
        let log_start = Offset(reader.i64()?);
        let reserved = Offset(reader.i64()?);
        let count = reader.count(EPOCH_BYTES)?;
        let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::with_capacity(count);
        for _ in 0..count {
            let next = (LeaderEpoch(reader.i32()?), Offset(reader.i64()?));
            if epochs
                .last()
                .is_some_and(|last| last.0 >= next.0 || last.1 > next.1)
            {
                return Err(reader.malformed("the epochs do not rise"));
            }
            epochs.push(next);
        }
        reader.end()?;
        Ok(Self {
            durability,
            log_start,
            reserved,
            epochs,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(
            id: u32,
            durability in 0u8..3,
            log_start: i64,
            reserved: i64,
            epochs in proptest::collection::btree_map(any::<i32>(), 0i64..1 << 40, 0..20),
        ) {
            let mut first = 0;
            let state = PartitionState {
                durability: Durability::from_u8(durability).unwrap(),
                log_start: Offset(log_start),
                reserved: Offset(reserved),
                epochs: epochs
                    .into_iter()
                    .map(|(epoch, step)| {
                        first += step;
                        (LeaderEpoch(epoch), Offset(first))
                    })
                    .collect(),
            };
            prop_assert_eq!(PartitionState::decode(&state.encode()), Ok(state));
            prop_assert_eq!(parse_key(&key(PartitionId(id))), Ok(PartitionId(id)));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = PartitionState::decode(&bytes);
            let _ = parse_key(&bytes);
        }
    }
}
