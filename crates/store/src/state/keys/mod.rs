//! The layout of the store's own keys in the state table.
//!
//! Every key starts with a byte that says whose it is. `0x00` is the store's; the layers above use `0x01` to `0xff` and
//! define their layouts themselves. All numbers are big-endian, so that the keys of one kind lie in numeric order (none
//! of them is ever negative). A value starts with the version of its layout; a newer one than is known here is refused.
//!
//! ```text
//! key                                          value                                    file
//! 00 01                                        what the slot itself has to remember     slot.rs
//! 00 02 | partition u32                        a partition's descriptor                 partition.rs
//! 00 03 | partition u32 | producer i64         an idempotent producer's last batches    producer.rs
//! 00 04 | partition u32                        a tombstone: the partition was dropped   dropped.rs
//! ```
//!
//! Each file holds one kind of record with its `key`, `encode` and `decode` and a test that what goes in comes out.

pub mod dropped;
pub mod partition;
pub mod producer;
pub mod slot;

/// The first byte of every key of the store. The layers above must not write such keys.
pub const STORE_PREFIX: u8 = 0x00;

/// The second byte of a store key: what kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Slot = 0x01,
    Partition = 0x02,
    Producer = 0x03,
    Dropped = 0x04,
}

/// Whether a key belongs to the store.
pub fn is_reserved(key: &[u8]) -> bool {
    key.first() == Some(&STORE_PREFIX)
}

/// The two bytes that all keys of `kind` start with.
const fn prefix(kind: Kind) -> [u8; 2] {
    [STORE_PREFIX, kind as u8]
}
