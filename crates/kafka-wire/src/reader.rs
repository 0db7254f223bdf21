//! Reads the primitives of the protocol from one frame, and refuses what the frame's length does not justify.

use bytes::Bytes;
use millstream_limits::kafka_decoded_array_bytes_max;

use crate::error::{DecodeError, DecodeReason};

/// The longest string: Kafka's limit, in flexible versions too.
pub(crate) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A place in a frame. Everything it returns is a slice of the frame.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    /// What is not yet read, up to the frame's end or, inside a tagged field, to that field's end.
    rest: &'a [u8],
    /// Memory that arrays may still take.
    array_bytes_left: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `frame`, which is without the 4 bytes of its length.
    pub fn new(frame: &'a Bytes) -> Self {
        Self {
            frame,
            rest: frame,
            array_bytes_left: kafka_decoded_array_bytes_max(frame.len()),
        }
    }

    /// Bytes that are not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(*chunk)
            }
            None => Err(self.truncated(N)),
        }
    }

    #[cold]
    fn truncated(&self, needed: usize) -> DecodeError {
        DecodeReason::Truncated {
            needed,
            left: self.rest.len(),
        }
        .into()
    }

    /// The next 2 bytes, big-endian.
    #[inline]
    pub(crate) fn int16(&mut self) -> Result<i16, DecodeError> {
        self.chunk().map(i16::from_be_bytes)
    }

    /// The next 4 bytes, big-endian.
    #[inline]
    pub(crate) fn int32(&mut self) -> Result<i32, DecodeError> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// An unsigned varint of at most 5 bytes: 7 bits each, the lowest first.
    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let [byte] = self.chunk()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        match self.chunk()? {
            [byte @ 0..=0x0f] => Ok(value | u32::from(byte) << 28),
            _ => Err(DecodeReason::VarintTooLong.into()),
        }
    }

    /// A length before a string, a byte string or an array: a varint of one more with 0 for null in flexible versions,
    /// else what `classic` reads, with -1 for null.
    #[inline]
    fn length(
        &mut self,
        flexible: bool,
        classic: fn(&mut Self) -> Result<i32, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        match classic(self)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(DecodeReason::NegativeLength(length).into()),
            },
        }
    }

    /// The next `length` bytes as a slice of the frame.
    #[inline]
    fn slice(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        match self.rest.split_at_checked(length) {
            Some((slice, rest)) => {
                self.rest = rest;
                Ok(self.frame.slice_ref(slice))
            }
            None => Err(self.truncated(length)),
        }
    }

    /// A byte string or a null.
    #[inline]
    pub(crate) fn bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flexible, Self::int32)? {
            Some(length) => self.slice(length).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes of a string, which are not yet known to be UTF-8, or a null.
    #[inline]
    pub(crate) fn string_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flexible, |reader| reader.int16().map(i32::from))? {
            Some(length) if length > STRING_BYTES_MAX => {
                Err(DecodeReason::StringTooLong(length).into())
            }
            Some(length) => self.slice(length).map(Some),
            None => Ok(None),
        }
    }

    /// The number of elements of an array, or a null. It is safe to reserve: `count` elements of `element_bytes_min`
    /// bytes are left in the frame, and their `element_memory_bytes` are within the frame's budget.
    pub(crate) fn array_length(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element_memory_bytes: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length(flexible, Self::int32)? else {
            return Ok(None);
        };
        let left = self.rest.len();
        if count > left / element_bytes_min.max(1) {
            return Err(DecodeReason::ArrayTooLong { count, left }.into());
        }
        match self
            .array_bytes_left
            .checked_sub(count.saturating_mul(element_memory_bytes))
        {
            Some(left) => self.array_bytes_left = left,
            None => return Err(DecodeReason::ArraysTooLarge { count }.into()),
        }
        Ok(Some(count))
    }

    /// The tagged fields at the end of a struct (KIP-482). `known` gets each tag and reads its value, or returns false
    /// for a tag it does not know, which is then skipped.
    pub(crate) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        // Each field takes two bytes at least, so the frame's length bounds the loop.
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let Some((value, after)) = self.rest.split_at_checked(size) else {
                return Err(self.truncated(size));
            };
            self.rest = value;
            if known(self, tag)? && !self.rest.is_empty() {
                return Err(DecodeReason::TaggedFieldTooLong(self.rest.len()).into());
            }
            self.rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uvarint(bytes: &'static [u8]) -> Result<u32, DecodeReason> {
        Reader::new(&Bytes::from_static(bytes))
            .uvarint()
            .map_err(|error| error.reason)
    }

    #[test]
    fn varints_have_at_most_32_bits() {
        assert_eq!(uvarint(&[0]), Ok(0));
        assert_eq!(uvarint(&[0x7f]), Ok(127));
        assert_eq!(uvarint(&[0x80, 0x01]), Ok(128));
        assert_eq!(uvarint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(
            uvarint(&[0xff, 0xff, 0xff, 0xff, 0x10]),
            Err(DecodeReason::VarintTooLong)
        );
        assert_eq!(
            uvarint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
            Err(DecodeReason::VarintTooLong)
        );
        assert_eq!(
            uvarint(&[0x80]),
            Err(DecodeReason::Truncated { needed: 1, left: 0 })
        );
    }

    #[test]
    fn lengths_below_null_are_refused() {
        let frame = Bytes::from_static(&[0xff, 0xfe, 0xff, 0xff]);
        let reason = |result: Result<_, DecodeError>| result.unwrap_err().reason;
        assert_eq!(
            reason(Reader::new(&frame).string_bytes(false)),
            DecodeReason::NegativeLength(-2)
        );
        assert_eq!(
            reason(Reader::new(&frame).bytes(false)),
            DecodeReason::NegativeLength(-65537)
        );
    }

    #[test]
    fn strings_end_at_kafkas_limit_in_flexible_versions_too() {
        let mut frame = vec![0x81, 0x80, 0x02]; // the length 32768, plus one
        frame.resize(40_000, b'a');
        let error = Reader::new(&frame.into()).string_bytes(true).unwrap_err();
        assert_eq!(error.reason, DecodeReason::StringTooLong(32_768));
    }

    #[test]
    fn arrays_fit_into_what_is_left() {
        let frame = Bytes::from_static(&[0, 0, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(Reader::new(&frame).array_length(false, 2, 8), Ok(Some(3)));
        assert_eq!(
            Reader::new(&frame)
                .array_length(false, 3, 8)
                .unwrap_err()
                .reason,
            DecodeReason::ArrayTooLong { count: 3, left: 8 }
        );
    }

    #[test]
    fn arrays_of_one_frame_share_its_budget() {
        let mut frame = Vec::new();
        for _ in 0..40 {
            frame.extend(1000_i32.to_be_bytes());
        }
        frame.resize(frame.len() + 1000, 0);
        let frame = Bytes::from(frame);
        let mut reader = Reader::new(&frame);
        let refused = (0..40)
            .map(|_| reader.array_length(false, 1, 32))
            .find_map(Result::err);
        assert_eq!(
            refused.unwrap().reason,
            DecodeReason::ArraysTooLarge { count: 1000 }
        );
    }
}
