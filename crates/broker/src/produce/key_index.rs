//! Where the records of each key are, for topics with `millstream.key.index`.
//!
//! ```text
//! 07 | partition u32 | 01 | key                              -> format u8 = 1 | offset i64 of the key's last record
//! 07 | partition u32 | 02 | key length u16 | key | offset i64 -> format u8 = 1
//! ```
//!
//! Both are set by the commit that appends the records, whatever brought them: they are marks of its appends
//! ([`millstream_store::Mark`]). An expected position is a requirement of the same commit, so nothing comes between the
//! check and the append. Offsets before the log start count as none; `trim.rs` takes their entries away in time.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_limits::{BATCH_DECOMPRESSED_BYTES_MAX, KEY_INDEX_KEY_BYTES_MAX, KEY_RECORDS_MAX};
use millstream_record::{Batch, Batches, Offset, Record};
use millstream_store::{Append, Behind, Mark, Partition, PartitionId, Read, Require, State};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::keys;
use crate::topics::PartitionHandle;

const LAST: u8 = 1;
const EACH: u8 = 2;
const FORMAT: u8 = 1;

/// Where a key's last record has to be for a record to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedPosition {
    /// Nowhere: the key has no records, or none any more.
    Absent,
    /// At that offset.
    At(Offset),
}

/// Where the last record of a key has to be for a record to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// Where.
    pub position: ExpectedPosition,
    /// What the sender tells the record by, if it is refused for that.
    pub number: u32,
}

impl From<ExpectedPosition> for Expectation {
    fn from(position: ExpectedPosition) -> Self {
        Self {
            position,
            number: 0,
        }
    }
}

impl ExpectedPosition {
    fn offset(self) -> Option<Offset> {
        match self {
            Self::Absent => None,
            Self::At(offset) => Some(offset),
        }
    }
}

/// Records of one key.
#[derive(Debug, Clone)]
pub struct KeyRecords {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Where to go on: what comes before it has been looked at.
    pub next: Offset,
}

/// The keys of one partition's entries.
pub(super) fn prefix(partition: PartitionId) -> BytesMut {
    let mut key = BytesMut::with_capacity(64);
    key.put_u8(keys::KEY_INDEX);
    key.put_u32(partition.0);
    key
}

fn last_key(partition: PartitionId, key: &[u8]) -> Bytes {
    let mut entry = prefix(partition);
    entry.put_u8(LAST);
    entry.put_slice(key);
    entry.freeze()
}

/// Without the offset.
fn each_key(partition: PartitionId, key: &[u8]) -> BytesMut {
    let mut entry = prefix(partition);
    entry.put_u8(EACH);
    entry.put_u16(key.len() as u16);
    entry.put_slice(key);
    entry
}

/// What an entry is about.
pub(super) enum Entry {
    /// The last record of a key is at that offset.
    Last(Offset),
    /// A record is at that offset.
    Each(Offset),
}

impl Entry {
    /// `None` for an entry that is none of these.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let offset = |bytes: &[u8]| Some(Offset(i64::from_be_bytes(*bytes.last_chunk()?)));
        match *key.get(5)? {
            LAST => Some(Self::Last(offset(value)?)),
            EACH => Some(Self::Each(offset(key)?)),
            _ => None,
        }
    }
}

/// What has to be so for a record with `key` to be published to `partition`.
pub(super) fn require(
    partition: PartitionId,
    key: &[u8],
    expected: Expectation,
) -> Result<Require, BrokerError> {
    check_key(key)?;
    Ok(Require {
        partition,
        key: last_key(partition, key),
        expected: expected.position.offset(),
        number: expected.number,
    })
}

/// Has `append` note where its records are in those of its targets that `is_indexed`.
pub(super) fn mark(
    append: &mut Append,
    is_indexed: impl Fn(PartitionId) -> bool,
) -> Result<(), BrokerError> {
    let targets = append.targets.iter().copied().enumerate();
    let indexed: Vec<_> = targets.filter(|(_, id)| is_indexed(*id)).collect();
    if indexed.is_empty() {
        return Ok(());
    }
    let batch = Batch {
        header: append.header,
        bytes: append.batch.clone(),
    };
    let mut last: HashMap<Bytes, u32> = HashMap::new();
    let format = Bytes::from_static(&[FORMAT]);
    for (delta, record) in (0..).zip(batch.records(BATCH_DECOMPRESSED_BYTES_MAX)) {
        let Some(key) = record?.key else {
            continue;
        };
        check_key(&key)?;
        for &(target, id) in &indexed {
            append.marks.push(Mark {
                delta,
                target,
                key: each_key(id, &key).freeze(),
                value: format.clone(),
                behind: Behind::Key,
            });
        }
        last.insert(key, delta);
    }
    for (key, delta) in last {
        for &(target, id) in &indexed {
            append.marks.push(Mark {
                delta,
                target,
                key: last_key(id, &key),
                value: format.clone(),
                behind: Behind::Value,
            });
        }
    }
    Ok(())
}

fn check_key(key: &[u8]) -> Result<(), BrokerError> {
    if key.len() > KEY_INDEX_KEY_BYTES_MAX {
        return Err(BrokerError::KeyTooLong {
            bytes: key.len(),
            max_bytes: KEY_INDEX_KEY_BYTES_MAX,
        });
    }
    Ok(())
}

impl Broker {
    /// Where the last record of `key` is in the partition, of those that readers see. Needs `millstream.key.index`.
    pub async fn key_position(
        &self,
        partition: &PartitionHandle,
        key: &[u8],
    ) -> Result<Option<Offset>, BrokerError> {
        let (slot, log) = self.indexed(partition)?;
        let (id, key) = (log.id(), Bytes::copy_from_slice(key));
        let look = move || {
            let offsets = log.offsets();
            let value = slot.state().get(&last_key(id, &key))?;
            let last = value.and_then(|value| Entry::read(&last_key(id, &key), &value));
            let Some(Entry::Last(last)) = last else {
                return Ok(None);
            };
            if last < offsets.last_stable {
                return Ok(Some(last).filter(|last| *last >= offsets.log_start));
            }
            // It is not durable yet: what readers see ends before it.
            let mut seen = None;
            for offset in history(slot.state(), id, &key, offsets.log_start)? {
                let offset = offset?;
                seen = Some(offset)
                    .filter(|offset| *offset < offsets.last_stable)
                    .or(seen);
            }
            Ok(seen)
        };
        self.inner.blocking.run(look).await
    }

    /// The records of `key` in the partition, in order, from the offset `from` on: at most `records_max` of them, and not
    /// more once they have `bytes_max` bytes. The rest of the log is not read. Needs `millstream.key.index`.
    pub async fn read_key(
        &self,
        partition: &PartitionHandle,
        key: &[u8],
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<KeyRecords, BrokerError> {
        let (slot, log) = self.indexed(partition)?;
        let key = Bytes::copy_from_slice(key);
        let read = move || {
            let offsets = log.offsets();
            let mut found = Vec::new();
            let (mut bytes, from) = (0, from.max(offsets.log_start));
            let mut next = offsets.last_stable.max(from);
            for offset in history(slot.state(), log.id(), &key, from)? {
                let offset = offset?;
                if offset >= offsets.last_stable {
                    break;
                }
                if found.len() >= records_max.min(KEY_RECORDS_MAX) || bytes >= bytes_max {
                    next = offset;
                    break;
                }
                // Compaction, or retention, may have taken it away.
                if let Some(record) = record_at(&log, offset, offsets.last_stable)? {
                    bytes += record.value.as_ref().map_or(0, Bytes::len) + key.len();
                    found.push(record);
                }
            }
            Ok(KeyRecords {
                records: found,
                next,
            })
        };
        self.inner.blocking.run(read).await
    }

    fn indexed(
        &self,
        partition: &PartitionHandle,
    ) -> Result<(millstream_store::Slot, std::sync::Arc<Partition>), BrokerError> {
        if partition.is_deleted() {
            return Err(BrokerError::UnknownPartition);
        }
        if !partition.topic().current().settings.values().key_index {
            return Err(BrokerError::NoKeyIndex);
        }
        Ok((
            self.inner.slot.clone(),
            std::sync::Arc::clone(&partition.log),
        ))
    }
}

/// The offsets of a key's records from `from` on, in order.
fn history(
    state: &State,
    partition: PartitionId,
    key: &[u8],
    from: Offset,
) -> Result<impl Iterator<Item = Result<Offset, BrokerError>>, BrokerError> {
    let prefix = each_key(partition, key).freeze();
    let mut start = BytesMut::from(&prefix[..]);
    start.put_i64(from.0);
    let entries = state.scan_from(&prefix, &start)?;
    Ok(entries.filter_map(|entry| match entry {
        Ok((key, value)) => match Entry::read(&key, &value) {
            Some(Entry::Each(offset)) => Some(Ok(offset)),
            _ => None,
        },
        Err(error) => Some(Err(error.into())),
    }))
}

/// The record at `offset`, if it is still there. Blocks.
fn record_at(
    log: &Arc<Partition>,
    offset: Offset,
    upto: Offset,
) -> Result<Option<Record>, BrokerError> {
    let read = match log.read(offset, 1, upto) {
        Ok(Read::Disk(read)) => read.run(),
        Ok(Read::Memory(slices)) => Ok(slices),
        Err(error) => Err(error),
    };
    let slices = match read {
        Ok(slices) => slices,
        // The log start has moved on.
        Err(millstream_store::ReadError::OutOfRange { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let batches = slices.into_iter().flat_map(Batches::new);
    for batch in batches {
        let batch = batch?;
        if batch.header.last_offset() < offset {
            continue;
        }
        let mut records = batch.records(BATCH_DECOMPRESSED_BYTES_MAX);
        let found = records.find(|record| {
            record
                .as_ref()
                .map_or(true, |record| record.offset >= offset)
        });
        let found = found.transpose()?.filter(|record| record.offset == offset);
        return Ok(found);
    }
    Ok(None)
}
