//! What one partition remembers of one idempotent producer (KIP-98).
//!
//! ```text
//! key    00 03 | partition u32 | producer i64
//! value  version u8 = 1 | producer epoch i16 | last timestamp i64 | first offset of the open transaction i64, -1 for none
//!        count u32, at most 5, oldest first
//!        count x (base sequence i32 | last sequence i32 | base offset i64 | last offset i64 | timestamp i64)
//! ```

use bytes::{BufMut, Bytes};
use millstream_limits::PRODUCER_BATCHES_REMEMBERED;
use millstream_record::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

use super::{Kind, prefix};
use crate::format::{FormatError, Reader};
use crate::ids::PartitionId;

const VERSION: u8 = 1;
const WHAT: &str = "producer record";
const BATCH_BYTES: usize = 32;

/// One batch that a producer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducedBatch {
    /// Sequence of its first record.
    pub base_sequence: Sequence,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its max timestamp.
    pub timestamp: TimestampMs,
}

/// What one partition remembers of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// The newest epoch seen.
    pub epoch: ProducerEpoch,
    /// When the producer last appended, on the server's clock: what its expiry is counted from.
    pub last_timestamp: TimestampMs,
    /// Where its open transaction starts.
    pub txn_first_offset: Option<Offset>,
    /// Its last batches, oldest first; at most [`PRODUCER_BATCHES_REMEMBERED`].
    pub batches: Vec<ProducedBatch>,
}

/// Where the record of `producer` in `partition` is.
pub fn key(partition: PartitionId, producer: ProducerId) -> Bytes {
    let mut out = Vec::with_capacity(14);
    out.put_slice(&partition_prefix(partition));
    out.put_i64(producer.0);
    out.into()
}

/// What the keys of all producers of all partitions start with.
pub const PREFIX: [u8; 2] = prefix(Kind::Producer);

/// What the keys of all producers of `partition` start with.
pub fn partition_prefix(partition: PartitionId) -> [u8; 6] {
    let mut out = [0; 6];
    out[..2].copy_from_slice(&PREFIX);
    out[2..].copy_from_slice(&partition.0.to_be_bytes());
    out
}

/// Which partition and producer a key is about.
pub fn parse_key(key: &[u8]) -> Result<(PartitionId, ProducerId), FormatError> {
    let mut reader = Reader::new("producer key", key);
    reader.key_prefix(PREFIX)?;
    let partition = PartitionId(reader.u32()?);
    let producer = ProducerId(reader.i64()?);
    reader.end()?;
    Ok((partition, producer))
}

impl ProducerState {
    /// The record as it is stored.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(23 + self.batches.len() * BATCH_BYTES);
        out.put_u8(VERSION);
        out.put_i16(self.epoch.0);
        out.put_i64(self.last_timestamp.0);
        out.put_i64(self.txn_first_offset.unwrap_or(Offset::NONE).0);
        out.put_u32(self.batches.len() as u32);
        for batch in &self.batches {
            out.put_i32(batch.base_sequence.0);
            out.put_i32(batch.last_sequence.0);
            out.put_i64(batch.base_offset.0);
            out.put_i64(batch.last_offset.0);
            out.put_i64(batch.timestamp.0);
        }
        out.into()
    }

    /// Reads a stored record.
    pub fn decode(value: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(WHAT, value);
        reader.value_version(VERSION)?;
        let epoch = ProducerEpoch(reader.i16()?);
        let last_timestamp = TimestampMs(reader.i64()?);
        let txn_first_offset = Some(Offset(reader.i64()?)).filter(|offset| offset.0 >= 0);
        let count = reader.count(BATCH_BYTES)?;
        if count > PRODUCER_BATCHES_REMEMBERED {
            return Err(reader.malformed("more batches than are remembered"));
        }
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            batches.push(ProducedBatch {
                base_sequence: Sequence(reader.i32()?),
                last_sequence: Sequence(reader.i32()?),
                base_offset: Offset(reader.i64()?),
                last_offset: Offset(reader.i64()?),
                timestamp: TimestampMs(reader.i64()?),
            });
        }
        reader.end()?;
        Ok(Self {
            epoch,
            last_timestamp,
            txn_first_offset,
            batches,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch() -> impl Strategy<Value = ProducedBatch> {
        any::<(i32, i32, i64, i64, i64)>().prop_map(|numbers| ProducedBatch {
            base_sequence: Sequence(numbers.0),
            last_sequence: Sequence(numbers.1),
            base_offset: Offset(numbers.2),
            last_offset: Offset(numbers.3),
            timestamp: TimestampMs(numbers.4),
        })
    }

    proptest! {
        #[test]
        fn round_trip(
            ids: (u32, i64),
            epoch: i16,
            last: i64,
            txn in proptest::option::of(0i64..),
            batches in proptest::collection::vec(batch(), 0..=PRODUCER_BATCHES_REMEMBERED),
        ) {
            let state = ProducerState {
                epoch: ProducerEpoch(epoch),
                last_timestamp: TimestampMs(last),
                txn_first_offset: txn.map(Offset),
                batches,
            };
            prop_assert_eq!(ProducerState::decode(&state.encode()), Ok(state));
            let ids = (PartitionId(ids.0), ProducerId(ids.1));
            prop_assert_eq!(parse_key(&key(ids.0, ids.1)), Ok(ids));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = ProducerState::decode(&bytes);
            let _ = parse_key(&bytes);
        }
    }
}
