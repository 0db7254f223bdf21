//! How groups and their offsets are written down: state entries of two kinds.
//!
//! ```text
//! key                                                                   value                       file
//! 03 01 | group id                                                      a generation of the group   group.rs
//! 03 02 | length u16 | group id | topic id, 16 bytes | partition u32    a committed offset          offset.rs
//! ```
//!
//! All numbers are big-endian. A value starts with the version of its layout; a newer one than is known here is
//! refused. Strings are a u32 length and UTF-8; an optional one is a u8, 0 for none, and if that is 1 the string.
//!
//! A group without a record has never been in a generation: it is there because it has offsets.

pub(crate) mod group;
pub(crate) mod offset;

/// What every key of groups starts with.
pub(crate) const KEY_PREFIX: &[u8] = &[0x03];
