//! The fields that keys and values are made of.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::RecordError;

/// Appends a length and bytes.
pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

/// Appends an optional string.
pub(super) fn put_optional(out: &mut BytesMut, text: Option<&str>) {
    out.put_u8(text.is_some().into());
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

/// Reads fields one after the other. No length is believed beyond what is there.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a value after its format, which must be `known` or older.
    pub(super) fn of_value(value: &'a [u8], known: u8) -> Result<Self, RecordError> {
        let mut fields = Self(value);
        match fields.u8()? {
            format if format > known => Err(RecordError::Newer(format)),
            0 => Err(RecordError::Damaged("format 0")),
            _ => Ok(fields),
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

    pub(super) fn i32(&mut self) -> Result<i32, RecordError> {
        self.0.try_get_i32().map_err(|_| TOO_SHORT)
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        self.0.try_get_i64().map_err(|_| TOO_SHORT)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A length and bytes, copied.
    pub(super) fn bytes(&mut self) -> Result<Bytes, RecordError> {
        let length = self.u32()? as usize;
        self.take(length).map(Bytes::copy_from_slice)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = self.u32()? as usize;
        utf8(self.take(length)?)
    }

    pub(super) fn shared_text(&mut self) -> Result<Arc<str>, RecordError> {
        self.text().map(Arc::from)
    }

    pub(super) fn optional(&mut self) -> Result<Option<&'a str>, RecordError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.text().map(Some),
            _ => Err(RecordError::Damaged("neither there nor not there")),
        }
    }

    /// As many of something as a u32 says. Each takes at least one byte, so the count cannot run away.
    pub(super) fn several<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = self.u32()? as usize;
        if count > self.0.len() {
            return Err(TOO_SHORT);
        }
        (0..count).map(|_| one(self)).collect()
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

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, RecordError> {
    std::str::from_utf8(bytes).map_err(|_| RecordError::Damaged("text that is not UTF-8"))
}
