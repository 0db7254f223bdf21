//! Kafka record batches: the one format in which Millstream carries and stores records.
//!
//! A record batch (`RecordBatch` v2, KIP-98) is a fixed header and a block of records that may be compressed. Every
//! protocol meets here: what an AMQP publish, an SQS send and a Kafka produce leave behind are the same bytes.
//!
//! Most of the server needs only the header, and [`BatchHeader::parse`] reads it without touching the records.
//! Start with [`header`], then [`batch`] for walking concatenated batches, [`validate`] for what a broker checks
//! before it accepts one, [`records`] for decoding, and [`builder`] and [`rewrite`] for making new ones.
//!
//! This crate does no I/O, asks no clock and knows no topics: policy comes in as arguments, batches go out as
//! [`bytes::Bytes`] that share the memory they arrived in wherever nothing had to change.

#![forbid(unsafe_code)]

pub mod batch;
pub mod builder;
mod compression;
pub mod error;
pub mod header;
mod ids;
pub mod partitioner;
pub mod record;
pub mod records;
pub mod rewrite;
mod search;
#[cfg(feature = "testing")]
pub mod testing;
pub mod validate;
mod varint;

pub use batch::{Batch, Batches};
pub use builder::{BatchBuilder, NewRecord};
pub use compression::Compression;
pub use error::{BatchError, ErrorKind};
pub use header::{BatchHeader, Codec, TimestampType};
pub use ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
pub use record::{Header, Headers, Record};
pub use records::Records;
pub use rewrite::{RewriteOptions, Rewritten, emptied, recompress, rewrite};
pub use validate::{ProducePolicy, TimestampBounds, validate_produced};
