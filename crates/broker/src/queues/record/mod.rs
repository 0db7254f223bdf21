//! How a queue's state is written down: entries of the state table.
//!
//! ```text
//! key, after 04 and the queue u64           value, after the format u8, 1                                file
//! 01                                        u8: 1 deliveries are suspended, 0 they are not              here
//! 02 | partition u32                        i64: the low-water mark                                      here
//! 03 | partition u32 | block u64            which of the block's 1,024 offsets are finished              block.rs
//! 04 | partition u32 | chunk u64            nothing: all 65,536 offsets of the chunk are finished        here
//! 05 | partition u32 | first offset u64     records that came back                                       history.rs
//! 06 | lease u64 | piece u32                a lease                                                      lease.rs
//! 07 | partition u32 | first offset u64     ids that were met                                            ids.rs
//! ```
//!
//! All numbers are big-endian. A newer format than is known here is refused. In the order of their keys the entries of a
//! queue are in the order in which [`super::Queue::restore`] wants them, and they share the prefix [`prefix`].
//!
//! A block or chunk without an entry has nothing finished beyond the low-water mark. Entries are small so that a change
//! writes little: an acknowledgement of a hundred records in order writes one block of 3 bytes, of a hundred at random
//! within a block 129.

mod block;
mod history;
mod ids;
mod lease;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_record::Offset;

use super::ids::{LeaseNumber, QueueId};
use super::machine::{QueueImage, Write};
use crate::fields::Fields;
pub use crate::fields::RecordError;

/// The layout of values that is written.
const FORMAT: u8 = 1;

/// The byte that every key of queues starts with.
const KEY_PREFIX: u8 = 0x04;

const QUEUE: u8 = 0x01;
const CURSOR: u8 = 0x02;
const BLOCK: u8 = 0x03;
const FINISHED: u8 = 0x04;
const HISTORY: u8 = 0x05;
const LEASE: u8 = 0x06;
const IDS: u8 = 0x07;

/// Entries by their key; no value means that the entry is to be deleted.
pub type Entries = BTreeMap<Bytes, Option<Bytes>>;

/// What all keys of a queue start with.
pub fn prefix(queue: QueueId) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u8(KEY_PREFIX);
    out.put_u64(queue.0);
    out.freeze()
}

/// Adds the entries that `writes` make to what earlier writes of the same commit made. A commit applies its puts before
/// its deletions, so of several changes to one key only the last may go into it.
pub fn add_entries(queue: QueueId, writes: &[Write], entries: &mut Entries) {
    for write in writes {
        entries.insert(key(queue, write), value(write));
    }
}

/// The put that an entry stands for.
pub fn decode(queue: QueueId, key: &[u8], value: &[u8]) -> Result<Write, RecordError> {
    let key = key
        .strip_prefix(&*prefix(queue))
        .ok_or(RecordError::Damaged("not a key of this queue"))?;
    let (mut key, mut value) = (Fields(key), Fields::of_value(value, FORMAT)?);
    let write = match key.u8()? {
        QUEUE => Write::Queue(QueueImage {
            paused: value.bool()?,
        }),
        CURSOR => Write::Cursor {
            partition: key.u32()?,
            low: value.offset()?,
        },
        BLOCK => Write::Block {
            partition: key.u32()?,
            block: key.number()?,
            done: block::read(&mut value)?,
        },
        FINISHED => Write::Finished {
            partition: key.u32()?,
            chunk: key.number()?,
        },
        HISTORY => Write::History {
            partition: key.u32()?,
            start: key.offset()?,
            span: history::read(&mut value)?,
        },
        LEASE => {
            let number = LeaseNumber(key.u64()?);
            Write::Lease(lease::read(number, key.u32()?, &mut value)?)
        }
        IDS => {
            let partition = key.u32()?;
            Write::Ids(ids::read(partition, key.offset()?, &mut value)?)
        }
        _ => return Err(RecordError::Damaged("a kind of entry that does not exist")),
    };
    key.end()?;
    value.end()?;
    Ok(write)
}

fn key(queue: QueueId, write: &Write) -> Bytes {
    let mut out = BytesMut::with_capacity(22);
    out.put_u8(KEY_PREFIX);
    out.put_u64(queue.0);
    let (kind, place, number) = match write {
        Write::Queue(_) => (QUEUE, None, None),
        Write::Cursor { partition, .. } => (CURSOR, Some(*partition), None),
        Write::Block {
            partition, block, ..
        }
        | Write::DropBlock { partition, block } => (BLOCK, Some(*partition), Some(*block)),
        Write::Finished { partition, chunk } | Write::DropFinished { partition, chunk } => {
            (FINISHED, Some(*partition), Some(*chunk))
        }
        Write::History {
            partition, start, ..
        }
        | Write::DropHistory { partition, start } => (HISTORY, Some(*partition), Some(start.get())),
        Write::Lease(image) => return lease::key(out, LEASE, image.number, image.piece),
        Write::DropLease { number, piece } => return lease::key(out, LEASE, *number, *piece),
        Write::Ids(image) => (IDS, Some(image.partition), Some(image.from.get())),
        Write::DropIds { partition, from } => (IDS, Some(*partition), Some(from.get())),
    };
    out.put_u8(kind);
    if let Some(partition) = place {
        out.put_u32(partition);
    }
    if let Some(number) = number {
        out.put_i64(number);
    }
    out.freeze()
}

fn value(write: &Write) -> Option<Bytes> {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    match write {
        Write::Queue(image) => out.put_u8(image.paused.into()),
        Write::Cursor { low, .. } => put_offset(&mut out, *low),
        Write::Block { done, .. } => block::put(&mut out, done),
        Write::Finished { .. } => {}
        Write::History { span, .. } => history::put(&mut out, span),
        Write::Lease(image) => lease::put(&mut out, image),
        Write::Ids(image) => ids::put(&mut out, image),
        Write::DropBlock { .. }
        | Write::DropFinished { .. }
        | Write::DropHistory { .. }
        | Write::DropLease { .. }
        | Write::DropIds { .. } => return None,
    }
    Some(out.freeze())
}

fn put_offset(out: &mut BytesMut, offset: Offset) {
    out.put_i64(offset.get());
}
