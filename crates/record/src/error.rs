//! Everything that can be wrong with a batch, and what that means to the one who sent it.

use thiserror::Error;

use crate::ids::TimestampMs;

/// What is wrong with a batch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the batch does. At the end of a fetch answer this is normal.
    #[error("batch is cut off: it needs {needed_bytes} bytes and {available_bytes} are there")]
    Truncated {
        /// Bytes the batch needs, as far as is known.
        needed_bytes: usize,
        /// Bytes there are.
        available_bytes: usize,
    },
    /// The length field is negative or too small to hold a header.
    #[error("batch states a length of {0} bytes, less than its header takes")]
    LengthTooSmall(i32),
    /// The batch is larger than the receiver takes.
    #[error("batch of {size_bytes} bytes is larger than the {max_bytes} allowed")]
    TooLarge {
        /// The batch's size.
        size_bytes: usize,
        /// The most that is allowed.
        max_bytes: usize,
    },
    /// A message format before `RecordBatch` v2 (magic 0 or 1), which Kafka 4.0 dropped too (KIP-724).
    #[error(
        "message format v{0} is no longer supported; use a client that writes format v2 (Kafka 0.11 or later)"
    )]
    OldFormat(i8),
    /// No message format has this magic byte, so these bytes are probably not a batch.
    #[error("unknown message format v{0}")]
    UnknownFormat(i8),
    /// The checksum does not match the content.
    #[error("batch checksum is {computed:#010x}, its header says {stored:#010x}")]
    Checksum {
        /// What the header says.
        stored: u32,
        /// What the content gives.
        computed: u32,
    },
    /// The compression bits name no codec.
    #[error("unknown compression codec {0}")]
    UnknownCodec(u8),
    /// A header field has a value it can never have.
    #[error("batch header has the impossible {field} {value}")]
    BadField {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The record count does not fit the range of offsets.
    #[error("batch counts {count} records over {offsets} offsets")]
    CountMismatch {
        /// Records, as the header counts them.
        count: i32,
        /// Offsets from the first to the last.
        offsets: i64,
    },
    /// A client wrote a control batch; only the broker may.
    #[error("clients may not write control batches")]
    ControlBatch,
    /// There is no batch where there has to be one.
    #[error("no record batch where one is needed")]
    NoBatch,
    /// There is more than one batch, or something after it, where there has to be exactly one.
    #[error("{0} bytes follow the one record batch that is allowed here")]
    MoreThanOne(usize),
    /// A record's fields contradict each other or run past its end.
    #[error("record {index} is malformed: {reason}")]
    BadRecord {
        /// The record's place in the batch, from 0.
        index: i32,
        /// What is wrong.
        reason: &'static str,
    },
    /// A record is larger than any topic takes.
    #[error(
        "record {index} takes {size_bytes} bytes, and no record may take more than {max_bytes}: split it, or keep what it \
         carries elsewhere and send where that is"
    )]
    RecordTooLarge {
        /// The record's place in the batch, from 0.
        index: i32,
        /// What it takes, decompressed.
        size_bytes: usize,
        /// The most that is allowed for key, value and headers, encoded.
        max_bytes: usize,
    },
    /// The records cannot be decompressed.
    #[error("{codec} data cannot be decompressed: {reason}")]
    Decompression {
        /// The codec's name.
        codec: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The records grow beyond the bound when decompressed.
    #[error("batch grows beyond {max_bytes} bytes when decompressed")]
    Bomb {
        /// The bound.
        max_bytes: usize,
    },
    /// A record without a key on a topic that is compacted by key.
    #[error("record {index} has no key, which a compacted topic needs")]
    MissingKey {
        /// The record's place in the batch, from 0.
        index: i32,
    },
    /// A timestamp outside what the topic takes.
    #[error("timestamp {timestamp} is outside [{earliest}, {latest}]")]
    TimestampOutOfRange {
        /// The record's place in the batch, from 0, where known: the header alone already tells that one is.
        index: Option<i32>,
        /// The timestamp.
        timestamp: TimestampMs,
        /// The earliest that is taken.
        earliest: TimestampMs,
        /// The latest that is taken.
        latest: TimestampMs,
    },
    /// A client set the timestamp type that only the broker sets.
    #[error("clients may not set the timestamp type to LogAppendTime")]
    ClientLogAppendTime,
}

/// The answer a batch's sender deserves, in Kafka's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// `CORRUPT_MESSAGE`: damaged on the way; sending it again may help.
    Corrupt,
    /// `INVALID_RECORD`: the sender made it so; sending it again cannot help.
    Invalid,
    /// `MESSAGE_TOO_LARGE`: the sender may split it.
    TooLarge,
    /// `UNSUPPORTED_COMPRESSION_TYPE`.
    UnsupportedCompression,
    /// `INVALID_TIMESTAMP`.
    InvalidTimestamp,
}

impl BatchError {
    /// Which answer fits this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LengthTooSmall(_) | Self::UnknownFormat(_) | Self::Checksum { .. } => {
                ErrorKind::Corrupt
            }
            Self::TooLarge { .. } | Self::RecordTooLarge { .. } => ErrorKind::TooLarge,
            Self::UnknownCodec(_) => ErrorKind::UnsupportedCompression,
            Self::TimestampOutOfRange { .. } | Self::ClientLogAppendTime => {
                ErrorKind::InvalidTimestamp
            }
            Self::Truncated { .. }
            | Self::OldFormat(_)
            | Self::BadField { .. }
            | Self::CountMismatch { .. }
            | Self::ControlBatch
            | Self::NoBatch
            | Self::MoreThanOne(_)
            | Self::BadRecord { .. }
            | Self::Decompression { .. }
            | Self::Bomb { .. }
            | Self::MissingKey { .. } => ErrorKind::Invalid,
        }
    }

    /// The record at fault, counted from 0, where one is.
    pub fn record_index(&self) -> Option<i32> {
        match *self {
            Self::BadRecord { index, .. }
            | Self::RecordTooLarge { index, .. }
            | Self::MissingKey { index } => Some(index),
            Self::TimestampOutOfRange { index, .. } => index,
            _ => None,
        }
    }
}
