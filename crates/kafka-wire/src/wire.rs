//! How each type of field is encoded, and what a whole message is.
//!
//! [`Wire`] is implemented for the protocol's own types in `primitives.rs`, and by `message!` for every struct.

use crate::error::{DecodeError, DecodeReason, EncodeError};
use crate::reader::Reader;
#[cfg(feature = "testing")]
use crate::testing::Entropy;
use crate::writer::Writer;

/// The versions of a message, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest.
    pub min: i16,
    /// The newest.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` is one of them.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Each version, the oldest first.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.min..=self.max
    }
}

/// A request, a response or another struct that is encoded on its own, at a version of its own.
pub trait Message: Wire + Default {
    /// Its name in Kafka's definitions.
    const NAME: &'static str;
    /// The versions this codec reads and writes.
    const VERSIONS: VersionRange;
    /// The first version with compact lengths and tagged fields (KIP-482); `i16::MAX` if there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads the message. Fields that `version` does not carry have their defaults. Bytes after the message are left
    /// unread, and are no error: Kafka's brokers ignore them too.
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(DecodeError::in_message(
                Self::NAME,
                DecodeReason::UnsupportedVersion(version),
            ));
        }
        Self::read(reader, At::new::<Self>(version)).map_err(|error| error.within(Self::NAME, "-"))
    }

    /// Writes the message. Fields that `version` does not carry are left out. A `None` that `version` cannot express
    /// is written as an empty value: so do Kafka's brokers, where old versions make them (the protocol name of a
    /// `JoinGroup` response before version 7).
    fn encode(&self, writer: &mut Writer, version: i16) {
        if Self::VERSIONS.contains(version) {
            self.write(writer, At::new::<Self>(version));
        } else {
            writer.fail(EncodeError::UnsupportedVersion {
                message: Self::NAME,
                version,
            });
        }
    }
}

/// What a field's encoding depends on beside its type.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The message's version.
    pub version: i16,
    /// Whether that version is flexible: compact lengths, tagged fields.
    pub flexible: bool,
    /// Whether the field may be null in this version, if its type can be at all.
    pub nullable: bool,
}

impl At {
    /// The encoding of message `M` at `version`.
    pub fn new<M: Message>(version: i16) -> Self {
        Self {
            version,
            flexible: version >= M::FLEXIBLE_FROM,
            nullable: false,
        }
    }

    /// Whether the version is from `from` to `to`, both included.
    #[inline]
    pub fn is_within(self, from: i16, to: i16) -> bool {
        from <= self.version && self.version <= to
    }

    /// The same for a field that may be null, or may not.
    #[inline]
    #[must_use]
    pub fn nullable(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }
}

/// A type of field.
pub trait Wire: Sized + PartialEq {
    /// The value of a field that is not on the wire and whose table gives no other: zero, empty, never null.
    fn initial() -> Self;

    /// The fewest bytes a value takes, with which an array's length is checked before anything is reserved.
    fn bytes_min(at: At) -> usize;

    /// Reads a value.
    fn read(reader: &mut Reader<'_>, at: At) -> Result<Self, DecodeError>;

    /// Writes the value.
    fn write(&self, writer: &mut Writer, at: At);

    /// A value that can be encoded at `at` and decodes to the same.
    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, at: At) -> Self;
}

/// A type of field that can be null.
pub trait Nullable: Wire {
    /// Reads a value or a null.
    fn read_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError>;

    /// Writes a value where a null could have been.
    fn write_some(&self, writer: &mut Writer, at: At);

    /// Writes a null.
    fn write_null(writer: &mut Writer, at: At);
}

impl<T: Nullable> Wire for Option<T> {
    fn initial() -> Self {
        Some(T::initial())
    }

    fn bytes_min(at: At) -> usize {
        // A null is never longer than the shortest value, and one byte for a struct.
        T::bytes_min(at).min(if at.flexible { 1 } else { 2 })
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, at: At) -> Result<Self, DecodeError> {
        if at.nullable {
            T::read_nullable(reader, at)
        } else {
            T::read(reader, at).map(Some)
        }
    }

    #[inline]
    fn write(&self, writer: &mut Writer, at: At) {
        match self {
            Some(value) if at.nullable => value.write_some(writer, at),
            Some(value) => value.write(writer, at),
            None if at.nullable => T::write_null(writer, at),
            None => T::initial().write(writer, at),
        }
    }

    #[cfg(feature = "testing")]
    fn generate(entropy: &mut Entropy<'_>, at: At) -> Self {
        (!at.nullable || entropy.coin()).then(|| T::generate(entropy, at))
    }
}
