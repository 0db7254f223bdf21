//! What is written down of a queue besides its state: its name, what it reads, what it is told to do.
//!
//! ```text
//! 05 | queue u64     u8 format, 1; then JSON
//! ```

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_catalog::TopicId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::QueueId;
use super::policy::QueuePolicy;
use crate::fields::{Fields, RecordError};
use crate::filter::Filter;

/// The layout that is written.
const FORMAT: u8 = 1;

/// What all keys of definitions start with.
pub(super) const KEY_PREFIX: &[u8] = &[0x05];

/// What a queue is.
#[derive(Clone, Debug)]
pub struct QueueDefinition {
    /// Its name.
    pub name: Arc<str>,
    /// The topic that it reads.
    pub topic: TopicId,
    /// What it is told to do.
    pub policy: QueuePolicy,
    /// Where dead letters go, if the policy keeps any.
    pub dead_letter_topic: Arc<str>,
    /// Which records it wants; all if there is none.
    pub filter: Option<Filter>,
    /// It has been deleted, and what is left of it is being removed.
    pub(super) deleted: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    topic: String,
    policy: QueuePolicy,
    dead_letter_topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter: Option<serde_json::Value>,
    #[serde(default)]
    deleted: bool,
}

pub(super) fn key(queue: QueueId) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_slice(KEY_PREFIX);
    out.put_u64(queue.0);
    out.freeze()
}

pub(super) fn decode_key(key: &[u8]) -> Result<QueueId, RecordError> {
    let mut fields = Fields(key.strip_prefix(KEY_PREFIX).ok_or(DAMAGED)?);
    let id = QueueId(fields.u64()?);
    fields.end()?;
    Ok(id)
}

pub(super) fn encode(definition: &QueueDefinition) -> Bytes {
    let stored = Stored {
        name: definition.name.to_string(),
        topic: definition.topic.0.to_string(),
        policy: definition.policy.clone(),
        dead_letter_topic: definition.dead_letter_topic.to_string(),
        filter: definition.filter.as_ref().map(Filter::to_json),
        deleted: definition.deleted,
    };
    let mut out = vec![FORMAT];
    serde_json::to_writer(&mut out, &stored).expect("numbers and text are JSON");
    out.into()
}

pub(super) fn decode(value: &[u8]) -> Result<QueueDefinition, RecordError> {
    let fields = Fields::of_value(value, FORMAT)?;
    let stored: Stored = serde_json::from_slice(fields.0).map_err(|_| DAMAGED)?;
    let filter = stored.filter.as_ref().map(Filter::from_json).transpose();
    let filter = filter.map_err(|_| DAMAGED)?;
    Ok(QueueDefinition {
        name: stored.name.into(),
        topic: TopicId(Uuid::try_parse(&stored.topic).map_err(|_| DAMAGED)?),
        policy: QueuePolicy {
            filtered: filter.is_some(),
            ..stored.policy
        },
        dead_letter_topic: stored.dead_letter_topic.into(),
        filter,
        deleted: stored.deleted,
    })
}

const DAMAGED: RecordError = RecordError::Damaged("a queue's definition");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_come_back_as_they_were() {
        let definition = QueueDefinition {
            name: "mail".into(),
            topic: TopicId(Uuid::from_u128(7)),
            policy: QueuePolicy {
                dead_letters: true,
                ttl_ms: Some(5),
                filtered: true,
                ..QueuePolicy::default()
            },
            dead_letter_topic: "mail.dead".into(),
            filter: Some(Filter::parse(r#"{"header":"a","equals":"b"}"#).unwrap()),
            deleted: false,
        };
        let back = decode(&encode(&definition)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{definition:?}"));
        assert_eq!(decode_key(&key(QueueId(9))), Ok(QueueId(9)));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert_eq!(decode(&[2, b'{']).unwrap_err(), RecordError::Newer(2));
        assert_eq!(decode(b"\x01{}").unwrap_err(), DAMAGED);
        assert!(decode_key(&[5, 1]).is_err());
    }
}
