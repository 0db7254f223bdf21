//! How the catalogue is written down: one state entry a topic.
//!
//! ```text
//! key    u8 1, which marks the catalogue's entries, and the 16 bytes of the topic id
//! value  u8 format, 1
//!        u8 what follows: 1 a topic, 2 the tombstone of a deleted one
//!        i64 created or deleted, milliseconds since 1970
//!        u16 length and the name in UTF-8
//!        and for a topic
//!        u16 number of settings that were set, for each: u16 length and key, u32 length and value
//!        u32 number of partitions, for each: u32 where it lives in the slot
//! ```
//!
//! All big-endian. A newer format is refused, never guessed at.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_record::TimestampMs;
use millstream_store::PartitionId;
use thiserror::Error;
use uuid::Uuid;

use crate::name::TopicName;
use crate::settings::{SettingError, TopicSettings};
use crate::topic::{Topic, TopicId};

/// What every key of the catalogue starts with.
pub const KEY_PREFIX: &[u8] = &[0x01];

const FORMAT: u8 = 1;
const TOPIC: u8 = 1;
const TOMBSTONE: u8 = 2;

/// What one entry says.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// There is such a topic.
    Topic(Topic),
    /// There was one, and it was deleted.
    Tombstone {
        /// Its id.
        id: TopicId,
        /// Its name at the time.
        name: TopicName,
        /// When it was deleted.
        deleted_ms: TimestampMs,
    },
}

/// Why an entry cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    /// It was written by a newer server.
    #[error("catalogue entry has format {0}, which a newer server wrote; start that one")]
    Newer(u8),
    /// It does not hold together.
    #[error("catalogue entry is damaged: {0}")]
    Damaged(&'static str),
    /// The server's settings are not valid (any more).
    #[error("the entry of the server's settings has a bad one: {0}")]
    ServerSetting(SettingError),
    /// Its settings are not valid (any more).
    #[error("catalogue entry of topic {name} has a bad setting: {source}")]
    Setting {
        /// The topic.
        name: TopicName,
        /// What is wrong.
        source: SettingError,
    },
}

/// The key of the topic's entry.
pub fn key(id: TopicId) -> Bytes {
    [KEY_PREFIX, id.0.as_bytes()].concat().into()
}

/// The value that records `topic`.
pub fn encode_topic(topic: &Topic) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + 4 * topic.partitions.len());
    put_head(&mut out, TOPIC, topic.created_ms, &topic.name);
    put_settings(&mut out, topic.settings.set());
    out.put_u32(topic.partitions.len() as u32);
    for partition in &topic.partitions {
        out.put_u32(partition.0);
    }
    out.freeze()
}

/// The value that records the deletion of `topic`.
pub fn encode_tombstone(topic: &Topic, deleted_ms: TimestampMs) -> Bytes {
    let mut out = BytesMut::with_capacity(16 + topic.name.as_str().len());
    put_head(&mut out, TOMBSTONE, deleted_ms, &topic.name);
    out.freeze()
}

fn put_head(out: &mut BytesMut, what: u8, at: TimestampMs, name: &TopicName) {
    out.put_u8(FORMAT);
    out.put_u8(what);
    out.put_i64(at.0);
    out.put_u16(name.as_str().len() as u16);
    out.put_slice(name.as_str().as_bytes());
}

pub(crate) fn put_settings<'a>(
    out: &mut BytesMut,
    set: impl ExactSizeIterator<Item = (&'static str, &'a str)>,
) {
    out.put_u16(set.len() as u16);
    for (key, value) in set {
        out.put_u16(key.len() as u16);
        out.put_slice(key.as_bytes());
        out.put_u32(value.len() as u32);
        out.put_slice(value.as_bytes());
    }
}

/// Reads an entry.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Entry, EntryError> {
    let id = key
        .strip_prefix(KEY_PREFIX)
        .and_then(|id| Uuid::from_slice(id).ok())
        .map(TopicId)
        .ok_or(EntryError::Damaged("its key is not a topic id"))?;
    let mut input = Input(value);
    match input.u8()? {
        FORMAT => {}
        newer => return Err(EntryError::Newer(newer)),
    }
    let what = input.u8()?;
    let at = TimestampMs(input.i64()?);
    let length = input.u16()?.into();
    let name = TopicName::new(input.text(length)?)
        .map_err(|_| EntryError::Damaged("its name cannot be one"))?;
    let entry = match what {
        TOPIC => Entry::Topic(Topic {
            id,
            settings: decode_settings(&mut input, &name)?,
            partitions: decode_partitions(&mut input)?,
            name,
            created_ms: at,
        }),
        TOMBSTONE => Entry::Tombstone {
            id,
            name,
            deleted_ms: at,
        },
        _ => return Err(EntryError::Damaged("it is of an unknown kind")),
    };
    input.end()?;
    Ok(entry)
}

fn decode_settings(input: &mut Input<'_>, name: &TopicName) -> Result<TopicSettings, EntryError> {
    TopicSettings::new(input.settings()?).map_err(|source| EntryError::Setting {
        name: name.clone(),
        source,
    })
}

fn decode_partitions(input: &mut Input<'_>) -> Result<Vec<PartitionId>, EntryError> {
    let count = input.u32()? as usize;
    if input.0.len() < count.saturating_mul(4) {
        return Err(TOO_SHORT);
    }
    (0..count).map(|_| input.u32().map(PartitionId)).collect()
}

const TOO_SHORT: EntryError = EntryError::Damaged("it is too short");

/// What is left of an entry.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn u8(&mut self) -> Result<u8, EntryError> {
        self.0.try_get_u8().map_err(|_| TOO_SHORT)
    }

    fn u16(&mut self) -> Result<u16, EntryError> {
        self.0.try_get_u16().map_err(|_| TOO_SHORT)
    }

    fn u32(&mut self) -> Result<u32, EntryError> {
        self.0.try_get_u32().map_err(|_| TOO_SHORT)
    }

    fn i64(&mut self) -> Result<i64, EntryError> {
        self.0.try_get_i64().map_err(|_| TOO_SHORT)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, EntryError> {
        let (text, rest) = self.0.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| EntryError::Damaged("a text in it is not UTF-8"))
    }

    /// What [`put_settings`] wrote.
    pub(crate) fn settings(&mut self) -> Result<Vec<(&'a str, &'a str)>, EntryError> {
        let count = self.u16()?;
        let mut set = Vec::new();
        for _ in 0..count {
            let length = self.u16()?.into();
            let key = self.text(length)?;
            let length = self.u32()? as usize;
            set.push((key, self.text(length)?));
        }
        Ok(set)
    }

    /// Makes sure that nothing is left.
    pub(crate) fn end(&self) -> Result<(), EntryError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(EntryError::Damaged("it is too long"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str, partitions: Vec<u32>, settings: &[(&str, &str)]) -> Topic {
        Topic {
            id: TopicId::from_random([7; 16]),
            name: TopicName::new(name).unwrap(),
            partitions: partitions.into_iter().map(PartitionId).collect(),
            settings: TopicSettings::new(settings.iter().copied()).unwrap(),
            created_ms: TimestampMs(1_700_000_000_000),
        }
    }

    proptest! {
        #[test]
        fn a_topic_comes_back_as_it_was(name in "[a-zäöü]{1,60}", partitions in proptest::collection::vec(any::<u32>(), 0..50)) {
            let topic = topic(&name, partitions, &[("retention.ms", "1000"), ("cleanup.policy", "compact")]);
            prop_assert_eq!(decode(&key(topic.id), &encode_topic(&topic)), Ok(Entry::Topic(topic)));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&key(TopicId::from_random([1; 16])), &value);
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let topic = topic("orders", vec![1, 2, 3], &[("retention.ms", "1000")]);
        let value = encode_topic(&topic);
        for length in 0..value.len() {
            assert!(
                decode(&key(topic.id), &value[..length]).is_err(),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn a_tombstone_comes_back() {
        let topic = topic("orders", vec![1], &[]);
        let entry = decode(&key(topic.id), &encode_tombstone(&topic, TimestampMs(5)));
        let (id, name) = (topic.id, topic.name);
        assert_eq!(
            entry,
            Ok(Entry::Tombstone {
                id,
                name,
                deleted_ms: TimestampMs(5)
            })
        );
    }

    #[test]
    fn a_newer_format_is_refused() {
        let topic = topic("orders", vec![1], &[]);
        let mut value = encode_topic(&topic).to_vec();
        value[0] = 2;
        assert_eq!(decode(&key(topic.id), &value), Err(EntryError::Newer(2)));
    }
}
