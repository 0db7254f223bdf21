//! What is remembered of publishes that carry an idempotency key.
//!
//! ```text
//! 08 | bucket u32 | topic id | key length u16 | key | batch u32
//! ```
//!
//! One entry for each batch of the publish. All end with the offset of the batch's first record, which the commit that
//! appends the batch writes there ([`millstream_store::Mark`]): it is remembered if and only if it is published. The entry
//! of batch 0 says the rest:
//!
//! ```text
//! u8    format, 1
//! i64   when it was published, milliseconds since 1970
//! u128  fingerprint of the request
//! u64   the life of the broker that it holds for, 0 if for all
//! u32   how many batches, for each: u32 the partition
//! u32   how many records, for each: u32 the batch, i64 the timestamp
//! i64   offset
//! ```
//!
//! The others are `u8 format = 1 | i64 offset`.
//!
//! A bucket is a stretch of time as long as the window. A key that was used within the window is in the bucket of now or in
//! the one before, and whole buckets are dropped when they are older; `buckets` says what else there is when
//! clocks err. What is published to a memory topic is gone with the life of the broker, and what is remembered of it is
//! void then.

use std::hash::Hasher;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_catalog::TopicId;
use millstream_limits::{IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_WINDOW_MS};
use millstream_record::{Offset, TimestampMs};
use millstream_store::{Behind, Mark, State};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::publish::Published;
use crate::error::BrokerError;
use crate::fields::{Fields, RecordError};
use crate::keys;

const FORMAT: u8 = 1;

/// What tells a publish that is sent again from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub(super) key: Bytes,
    pub(super) fingerprint: u128,
}

impl IdempotencyKey {
    /// The key, with all that the request says: the same key with something else is a mistake of the sender's.
    pub fn new<'a>(
        key: Bytes,
        request: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, BrokerError> {
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(BrokerError::IdempotencyKeyLength(key.len()));
        }
        Ok(Self {
            key,
            fingerprint: fingerprint(request),
        })
    }
}

/// Fingerprints are written down: this must never change.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(&(part.len() as u64).to_be_bytes());
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

/// A stretch of time as long as the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket(pub(super) u32);

impl Bucket {
    pub(super) fn of(now: TimestampMs) -> Self {
        let number = now.get().max(0) / IDEMPOTENCY_WINDOW_MS;
        Self(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// The bucket of an entry.
    pub(super) fn of_entry(key: &[u8]) -> Option<Self> {
        let number = key.get(1..5)?.first_chunk()?;
        Some(Self(u32::from_be_bytes(*number)))
    }

    /// What the keys of its entries start with.
    pub(super) fn prefix(self) -> BytesMut {
        let mut key = BytesMut::with_capacity(64);
        key.put_u8(keys::IDEMPOTENCY);
        key.put_u32(self.0);
        key
    }
}

/// A publish that is to be remembered.
#[derive(Debug, Clone)]
pub(super) struct Remember {
    pub(super) topic: TopicId,
    pub(super) key: IdempotencyKey,
    pub(super) bucket: Bucket,
    pub(super) now: TimestampMs,
    /// For memory topics.
    pub(super) life: u64,
}

/// Where one of the records goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) batch: u32,
    pub(super) timestamp: TimestampMs,
}

impl Remember {
    /// What the batches of the publish, in those partitions, have to set. Records are in their batches in the order of
    /// `places`.
    pub(super) fn marks(&self, partitions: &[u32], places: &[BatchPlace]) -> Vec<Mark> {
        let mut first = BytesMut::with_capacity(64 + 4 * partitions.len() + 12 * places.len());
        first.put_u8(FORMAT);
        first.put_i64(self.now.get());
        first.put_u128(self.key.fingerprint);
        first.put_u64(self.life);
        first.put_u32(partitions.len() as u32);
        for partition in partitions {
            first.put_u32(*partition);
        }
        first.put_u32(places.len() as u32);
        for place in places {
            first.put_u32(place.batch);
            first.put_i64(place.timestamp.get());
        }
        let values = std::iter::once(first.freeze());
        let values = values.chain(std::iter::repeat(Bytes::from_static(&[FORMAT])));
        let mark = |(batch, value): (usize, Bytes)| Mark {
            delta: 0,
            target: 0,
            key: self.entry(self.bucket, batch as u32),
            value,
            behind: Behind::Value,
        };
        (0..partitions.len()).zip(values).map(mark).collect()
    }

    /// The key of the entry of one of its batches.
    fn entry(&self, bucket: Bucket, batch: u32) -> Bytes {
        let key = &self.key.key;
        let mut entry = bucket.prefix();
        entry.put_slice(self.topic.0.as_bytes());
        entry.put_u16(key.len() as u16);
        entry.put_slice(key);
        entry.put_u32(batch);
        entry.freeze()
    }

    /// Where the records of the same publish went, if it has been made within the window. It may also be in the `far`
    /// buckets. Reads the disk.
    pub(super) fn look_up(
        &self,
        state: &State,
        far: &[Bucket],
    ) -> Result<Option<Vec<Published>>, BrokerError> {
        let before = self.bucket.0.checked_sub(1).map(Bucket);
        let near = [Some(self.bucket), before].into_iter().flatten();
        for bucket in near.chain(far.iter().copied()) {
            let Some(value) = state.get(&self.entry(bucket, 0))? else {
                continue;
            };
            let known = Known::read(&value).map_err(damaged)?;
            if !known.holds(self.now, self.life) {
                continue;
            }
            if known.fingerprint != self.key.fingerprint {
                return Err(BrokerError::IdempotencyKeyReused);
            }
            let mut offsets = vec![offset_of(&value).map_err(damaged)?];
            for batch in 1..known.partitions.len() as u32 {
                let value = state.get(&self.entry(bucket, batch))?;
                let value = value.ok_or(RecordError::Damaged("a batch is missing"));
                offsets.push(value.and_then(|value| offset_of(&value)).map_err(damaged)?);
            }
            return Ok(Some(known.published(&offsets).map_err(damaged)?));
        }
        Ok(None)
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is what map_err hands over"
)]
fn damaged(error: RecordError) -> BrokerError {
    BrokerError::Damaged(format!("what is remembered of a publish: {error}").into())
}

fn offset_of(value: &[u8]) -> Result<Offset, RecordError> {
    let offset = value.last_chunk().map(|end| i64::from_be_bytes(*end));
    offset
        .map(Offset)
        .filter(|offset| *offset >= Offset::ZERO)
        .ok_or(RecordError::Damaged("an offset is missing"))
}

/// A publish that was remembered.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    at: TimestampMs,
    fingerprint: u128,
    life: u64,
    partitions: Vec<u32>,
    places: Vec<BatchPlace>,
}

impl Known {
    fn read(value: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields::of_value(value, FORMAT)?;
        let known = Self {
            at: fields.timestamp()?,
            fingerprint: fields.u128()?,
            life: fields.u64()?,
            partitions: fields.several(Fields::u32)?,
            places: fields.several(|fields| {
                Ok(BatchPlace {
                    batch: fields.u32()?,
                    timestamp: fields.timestamp()?,
                })
            })?,
        };
        fields.offset()?;
        fields.end()?;
        Ok(known)
    }

    /// Whether it still counts.
    fn holds(&self, now: TimestampMs, life: u64) -> bool {
        let age_ms = now.get().saturating_sub(self.at.get());
        age_ms < IDEMPOTENCY_WINDOW_MS && (self.life == 0 || self.life == life)
    }

    /// Where its records went, told by the batches' first offsets.
    fn published(&self, offsets: &[Offset]) -> Result<Vec<Published>, RecordError> {
        let mut next = offsets.to_vec();
        let place = |place: &BatchPlace| {
            let batch = place.batch as usize;
            let (Some(partition), Some(offset)) = (self.partitions.get(batch), next.get_mut(batch))
            else {
                return Err(RecordError::Damaged("a batch that is not there"));
            };
            let published = Published {
                partition: *partition,
                offset: *offset,
                timestamp: place.timestamp,
            };
            *offset = offset.next();
            Ok(published)
        };
        self.places.iter().map(place).collect()
    }
}

#[cfg(test)]
#[path = "idempotency_tests.rs"]
mod tests;
