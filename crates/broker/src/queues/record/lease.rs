//! A lease, or the piece of one that was extended by itself.
//!
//! ```text
//! u64  consumer
//! i64  when it was granted, milliseconds since 1970
//! i64  when it ends
//! u32  number of parts, for each:
//!      u32 partition, u8 priority, u64 chunk, u16 first word, u16 number of words, for each: u64, a bit for an offset
//! ```
//!
//! It is not written again when records of it are finished or come back: those that are finished, or whose history names
//! this lease or a later one, are no longer in it. Of several leases that list a record, the last one counts.

use bytes::{BufMut, Bytes, BytesMut};
use millstream_limits::QUEUE_PRIORITIES;
use smallvec::SmallVec;

use crate::fields::Fields;
use crate::fields::RecordError;
use crate::queues::ids::{ConsumerId, LeaseNumber};
use crate::queues::machine::{LeaseImage, Part, Run};

/// The least that a part takes.
const PART_BYTES: usize = 4 + 1 + 8 + 2 + 2;

pub(super) fn key(mut out: BytesMut, kind: u8, number: LeaseNumber, piece: u32) -> Bytes {
    out.put_u8(kind);
    out.put_u64(number.0);
    out.put_u32(piece);
    out.freeze()
}

pub(super) fn put(out: &mut BytesMut, image: &LeaseImage) {
    out.put_u64(image.consumer.0);
    out.put_i64(image.granted.get());
    out.put_i64(image.deadline.get());
    out.put_u32(image.parts.len() as u32);
    for part in &image.parts {
        let (first_word, words) = part.run.bitmap();
        out.put_u32(part.partition);
        out.put_u8(part.priority);
        out.put_i64(part.run.chunk());
        out.put_u16(first_word);
        out.put_u16(words.len() as u16);
        words.iter().for_each(|word| out.put_u64(*word));
    }
}

pub(super) fn read(
    number: LeaseNumber,
    piece: u32,
    fields: &mut Fields<'_>,
) -> Result<LeaseImage, RecordError> {
    let (consumer, granted, deadline) = (fields.u64()?, fields.timestamp()?, fields.timestamp()?);
    let count = fields.count(PART_BYTES)?;
    let parts: Result<SmallVec<[Part; 1]>, _> = (0..count).map(|_| part(fields)).collect();
    Ok(LeaseImage {
        number,
        piece,
        consumer: ConsumerId(consumer),
        granted,
        deadline,
        parts: parts?,
    })
}

fn part(fields: &mut Fields<'_>) -> Result<Part, RecordError> {
    let partition = fields.u32()?;
    let priority = priority(fields)?;
    let chunk = fields.number()?;
    let first_word = fields.u16()?;
    let words: Result<SmallVec<[u64; 4]>, _> = (0..fields.u16()?).map(|_| fields.u64()).collect();
    let run = Run::from_words(chunk, first_word, &words?)
        .ok_or(RecordError::Damaged("offsets outside their chunk"))?;
    Ok(Part {
        partition,
        priority,
        run,
    })
}

pub(super) fn priority(fields: &mut Fields<'_>) -> Result<u8, RecordError> {
    let priority = fields.u8()?;
    if usize::from(priority) < QUEUE_PRIORITIES {
        Ok(priority)
    } else {
        Err(RecordError::Damaged("a priority that does not exist"))
    }
}
