//! What the slot itself has to remember.
//!
//! ```text
//! key    00 01
//! value  version u8 = 1 | leader epoch i32 | next partition u32 | clean u8
//! ```

use bytes::{BufMut, Bytes};
use millstream_record::LeaderEpoch;

use super::{Kind, prefix};
use crate::format::{FormatError, Reader};
use crate::ids::PartitionId;

const VERSION: u8 = 1;
const WHAT: &str = "slot record";

/// The slot's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotState {
    /// Raised at every start that does not follow a clean stop.
    pub leader_epoch: LeaderEpoch,
    /// The number the next partition gets.
    pub next_partition: PartitionId,
    /// The slot was stopped in order and nothing has happened since.
    pub clean: bool,
}

/// Where the record is.
pub fn key() -> Bytes {
    Bytes::from_static(&const { prefix(Kind::Slot) })
}

impl SlotState {
    /// The record as it is stored.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(10);
        out.put_u8(VERSION);
        out.put_i32(self.leader_epoch.0);
        out.put_u32(self.next_partition.0);
        out.put_u8(u8::from(self.clean));
        out.into()
    }

    /// Reads a stored record.
    pub fn decode(value: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(WHAT, value);
        reader.value_version(VERSION)?;
        let state = Self {
            leader_epoch: LeaderEpoch(reader.i32()?),
            next_partition: PartitionId(reader.u32()?),
            clean: reader.bool()?,
        };
        reader.end()?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(epoch: i32, next: u32, clean: bool) {
            let state = SlotState { leader_epoch: LeaderEpoch(epoch), next_partition: PartitionId(next), clean };
            prop_assert_eq!(SlotState::decode(&state.encode()), Ok(state));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = SlotState::decode(&bytes);
        }
    }
}
