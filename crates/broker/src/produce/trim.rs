//! Taking entries of the key index away whose records are gone, in pieces.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use millstream_limits::{KEY_ENTRIES_DROPPED_AT_ONCE, KEY_INDEX_TRIM_INTERVAL_MS};
use millstream_record::Offset;
use millstream_store::{Commit, CommitError, Durability, PartitionId, Require, Slot};
use parking_lot::Mutex;

use super::key_index::{Entry, prefix};
use crate::blocking::now_and_then;
use crate::broker::Inner;
use crate::error::BrokerError;
use crate::keys;

/// Up to where each partition's entries have been trimmed since the start.
#[derive(Debug, Default)]
pub(crate) struct KeyIndexTrim(Mutex<HashMap<PartitionId, Offset>>);

/// Trims the key indexes now and then, for as long as the broker is there.
pub(crate) async fn keep_key_indexes(broker: Weak<Inner>) {
    let mut interval = now_and_then(KEY_INDEX_TRIM_INTERVAL_MS);
    loop {
        interval.tick().await;
        let Some(inner) = broker.upgrade() else {
            return;
        };
        let slot = inner.slot.clone();
        let trimmed = inner
            .blocking
            .run({
                let inner = Arc::clone(&inner);
                move || trim(&slot, &inner.key_index_trim)
            })
            .await;
        match trimmed {
            Err(BrokerError::Failed(_) | BrokerError::ShuttingDown) => return,
            Err(error) => {
                tracing::warn!(%error, "key indexes were not trimmed; trying again later");
            }
            Ok(()) => {}
        }
    }
}

/// Drops the entries of partitions that are gone, and those before a log start that has moved. Blocks.
pub(super) fn trim(slot: &Slot, known: &KeyIndexTrim) -> Result<(), BrokerError> {
    let mut from = BytesMut::from(&[keys::KEY_INDEX][..]);
    // From the first entry of one partition to that of the next.
    while let Some(entry) = slot.state().scan_from(&[keys::KEY_INDEX], &from)?.next() {
        let (key, _) = entry?;
        let Some(number) = key.get(1..5).and_then(|bytes| bytes.first_chunk()) else {
            return Ok(());
        };
        let id = PartitionId(u32::from_be_bytes(*number));
        trim_partition(slot, id, known)?;
        let Some(next) = id.0.checked_add(1) else {
            return Ok(());
        };
        from = prefix(PartitionId(next));
    }
    Ok(())
}

fn trim_partition(slot: &Slot, id: PartitionId, known: &KeyIndexTrim) -> Result<(), BrokerError> {
    let partition = slot.partition(id);
    let log_start = partition.as_ref().map(|log| log.offsets().log_start);
    if log_start.is_some() && known.0.lock().get(&id).copied() == log_start {
        return Ok(());
    }
    let is_gone = |offset: Offset| log_start.is_none_or(|log_start| offset < log_start);
    let mut piece = Vec::new();
    for entry in slot.state().scan(&prefix(id))? {
        let (key, value) = entry?;
        match Entry::read(&key, &value) {
            // A record may come to the key at any time: its entry goes only if it still says nothing.
            Some(Entry::Last(offset)) if is_gone(offset) && partition.is_some() => {
                drop_last(slot, id, key)?;
            }
            Some(Entry::Last(offset) | Entry::Each(offset)) if is_gone(offset) => piece.push(key),
            None if partition.is_none() => piece.push(key),
            Some(_) | None => {}
        }
        if piece.len() >= KEY_ENTRIES_DROPPED_AT_ONCE {
            drop_piece(slot, std::mem::take(&mut piece))?;
        }
    }
    drop_piece(slot, piece)?;
    match log_start {
        Some(log_start) => known.0.lock().insert(id, log_start),
        None => known.0.lock().remove(&id),
    };
    Ok(())
}

/// Drops some entries of the state table.
pub(super) fn drop_piece(slot: &Slot, deletes: Vec<Bytes>) -> Result<(), BrokerError> {
    if !deletes.is_empty() {
        // What a crash brings back is dropped again.
        drop(slot.commit(Commit {
            deletes,
            promise: Some(Durability::Os),
            ..Commit::default()
        })?);
    }
    Ok(())
}

fn drop_last(slot: &Slot, partition: PartitionId, key: Bytes) -> Result<(), BrokerError> {
    let dropped = slot.commit(Commit {
        requires: vec![Require {
            partition,
            key: key.clone(),
            expected: None,
            number: 0,
        }],
        deletes: vec![key],
        promise: Some(Durability::Os),
        ..Commit::default()
    });
    match dropped {
        // It has a record again, or the partition is gone: the next time will do.
        Ok(_) | Err(CommitError::PositionMismatch { .. } | CommitError::UnknownPartition(_)) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use millstream_env::Env;
    use millstream_record::{BatchBuilder, Codec, NewRecord, TimestampMs};
    use millstream_store::{
        Append, Drive, Durability, Overflow, PartitionOpen, PartitionPolicy, SlotSettings, Trim,
    };

    use super::super::key_index::mark;
    use super::*;

    fn commit(slot: &Slot, commit: Commit) {
        drop(slot.commit(commit).unwrap());
        while slot.step_journal() {}
    }

    fn entries(slot: &Slot) -> usize {
        slot.state().scan(&[keys::KEY_INDEX]).unwrap().count()
    }

    fn open() -> (tempfile::TempDir, Slot) {
        let directory = tempfile::tempdir().unwrap();
        let settings = SlotSettings {
            drive: Drive::Manual,
            ..SlotSettings::new(directory.path())
        };
        let slot = Slot::open(settings, Env::real()).unwrap();
        (directory, slot)
    }

    /// Appends a batch with a record of each key to each partition.
    fn append(slot: &Slot, partitions: &[PartitionId], keys: &[&[u8]]) {
        let mut builder = BatchBuilder::new(Codec::None);
        for key in keys {
            builder.append(&NewRecord {
                timestamp: TimestampMs(1),
                key: Some(key),
                value: None,
                headers: &[],
            });
        }
        let batch = builder.build().unwrap();
        let mut append = Append::new(partitions.iter().copied(), batch.bytes, batch.header);
        mark(&mut append, |_| true).unwrap();
        commit(slot, Commit::append(append));
    }

    #[test]
    fn entries_go_with_what_is_dropped_to_make_room() {
        let (_directory, slot) = open();
        let id = slot.next_partition_id();
        let policy = PartitionPolicy {
            memory_bytes: 1_000,
            overflow: Overflow::DropOldest,
            ..PartitionPolicy::default()
        };
        let opened = PartitionOpen {
            id,
            durability: Durability::Memory,
            policy,
        };
        commit(
            &slot,
            Commit {
                opens: vec![opened],
                ..Commit::default()
            },
        );
        for n in 0..50u8 {
            append(&slot, &[id], &[&[n]]);
        }
        let offsets = slot.partition(id).unwrap().offsets();
        let left = (offsets.high_watermark - offsets.log_start) as usize;
        assert!(0 < left && left < 50);
        assert_eq!(entries(&slot), 2 * 50);
        trim(&slot, &KeyIndexTrim::default()).unwrap();
        assert_eq!(entries(&slot), 2 * left);
    }

    #[test]
    fn entries_go_with_their_records_and_their_partition() {
        let (_directory, slot) = open();
        let ids = [slot.next_partition_id(), slot.next_partition_id()];
        let opened = |id| PartitionOpen {
            id,
            durability: Durability::Fsync,
            policy: PartitionPolicy::default(),
        };
        commit(
            &slot,
            Commit {
                opens: ids.map(opened).to_vec(),
                ..Commit::default()
            },
        );
        // Two records of one key, and one of each of three others.
        append(&slot, &ids, &[b"a", b"a", b"b", b"c", b"d"]);
        assert_eq!(entries(&slot), 2 * (5 + 4));

        let known = KeyIndexTrim::default();
        trim(&slot, &known).unwrap();
        assert_eq!(entries(&slot), 18, "nothing is gone yet");
        commit(
            &slot,
            Commit {
                trims: vec![Trim {
                    partition: ids[0],
                    log_start: Offset(3),
                }],
                ..Commit::default()
            },
        );
        trim(&slot, &known).unwrap();
        assert_eq!(entries(&slot), 2 + 2 + 9);
        commit(
            &slot,
            Commit {
                drops: vec![ids[1]],
                ..Commit::default()
            },
        );
        trim(&slot, &known).unwrap();
        assert_eq!(entries(&slot), 4);
    }
}
