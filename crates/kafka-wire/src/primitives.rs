//! The encodings of the protocol's own types: numbers, strings, byte strings, records and arrays.

use bytes::Bytes;
use uuid::Uuid;

use crate::Str;
use crate::error::{DecodeError, DecodeReason};
use crate::reader::Reader;
use crate::records::Records;
#[cfg(feature = "testing")]
use crate::testing::Entropy;
use crate::wire::{At, Nullable, Wire};
use crate::writer::Writer;

/// Fixed-size numbers, big-endian.
macro_rules! wire_number {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn initial() -> Self {
                0
            }

            fn bytes_min(_: At) -> usize {
                size_of::<Self>()
            }

            #[inline]
            fn read(reader: &mut Reader<'_>, _: At) -> Result<Self, DecodeError> {
                reader.chunk().map(Self::from_be_bytes)
            }

            #[inline]
            fn write(&self, writer: &mut Writer, _: At) {
                writer.put(&self.to_be_bytes());
            }

            #[cfg(feature = "testing")]
            fn generate(entropy: &mut Entropy<'_>, _: At) -> Self {
                Self::from_be_bytes(entropy.chunk())
            }
        }
    )*};
}

wire_number!(i8, i16, i32, i64);

impl Wire for bool {
    fn initial() -> Self {
        false
    }

    fn bytes_min(_: At) -> usize {
        1
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, _: At) -> Result<Self, DecodeError> {
        let [byte] = reader.chunk()?;
        Ok(byte != 0)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, _: At) {
        writer.put(&[u8::from(*self)]);
    }

    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, _: At) -> Self {
        entropy.coin()
    }
}

impl Wire for Uuid {
    fn initial() -> Self {
        Self::nil()
    }

    fn bytes_min(_: At) -> usize {
        16
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, _: At) -> Result<Self, DecodeError> {
        reader.chunk().map(Self::from_bytes)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, _: At) {
        writer.put(self.as_bytes());
    }

    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, _: At) -> Self {
        Self::from_bytes(entropy.chunk())
    }
}

/// Reads a value that must not be null by way of one that may.
#[inline]
fn read_present<T: Nullable>(reader: &mut Reader<'_>, at: At) -> Result<T, DecodeError> {
    T::read_nullable(reader, at)?.ok_or_else(|| DecodeReason::Null.into())
}

impl Wire for Str {
    fn initial() -> Self {
        Self::new()
    }

    fn bytes_min(at: At) -> usize {
        if at.flexible { 1 } else { 2 }
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, at: At) -> Result<Self, DecodeError> {
        read_present(reader, at)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, at: At) {
        writer.put_string(self, at.flexible);
    }

    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, _: At) -> Self {
        entropy.string().into()
    }
}

impl Nullable for Str {
    #[inline]
    fn read_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        match reader.string_bytes(at.flexible)? {
            Some(bytes) => Self::try_from(bytes)
                .map(Some)
                .map_err(|_| DecodeReason::NotUtf8.into()),
            None => Ok(None),
        }
    }

    #[inline]
    fn write_some(&self, writer: &mut Writer, at: At) {
        self.write(writer, at);
    }

    fn write_null(writer: &mut Writer, at: At) {
        writer.put(if at.flexible { &[0] } else { &[0xff, 0xff] });
    }
}

/// The null of a type whose length has 32 bits where it is not compact.
fn write_null_length(writer: &mut Writer, at: At) {
    writer.put(if at.flexible { &[0] } else { &[0xff; 4] });
}

/// The fewest bytes of a type whose length has 32 bits where it is not compact.
fn length_bytes_min(at: At) -> usize {
    if at.flexible { 1 } else { 4 }
}

impl Wire for Bytes {
    fn initial() -> Self {
        Self::new()
    }

    fn bytes_min(at: At) -> usize {
        length_bytes_min(at)
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, at: At) -> Result<Self, DecodeError> {
        read_present(reader, at)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, at: At) {
        writer.put_length(self.len(), at.flexible);
        writer.put_payload(self);
    }

    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, _: At) -> Self {
        entropy.bytes()
    }
}

impl Nullable for Bytes {
    #[inline]
    fn read_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        reader.bytes(at.flexible)
    }

    #[inline]
    fn write_some(&self, writer: &mut Writer, at: At) {
        self.write(writer, at);
    }

    fn write_null(writer: &mut Writer, at: At) {
        write_null_length(writer, at);
    }
}

impl Wire for Records {
    fn initial() -> Self {
        Self::new()
    }

    fn bytes_min(at: At) -> usize {
        length_bytes_min(at)
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, at: At) -> Result<Self, DecodeError> {
        read_present(reader, at)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, at: At) {
        writer.put_length(self.len(), at.flexible);
        for segment in self.segments() {
            writer.put_payload(segment);
        }
    }

    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, _: At) -> Self {
        (0..entropy.count()).map(|_| entropy.bytes()).collect()
    }
}

impl Nullable for Records {
    #[inline]
    fn read_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        Ok(reader.bytes(at.flexible)?.map(Self::from))
    }

    #[inline]
    fn write_some(&self, writer: &mut Writer, at: At) {
        self.write(writer, at);
    }

    fn write_null(writer: &mut Writer, at: At) {
        write_null_length(writer, at);
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn initial() -> Self {
        Self::new()
    }

    fn bytes_min(at: At) -> usize {
        length_bytes_min(at)
    }

    fn read(reader: &mut Reader<'_>, at: At) -> Result<Self, DecodeError> {
        read_present(reader, at)
    }

    fn write(&self, writer: &mut Writer, at: At) {
        writer.put_length(self.len(), at.flexible);
        for element in self {
            element.write(writer, at);
        }
    }

    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, at: At) -> Self {
        (0..entropy.count())
            .map(|_| T::generate(entropy, at))
            .collect()
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        let Some(count) = reader.array_length(at.flexible, T::bytes_min(at), size_of::<T>())?
        else {
            return Ok(None);
        };
        let mut elements = Self::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(reader, at)?);
        }
        Ok(Some(elements))
    }

    fn write_some(&self, writer: &mut Writer, at: At) {
        self.write(writer, at);
    }

    fn write_null(writer: &mut Writer, at: At) {
        write_null_length(writer, at);
    }
}
