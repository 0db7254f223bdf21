//! Why a frame cannot be decoded, or a message cannot be encoded.

use thiserror::Error;

/// A frame that is not the message it says it is. The connection it came from is out of step and must be closed;
/// sending the same bytes again cannot help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}.{field}: {reason}")]
pub struct DecodeError {
    /// The innermost struct that was being read, by its name in Kafka's definitions.
    pub message: &'static str,
    /// The field of it, or `-` when the fault is not in one field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: DecodeReason,
}

/// What is wrong with the bytes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeReason {
    /// The frame ends before the field does.
    #[error("needs {needed} bytes, {left} are left")]
    Truncated {
        /// Bytes that the field needs at least.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A null where this version does not allow one.
    #[error("is null, which this version does not allow")]
    Null,
    /// A length below -1.
    #[error("has the length {0}")]
    NegativeLength(i32),
    /// An array whose elements cannot fit into the bytes that are left.
    #[error("has {count} elements, for which the {left} bytes left are too few")]
    ArrayTooLong {
        /// Elements the array says it has.
        count: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// Arrays that would take more memory than a frame of this length justifies.
    #[error("has {count} elements, more than a frame of this length may have")]
    ArraysTooLarge {
        /// Elements of the array that went over the limit.
        count: usize,
    },
    /// A string longer than Kafka's limit.
    #[error("is a string of {0} bytes, over the limit of 32767")]
    StringTooLong(usize),
    /// A string that is not UTF-8.
    #[error("is not valid UTF-8")]
    NotUtf8,
    /// A variable-length integer that does not fit into 32 bits.
    #[error("is a variable-length integer over 32 bits")]
    VarintTooLong,
    /// A tagged field with bytes after its value.
    #[error("has {0} bytes after its value")]
    TaggedFieldTooLong(usize),
    /// A version that this codec does not know.
    #[error("version {0} is not supported")]
    UnsupportedVersion(i16),
    /// An API that this codec does not know.
    #[error("API key {0} is not supported")]
    UnsupportedApi(i16),
}

impl DecodeError {
    /// An error in `message` as a whole.
    pub(crate) fn in_message(message: &'static str, reason: DecodeReason) -> Self {
        Self {
            message,
            field: "-",
            reason,
        }
    }

    /// Names the place, unless an inner struct has already done so.
    #[cold]
    pub(crate) fn within(mut self, message: &'static str, field: &'static str) -> Self {
        if self.message.is_empty() {
            self.message = message;
            self.field = field;
        }
        self
    }
}

impl From<DecodeReason> for DecodeError {
    /// An error whose place is not known yet; `within` fills it in.
    #[cold]
    fn from(reason: DecodeReason) -> Self {
        Self {
            message: "",
            field: "",
            reason,
        }
    }
}

/// A message that its version cannot carry: a mistake of the program that built it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A string longer than Kafka's limit.
    #[error("a string of {0} bytes is over the limit of 32767")]
    StringTooLong(usize),
    /// A byte string, array or frame of more than 2 GiB.
    #[error("a length of {0} does not fit into 31 bits")]
    TooLong(usize),
    /// A version that this codec does not know.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// The message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}
