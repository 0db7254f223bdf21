//! One record: its key, value and headers, and their layout inside a batch.
//!
//! ```text
//! length           varint   of what follows
//! attributes       i8       unused
//! timestamp delta  varlong  from the batch's base timestamp
//! offset delta     varint   from the batch's base offset
//! key length       varint   -1: no key
//! key
//! value length     varint   -1: no value
//! value
//! header count     varint
//! headers                   each: key length, key, value length (-1: no value), value
//! ```

use std::fmt;

use bytes::Bytes;

use crate::header::{BatchHeader, TimestampType};
use crate::ids::{Offset, TimestampMs};
use crate::varint;

/// A decoded record. Key, value and headers share the memory of the batch, or of the part of it that was
/// decompressed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where the record is in its partition.
    pub offset: Offset,
    /// When the producer made it or the broker took it, as the batch's timestamp type says.
    pub timestamp: TimestampMs,
    /// The key; a record may have none, which is not the same as an empty one.
    pub key: Option<Bytes>,
    /// The value; a record with a key and no value deletes the key on a compacted topic.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
}

impl Record {
    /// The same record in memory of its own, so that keeping it keeps nothing else.
    #[must_use]
    pub fn detached(&self) -> Self {
        let parts = [
            self.key.as_deref().unwrap_or_default(),
            self.value.as_deref().unwrap_or_default(),
            &self.headers.encoded,
        ];
        let mut bytes = Bytes::from(parts.concat());
        let mut part = |index: usize| bytes.split_to(parts[index].len());
        let (key, value, encoded) = (part(0), part(1), part(2));
        Self {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.is_some().then_some(key),
            value: self.value.is_some().then_some(value),
            headers: Headers {
                count: self.headers.count,
                encoded,
            },
        }
    }
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name, which should be UTF-8 but comes from the client as it is.
    pub key: &'a [u8],
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
}

/// A record's headers, in their order, duplicates and missing values included; kept encoded and decoded when asked for,
/// so that a record with a great many of them costs no more memory than its bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers {
    count: usize,
    encoded: Bytes,
}

impl Headers {
    /// Encodes `headers`.
    pub fn new(headers: &[Header<'_>]) -> Self {
        let mut encoded = Vec::new();
        for header in headers {
            header.put(&mut encoded);
        }
        Self {
            count: headers.len(),
            encoded: encoded.into(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes they take, encoded.
    pub fn size_bytes(&self) -> usize {
        self.encoded.len()
    }

    /// The headers in their order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        let mut cursor = Cursor {
            bytes: &self.encoded,
            at: 0,
        };
        (0..self.count).map_while(move |_| {
            let key = cursor
                .length()
                .ok()
                .flatten()
                .and_then(|length| cursor.span(length).ok())?;
            let value = cursor.nullable_span().ok()?;
            Some(Header {
                key: &self.encoded[key],
                value: value.map(|span| &self.encoded[span]),
            })
        })
    }

    /// The first header of that name.
    pub fn get(&self, key: &[u8]) -> Option<Header<'_>> {
        self.iter().find(|header| header.key == key)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Header<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.key.len() as i64);
        out.extend_from_slice(self.key);
        put_nullable(out, self.value);
    }

    fn size_bytes(&self) -> usize {
        varint::size_bytes(self.key.len() as i64) + self.key.len() + nullable_size_bytes(self.value)
    }
}

/// What a record is encoded from.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: HeaderParts<'a>,
}

/// Headers to encode, or to copy as they were encoded before.
#[derive(Clone, Copy)]
pub(crate) enum HeaderParts<'a> {
    List(&'a [Header<'a>]),
    Encoded(&'a Headers),
}

impl HeaderParts<'_> {
    fn count(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Encoded(headers) => headers.count,
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::List(list) => list.iter().map(Header::size_bytes).sum(),
            Self::Encoded(headers) => headers.encoded.len(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::List(list) => list.iter().for_each(|header| header.put(out)),
            Self::Encoded(headers) => out.extend_from_slice(&headers.encoded),
        }
    }
}

impl Parts<'_> {
    /// The encoded size, the length field included.
    pub(crate) fn size_bytes(&self) -> usize {
        let body = self.body_size_bytes();
        varint::size_bytes(body as i64) + body
    }

    /// Appends the encoded record.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.body_size_bytes() as i64);
        out.push(0);
        varint::put(out, self.timestamp_delta);
        varint::put(out, self.offset_delta.into());
        put_nullable(out, self.key);
        put_nullable(out, self.value);
        varint::put(out, self.headers.count() as i64);
        self.headers.put(out);
    }

    fn body_size_bytes(&self) -> usize {
        1 + varint::size_bytes(self.timestamp_delta)
            + varint::size_bytes(self.offset_delta.into())
            + nullable_size_bytes(self.key)
            + nullable_size_bytes(self.value)
            + varint::size_bytes(self.headers.count() as i64)
            + self.headers.size_bytes()
    }
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint::put(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn nullable_size_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| {
        varint::size_bytes(bytes.len() as i64) + bytes.len()
    })
}

/// Decodes one record's body, which is what its length field counts. The error is what is wrong with it.
///
/// The second value is the offset delta.
pub(crate) fn decode(body: &Bytes, batch: &BatchHeader) -> Result<(Record, i32), &'static str> {
    let mut cursor = Cursor { bytes: body, at: 0 };
    cursor.span(1)?;
    let timestamp_delta = cursor.i64()?;
    let offset_delta = cursor.i32()?;
    if offset_delta < 0 || offset_delta > batch.last_offset_delta {
        return Err("offset lies outside the batch");
    }
    let key = cursor.nullable_span()?;
    let value = cursor.nullable_span()?;
    let header_count = usize::try_from(cursor.i32()?).map_err(|_| "negative header count")?;
    let headers_at = cursor.at;
    for _ in 0..header_count {
        let length = cursor.length()?.ok_or("header without a key")?;
        cursor.span(length)?;
        cursor.nullable_span()?;
    }
    if cursor.at != body.len() {
        return Err("bytes are left over after its last field");
    }
    let timestamp = match batch.timestamp_type {
        TimestampType::CreateTime => {
            TimestampMs(batch.base_timestamp.0.wrapping_add(timestamp_delta))
        }
        TimestampType::LogAppendTime => batch.max_timestamp,
    };
    let record = Record {
        offset: batch.base_offset + i64::from(offset_delta),
        timestamp,
        key: key.map(|span| body.slice(span)),
        value: value.map(|span| body.slice(span)),
        headers: Headers {
            count: header_count,
            encoded: body.slice(headers_at..),
        },
    };
    Ok((record, offset_delta))
}

/// What the beginning of a record says.
pub(crate) struct Peeked {
    /// Where it ends.
    pub(crate) end: usize,
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
}

/// Looks at the beginning of the record at the start of `bytes`; `None` if it is not whole or makes no sense.
pub(crate) fn peek(bytes: &[u8]) -> Option<Peeked> {
    let (length, at) = varint::take_i32(bytes)?;
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let body = bytes.get(at..end)?;
    let (timestamp_delta, used) = varint::take_i64(body.get(1..)?)?;
    let (offset_delta, _) = varint::take_i32(body.get(1 + used..)?)?;
    Some(Peeked {
        end,
        timestamp_delta,
        offset_delta,
    })
}

type Span = std::ops::Range<usize>;

/// A place in a record's body.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn i32(&mut self) -> Result<i32, &'static str> {
        let (value, used) =
            varint::take_i32(&self.bytes[self.at..]).ok_or("bad or unfinished number")?;
        self.at += used;
        Ok(value)
    }

    fn i64(&mut self) -> Result<i64, &'static str> {
        let (value, used) =
            varint::take_i64(&self.bytes[self.at..]).ok_or("bad or unfinished number")?;
        self.at += used;
        Ok(value)
    }

    /// A length, where any negative number stands for nothing there, as in Kafka's reader.
    fn length(&mut self) -> Result<Option<usize>, &'static str> {
        Ok(usize::try_from(self.i32()?).ok())
    }

    fn span(&mut self, length: usize) -> Result<Span, &'static str> {
        if length > self.bytes.len() - self.at {
            return Err("a field runs past its end");
        }
        let from = self.at;
        self.at += length;
        Ok(from..self.at)
    }

    fn nullable_span(&mut self) -> Result<Option<Span>, &'static str> {
        self.length()?.map(|length| self.span(length)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_record_is_the_same_in_other_memory() {
        let memory = Bytes::from_static(b"keyvalue");
        let header = |key, value| Header { key, value };
        let record = Record {
            offset: Offset(3),
            timestamp: TimestampMs(4),
            key: Some(memory.slice(..3)),
            value: Some(memory.slice(3..)),
            headers: Headers::new(&[header(b"a", Some(b"1")), header(b"a", None)]),
        };
        let detached = record.detached();
        assert_eq!(detached, record);
        let value = detached.value.clone().unwrap();
        assert_ne!(value.as_ptr(), memory[3..].as_ptr());
        let bare = Record {
            key: None,
            value: Some(Bytes::new()),
            headers: Headers::default(),
            ..record
        };
        assert_eq!(bare.detached(), bare);
    }
}
