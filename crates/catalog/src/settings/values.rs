//! The settings in force, typed.

use std::collections::BTreeMap;

use millstream_record::{Codec, Compression, TimestampType};
use millstream_store::{self as store, Durability, Overflow, PartitionPolicy};

use super::error::SettingError;
use super::kind::Value;

/// The settings in force, for the code that acts on them.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicValues {
    /// `cleanup.policy`.
    pub cleanup: Cleanup,
    /// `retention.ms`; `None` is for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` is without bound.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: u64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: u64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: u64,
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type` with its level; `None` is as the producer chose.
    pub compression: Option<Compression>,
    /// `millstream.durability`.
    pub durability: Durability,
    /// `millstream.memory.bytes`.
    pub memory_bytes: u64,
    /// `millstream.memory.overflow`.
    pub memory_overflow: Overflow,
    /// `millstream.retention` is `consumed`: what every queue has finished goes.
    pub consumed: bool,
    /// `millstream.key.index`.
    pub key_index: bool,
}

/// How old records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// By age and size.
    pub delete: bool,
    /// By key: the latest of each is kept.
    pub compact: bool,
}

impl TopicValues {
    /// Reads each setting's value from `value_of`; `None` from there means that its text is not valid.
    pub(super) fn from_text(
        value_of: impl Fn(&'static str) -> Option<Value>,
    ) -> Result<Self, SettingError> {
        let read = Reader { value_of };
        Ok(Self {
            cleanup: Cleanup {
                delete: read.has("cleanup.policy", "delete")?,
                compact: read.has("cleanup.policy", "compact")?,
            },
            retention_ms: u64::try_from(read.number("retention.ms")?).ok(),
            retention_bytes: u64::try_from(read.number("retention.bytes")?).ok(),
            segment_bytes: read.number("segment.bytes")? as u64,
            segment_ms: read.number("segment.ms")? as u64,
            index_interval_bytes: read.number("index.interval.bytes")? as u32,
            min_compaction_lag_ms: read.number("min.compaction.lag.ms")? as u64,
            max_compaction_lag_ms: read.number("max.compaction.lag.ms")? as u64,
            min_cleanable_dirty_ratio: read.double("min.cleanable.dirty.ratio")?,
            delete_retention_ms: read.number("delete.retention.ms")? as u64,
            max_message_bytes: read.number("max.message.bytes")? as usize,
            timestamp_type: match read.text("message.timestamp.type")?.as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: read.number("message.timestamp.before.max.ms")?,
            timestamp_after_max_ms: read.number("message.timestamp.after.max.ms")?,
            compression: read.compression()?,
            durability: match read.text("millstream.durability")?.as_str() {
                "memory" => Durability::Memory,
                "os" => Durability::Os,
                _ => Durability::Fsync,
            },
            memory_bytes: read.number("millstream.memory.bytes")? as u64,
            memory_overflow: match read.text("millstream.memory.overflow")?.as_str() {
                "refuse" => Overflow::Refuse,
                _ => Overflow::DropOldest,
            },
            consumed: read.text("millstream.retention")? == "consumed",
            key_index: read.boolean("millstream.key.index")?,
        })
    }

    /// What the store has to know of it.
    pub fn partition_policy(&self) -> PartitionPolicy {
        let Cleanup { delete, compact } = self.cleanup;
        PartitionPolicy {
            cleanup: match (compact, delete) {
                (false, _) => store::Cleanup::Delete,
                (true, false) => store::Cleanup::Compact,
                (true, true) => store::Cleanup::CompactAndDelete,
            },
            // Without `delete` nothing goes by age or size, whatever the bounds are.
            retention_ms: self.retention_ms.filter(|_| delete),
            retention_bytes: self.retention_bytes.filter(|_| delete),
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            index_interval_bytes: self.index_interval_bytes,
            min_compaction_lag_ms: self.min_compaction_lag_ms,
            max_compaction_lag_ms: self.max_compaction_lag_ms,
            min_cleanable_dirty_ratio: self.min_cleanable_dirty_ratio,
            delete_retention_ms: self.delete_retention_ms,
            memory_bytes: self.memory_bytes,
            overflow: self.memory_overflow,
            consumed: self.consumed,
        }
    }

    /// Checks what no setting can tell alone. `set` is what was set.
    pub(super) fn check_together(
        &self,
        set: &BTreeMap<&'static str, String>,
    ) -> Result<(), SettingError> {
        let conflict = |key, reason| Err(SettingError::Conflict { key, reason });
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            return conflict(
                "min.compaction.lag.ms",
                "it may not be greater than max.compaction.lag.ms",
            );
        }
        if self.durability != Durability::Fsync {
            for key in ["flush.messages", "flush.ms"] {
                if set
                    .get(key)
                    .is_some_and(|value| value.parse() != Ok(i64::MAX))
                {
                    return conflict(
                        key,
                        "syncs are promised by millstream.durability=fsync, not by a flush interval; set that one",
                    );
                }
            }
        }
        if self.consumed && self.cleanup.compact {
            return conflict(
                "millstream.retention",
                "consumed drops what compact keeps; take compact out of cleanup.policy",
            );
        }
        let bounded = (self.cleanup.delete && self.retention_bytes.is_some())
            || self.durability == Durability::Memory;
        if self.consumed && !bounded {
            return conflict(
                "millstream.retention",
                "consumed needs a bound for what no queue finishes; set retention.bytes, with cleanup.policy=delete",
            );
        }
        if self.durability == Durability::Memory && self.cleanup.compact {
            return conflict(
                "cleanup.policy",
                "only what is on the disk is compacted, and millstream.durability=memory never gets there",
            );
        }
        if self.durability != Durability::Memory {
            for key in ["millstream.memory.bytes", "millstream.memory.overflow"] {
                if set.contains_key(key) {
                    return conflict(key, "it needs millstream.durability=memory");
                }
            }
        }
        Ok(())
    }
}

/// Reads typed values by key.
struct Reader<F> {
    value_of: F,
}

impl<F: Fn(&'static str) -> Option<Value>> Reader<F> {
    fn number(&self, key: &'static str) -> Result<i64, SettingError> {
        match (self.value_of)(key) {
            Some(Value::Number(number)) => Ok(number),
            other => Err(unexpected(key, other.as_ref())),
        }
    }

    fn boolean(&self, key: &'static str) -> Result<bool, SettingError> {
        match (self.value_of)(key) {
            Some(Value::Boolean(is)) => Ok(is),
            other => Err(unexpected(key, other.as_ref())),
        }
    }

    fn double(&self, key: &'static str) -> Result<f64, SettingError> {
        match (self.value_of)(key) {
            Some(Value::Double(number)) => Ok(number),
            other => Err(unexpected(key, other.as_ref())),
        }
    }

    fn text(&self, key: &'static str) -> Result<String, SettingError> {
        match (self.value_of)(key) {
            Some(Value::Text(text)) => Ok(text),
            other => Err(unexpected(key, other.as_ref())),
        }
    }

    fn has(&self, key: &'static str, item: &str) -> Result<bool, SettingError> {
        match (self.value_of)(key) {
            Some(Value::List(items)) => Ok(items.iter().any(|have| have == item)),
            other => Err(unexpected(key, other.as_ref())),
        }
    }

    fn compression(&self) -> Result<Option<Compression>, SettingError> {
        let level = |key| self.number(key).map(|level| Some(level as i32));
        let (codec, level) = match self.text("compression.type")?.as_str() {
            "uncompressed" => (Codec::None, None),
            "gzip" => (
                Codec::Gzip,
                level("compression.gzip.level")?.filter(|&level| level >= 0),
            ),
            "snappy" => (Codec::Snappy, None),
            "lz4" => (Codec::Lz4, None),
            "zstd" => (Codec::Zstd, level("compression.zstd.level")?),
            _ => return Ok(None),
        };
        Ok(Some(Compression { codec, level }))
    }
}

/// A value that a newer server, or a damaged entry, left behind.
fn unexpected(key: &'static str, value: Option<&Value>) -> SettingError {
    SettingError::InvalidValue {
        key,
        value: format!("{value:?}"),
        expected: "it was stored by a server that knows other values".to_owned(),
    }
}
