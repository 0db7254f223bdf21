//! From stored batches to records.

use std::ops::ControlFlow;

use millstream_limits::{BATCH_DECOMPRESSED_BYTES_MAX, UNPACKED_IN_PASSING_BYTES_MAX};
use millstream_record::{BatchError, Codec, Offset, Record};

use crate::streams::Fetched;

/// What a walk over batches comes across.
pub(super) enum Found {
    Record(Record),
    /// Records from the first offset up to the second cannot be decoded.
    Undecodable(Offset, Offset),
}

/// Walks over the records of `fetched` from `from` on, until `each` breaks off. Returns where to go on.
///
/// A batch that cannot be decoded does not stop the walk; only one whose bounds are unknown does.
pub(super) fn walk(
    fetched: &Fetched,
    from: Offset,
    mut each: impl FnMut(Found) -> ControlFlow<()>,
) -> Result<Offset, BatchError> {
    let mut next = from;
    for batch in fetched.batches() {
        let batch = batch?;
        if !batch.header.control {
            for record in batch.records(BATCH_DECOMPRESSED_BYTES_MAX) {
                let Ok(record) = record else {
                    let end = batch.header.next_offset();
                    let flow = each(Found::Undecodable(next.max(batch.header.base_offset), end));
                    next = end;
                    if flow.is_break() {
                        return Ok(next);
                    }
                    break;
                };
                if record.offset < next {
                    continue;
                }
                next = record.offset.next();
                if each(Found::Record(record)).is_break() {
                    return Ok(next);
                }
            }
        }
        next = next.max(batch.header.next_offset());
    }
    Ok(next)
}

/// Whether a walk should not happen on a thread that serves connections.
pub(super) fn takes_long(fetched: &Fetched) -> bool {
    let bytes: usize = fetched.slices.iter().map(bytes::Bytes::len).sum();
    bytes > UNPACKED_IN_PASSING_BYTES_MAX
        || fetched
            .batches()
            .map_while(Result::ok)
            .any(|batch| batch.header.codec != Codec::None)
}
