//! Records that came back, neighbours with the same past.
//!
//! ```text
//! u32  how many offsets
//! u16  how often they were delivered
//! u8   their priority
//! u64  the last lease they came back from
//! i64  when they were first delivered, milliseconds since 1970
//! i64  when they are to be delivered again at the earliest
//! ```

use bytes::{BufMut, BytesMut};

use super::lease::priority;
use crate::fields::Fields;
use crate::fields::RecordError;
use crate::queues::ids::LeaseNumber;
use crate::queues::machine::Span;

pub(super) fn put(out: &mut BytesMut, span: &Span) {
    out.put_u32(span.length);
    out.put_u16(span.attempts);
    out.put_u8(span.priority);
    out.put_u64(span.lease.0);
    out.put_i64(span.first_delivered.get());
    out.put_i64(span.due.get());
}

pub(super) fn read(fields: &mut Fields<'_>) -> Result<Span, RecordError> {
    Ok(Span {
        length: fields.u32()?,
        attempts: fields.u16()?,
        priority: priority(fields)?,
        lease: LeaseNumber(fields.u64()?),
        first_delivered: fields.timestamp()?,
        due: fields.timestamp()?,
    })
}
