//! Ids that one scan met for the first time.
//!
//! ```text
//! u32  how many, for each: u128 the id's hash, u64 the record's offset, i64 its timestamp
//! ```

use bytes::{BufMut, BytesMut};
use millstream_record::Offset;

use crate::fields::Fields;
use crate::fields::RecordError;
use crate::queues::ids::PartitionIndex;
use crate::queues::machine::{IdsImage, SeenId};

const ID_BYTES: usize = 16 + 8 + 8;

pub(super) fn put(out: &mut BytesMut, image: &IdsImage) {
    out.reserve(4 + image.ids.len() * ID_BYTES);
    out.put_u32(image.ids.len() as u32);
    for seen in &image.ids {
        out.put_u128(seen.id);
        out.put_i64(seen.offset.get());
        out.put_i64(seen.timestamp.get());
    }
}

pub(super) fn read(
    partition: PartitionIndex,
    from: Offset,
    fields: &mut Fields<'_>,
) -> Result<IdsImage, RecordError> {
    let count = fields.count(ID_BYTES)?;
    let seen = |fields: &mut Fields<'_>| {
        Ok(SeenId {
            id: fields.u128()?,
            offset: fields.offset()?,
            timestamp: fields.timestamp()?,
        })
    };
    let ids: Result<Vec<SeenId>, RecordError> = (0..count).map(|_| seen(fields)).collect();
    Ok(IdsImage {
        partition,
        from,
        ids: ids?,
    })
}
