//! The fields that keys and values are made of.

use bytes::{Buf, BufMut, BytesMut};
use millstream_record::{Offset, TimestampMs};

use super::RecordError;

const FORMAT: u8 = 1;

/// What every value starts with.
pub(super) fn put_format(out: &mut BytesMut) {
    out.put_u8(FORMAT);
}

/// Reads fields one after the other. Nothing is believed beyond what is there.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a value after its format, which must be known.
    pub(super) fn of_value(value: &'a [u8]) -> Result<Self, RecordError> {
        let mut fields = Self(value);
        match fields.u8()? {
            FORMAT => Ok(fields),
            0 => Err(RecordError::Damaged("format 0")),
            newer => Err(RecordError::Newer(newer)),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, RecordError> {
        self.0.try_get_u8().map_err(|_| TOO_SHORT)
    }

    pub(super) fn u16(&mut self) -> Result<u16, RecordError> {
        self.0.try_get_u16().map_err(|_| TOO_SHORT)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RecordError> {
        self.0.try_get_u32().map_err(|_| TOO_SHORT)
    }

    pub(super) fn u64(&mut self) -> Result<u64, RecordError> {
        self.0.try_get_u64().map_err(|_| TOO_SHORT)
    }

    pub(super) fn u128(&mut self) -> Result<u128, RecordError> {
        self.0.try_get_u128().map_err(|_| TOO_SHORT)
    }

    pub(super) fn bool(&mut self) -> Result<bool, RecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Damaged("neither yes nor no")),
        }
    }

    /// A count or an index, which is never negative.
    pub(super) fn number(&mut self) -> Result<i64, RecordError> {
        // The offsets that blocks and chunks stand for must exist too.
        let number = self.u64()?;
        i64::try_from(number)
            .ok()
            .filter(|number| *number < i64::MAX >> 17)
            .ok_or(RecordError::Damaged("a number that is too large"))
    }

    pub(super) fn offset(&mut self) -> Result<Offset, RecordError> {
        let offset = i64::try_from(self.u64()?);
        offset
            .map(Offset)
            .map_err(|_| RecordError::Damaged("a negative offset"))
    }

    pub(super) fn timestamp(&mut self) -> Result<TimestampMs, RecordError> {
        let time = self.0.try_get_i64();
        time.map(TimestampMs).map_err(|_| TOO_SHORT)
    }

    /// How many of something follow that take at least `bytes` each.
    pub(super) fn count(&mut self, bytes: usize) -> Result<usize, RecordError> {
        let count = self.u32()? as usize;
        if count > self.0.len() / bytes {
            return Err(TOO_SHORT);
        }
        Ok(count)
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), RecordError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(RecordError::Damaged("bytes are left over"))
        }
    }
}

const TOO_SHORT: RecordError = RecordError::Damaged("it ends too soon");
