//! Gathers an encoded message: small fields in one buffer, large payloads attached without a copy.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::EncodeError;
use crate::frame::{Frame, LENGTH_PREFIX_BYTES};
use crate::reader::STRING_BYTES_MAX;

/// Payloads from this size on are attached; copying less costs less than one more segment of a vectored write.
const ATTACH_BYTES_MIN: usize = 1024;

/// Room for the fields of most messages.
const HEAD_BYTES: usize = 512;

/// Collects one frame. A value that cannot be encoded is remembered and reported by [`Writer::finish`], so that
/// encoders read straight through.
#[derive(Debug)]
pub struct Writer {
    /// The length prefix and every byte that is not attached.
    head: BytesMut,
    /// Attached payloads, each with the length of `head` at which it belongs.
    attached: Vec<(usize, Bytes)>,
    attached_bytes: usize,
    /// Inside a tagged field, whose size stands before it, everything is copied.
    copies_all: bool,
    fault: Option<EncodeError>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty frame.
    pub fn new() -> Self {
        let mut head = BytesMut::with_capacity(HEAD_BYTES);
        head.put_bytes(0, LENGTH_PREFIX_BYTES);
        Self {
            head,
            attached: Vec::new(),
            attached_bytes: 0,
            copies_all: false,
            fault: None,
        }
    }

    /// The frame, its length filled in.
    pub fn finish(mut self) -> Result<Frame, EncodeError> {
        let total = self.head.len() + self.attached_bytes;
        let length = self.int32_length(total - LENGTH_PREFIX_BYTES);
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.head[..LENGTH_PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());

        let mut segments = Vec::with_capacity(2 * self.attached.len() + 1);
        let mut head = self.head.freeze();
        let mut cut = 0;
        for (position, payload) in self.attached {
            if position > cut {
                segments.push(head.split_to(position - cut));
                cut = position;
            }
            segments.push(payload);
        }
        if !head.is_empty() {
            segments.push(head);
        }
        Ok(Frame::new(segments, total))
    }

    /// Remembers the first fault; the frame will not be finished.
    #[cold]
    pub(crate) fn fail(&mut self, fault: EncodeError) {
        self.fault.get_or_insert(fault);
    }

    /// Bytes as they are.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.head.extend_from_slice(bytes);
    }

    /// A payload as it is, attached if that is cheaper than copying it.
    pub(crate) fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() < ATTACH_BYTES_MIN || self.copies_all {
            self.put(payload);
        } else {
            self.attached_bytes += payload.len();
            self.attached.push((self.head.len(), payload.clone()));
        }
    }

    /// An unsigned varint: 7 bits a byte, the lowest first.
    #[inline]
    pub(crate) fn put_uvarint(&mut self, value: u32) {
        let (bytes, length) = uvarint(value);
        self.put(&bytes[..length]);
    }

    /// The length of a byte string or an array.
    pub(crate) fn put_length(&mut self, length: usize, flexible: bool) {
        let length = self.int32_length(length);
        if flexible {
            self.put_uvarint(length as u32 + 1);
        } else {
            self.put(&length.to_be_bytes());
        }
    }

    /// A string with its length.
    pub(crate) fn put_string(&mut self, string: &str, flexible: bool) {
        let length = string.len();
        if length > STRING_BYTES_MAX {
            self.fail(EncodeError::StringTooLong(length));
        } else if flexible {
            self.put_uvarint(length as u32 + 1);
        } else {
            self.put(&(length as i16).to_be_bytes());
        }
        self.put(string.as_bytes());
    }

    /// A tagged field: its tag, its size, and what `value` writes.
    pub(crate) fn put_tagged(&mut self, tag: u32, value: impl FnOnce(&mut Self)) {
        self.put_uvarint(tag);
        let start = self.head.len();
        let copies_all = std::mem::replace(&mut self.copies_all, true);
        value(self);
        self.copies_all = copies_all;

        let size = self.int32_length(self.head.len() - start);
        let (bytes, length) = uvarint(size as u32);
        let end = self.head.len();
        self.put(&bytes[..length]);
        self.head.copy_within(start..end, start + length);
        self.head[start..start + length].copy_from_slice(&bytes[..length]);
    }

    /// A length as the protocol's 31 bits.
    fn int32_length(&mut self, length: usize) -> i32 {
        i32::try_from(length).unwrap_or_else(|_| {
            self.fail(EncodeError::TooLong(length));
            0
        })
    }
}

/// The varint's bytes and how many of them count.
#[inline]
fn uvarint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}
