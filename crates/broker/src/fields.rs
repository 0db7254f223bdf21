//! The fields that keys and values in the state table are made of.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_record::{Offset, TimestampMs};

/// Why an entry of the state table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It was written by a newer server.
    #[error("a stored entry has format {0}, which a newer server wrote; start that one")]
    Newer(u8),
    /// It does not hold together.
    #[error("a stored entry is damaged: {0}")]
    Damaged(&'static str),
}

/// Appends a length and bytes.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

/// Appends an optional string.
pub(crate) fn put_optional(out: &mut BytesMut, text: Option<&str>) {
    out.put_u8(text.is_some().into());
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

/// Reads fields one after the other. No length is believed beyond what is there.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a value after its format, which must be `known` or older.
    pub(crate) fn of_value(value: &'a [u8], known: u8) -> Result<Self, RecordError> {
        let mut fields = Self(value);
        match fields.u8()? {
            format if format > known => Err(RecordError::Newer(format)),
            0 => Err(RecordError::Damaged("format 0")),
            _ => Ok(fields),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RecordError> {
        self.0.try_get_u8().map_err(|_| TOO_SHORT)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, RecordError> {
        self.0.try_get_u16().map_err(|_| TOO_SHORT)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RecordError> {
        self.0.try_get_u32().map_err(|_| TOO_SHORT)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, RecordError> {
        self.0.try_get_u64().map_err(|_| TOO_SHORT)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, RecordError> {
        self.0.try_get_u128().map_err(|_| TOO_SHORT)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, RecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Damaged("neither yes nor no")),
        }
    }

    /// A count or an index, which is never negative.
    pub(crate) fn number(&mut self) -> Result<i64, RecordError> {
        // The offsets that blocks and chunks stand for must exist too.
        let number = self.u64()?;
        i64::try_from(number)
            .ok()
            .filter(|number| *number < i64::MAX >> 17)
            .ok_or(RecordError::Damaged("a number that is too large"))
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, RecordError> {
        let offset = i64::try_from(self.u64()?);
        offset
            .map(Offset)
            .map_err(|_| RecordError::Damaged("a negative offset"))
    }

    pub(crate) fn timestamp(&mut self) -> Result<TimestampMs, RecordError> {
        let time = self.0.try_get_i64();
        time.map(TimestampMs).map_err(|_| TOO_SHORT)
    }

    /// How many of something follow that take at least `bytes` each.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<usize, RecordError> {
        let count = self.u32()? as usize;
        if count > self.0.len() / bytes {
            return Err(TOO_SHORT);
        }
        Ok(count)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordError> {
        self.0.try_get_i32().map_err(|_| TOO_SHORT)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordError> {
        self.0.try_get_i64().map_err(|_| TOO_SHORT)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A length and bytes, copied.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, RecordError> {
        let length = self.u32()? as usize;
        self.take(length).map(Bytes::copy_from_slice)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = self.u32()? as usize;
        utf8(self.take(length)?)
    }

    pub(crate) fn shared_text(&mut self) -> Result<Arc<str>, RecordError> {
        self.text().map(Arc::from)
    }

    pub(crate) fn optional(&mut self) -> Result<Option<&'a str>, RecordError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.text().map(Some),
            _ => Err(RecordError::Damaged("neither there nor not there")),
        }
    }

    /// As many of something as a u32 says. Each takes at least one byte, so the count cannot run away.
    pub(crate) fn several<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = self.count(1)?;
        (0..count).map(|_| one(self)).collect()
    }

    /// Nothing may follow.
    pub(crate) fn end(self) -> Result<(), RecordError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(RecordError::Damaged("bytes are left over"))
        }
    }
}

const TOO_SHORT: RecordError = RecordError::Damaged("it ends too soon");

pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, RecordError> {
    std::str::from_utf8(bytes).map_err(|_| RecordError::Damaged("text that is not UTF-8"))
}
