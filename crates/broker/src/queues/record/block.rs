//! Which of a block's 1,024 offsets are finished: the shortest of three forms.
//!
//! ```text
//! u8 1   u16 count                     the first so many
//! u8 2   u8 count, for each: u16       these
//! u8 3   16 u64                        those whose bits are set, the first in the lowest bit of the first word
//! ```

use bytes::{BufMut, BytesMut};

use crate::fields::Fields;
use crate::fields::RecordError;
use crate::queues::machine::BlockBits;

const FIRST: u8 = 1;
const LISTED: u8 = 2;
const BITMAP: u8 = 3;

const OFFSETS: u32 = 1_024;
/// A longer list takes more than the bitmap.
const LISTED_MAX: u32 = 63;

pub(super) fn put(out: &mut BytesMut, bits: &BlockBits) {
    let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
    if *bits == first(count) {
        out.put_u8(FIRST);
        out.put_u16(count as u16);
    } else if count <= LISTED_MAX {
        out.put_u8(LISTED);
        out.put_u8(count as u8);
        (0..OFFSETS)
            .filter(|bit| bits[*bit as usize / 64] >> (bit % 64) & 1 == 1)
            .for_each(|bit| out.put_u16(bit as u16));
    } else {
        out.put_u8(BITMAP);
        bits.iter().for_each(|word| out.put_u64(*word));
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Result<BlockBits, RecordError> {
    let mut bits = BlockBits::default();
    match fields.u8()? {
        FIRST => {
            let count = fields.u16()?.into();
            if count > OFFSETS {
                return Err(OUTSIDE);
            }
            bits = first(count);
        }
        LISTED => {
            for _ in 0..fields.u8()? {
                let bit = usize::from(fields.u16()?);
                *bits.get_mut(bit / 64).ok_or(OUTSIDE)? |= 1 << (bit % 64);
            }
        }
        BITMAP => {
            for word in &mut bits {
                *word = fields.u64()?;
            }
        }
        _ => return Err(RecordError::Damaged("a form of block that does not exist")),
    }
    Ok(bits)
}

const OUTSIDE: RecordError = RecordError::Damaged("an offset outside its block");

fn first(count: u32) -> BlockBits {
    let mut bits = BlockBits::default();
    for (index, word) in bits.iter_mut().enumerate() {
        let left = count.saturating_sub(index as u32 * 64).min(64);
        *word = u64::MAX.checked_shr(64 - left).unwrap_or(0);
    }
    bits
}
