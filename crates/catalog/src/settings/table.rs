//! The one table of topic settings.
//!
//! Kafka's settings keep Kafka's keys, defaults and ranges (`TopicConfig` and `LogConfig` of Kafka 4.2), but for the default
//! of `index.interval.bytes`, the minimum of `segment.bytes` and the maximum of `max.message.bytes`. Each says what it does here: it is acted on, it is accepted because what it asks for holds anyway, or only its default is taken.
//! A key that is not in the table is refused, so nothing is ever silently ignored.

use std::collections::BTreeMap;

use millstream_limits::COMMIT_BYTES_MAX;

use super::error::SettingError;
use super::kind::Kind;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// What values look like.
    pub kind: Kind,
    /// The value in force where none is set.
    pub default: &'static str,
    /// What it does here.
    pub standing: Standing,
    /// It is decided when the topic is created.
    pub fixed: bool,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
}

/// What a setting does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What it says is done.
    Acted,
    /// Any value is taken and shown; nothing depends on it, for the reason given.
    Accepted(&'static str),
    /// Only the default is taken, for the reason given; anything else is refused.
    DefaultOnly(&'static str),
    /// No value is taken, for the reason given, and it is not shown.
    Refused(&'static str),
}

/// The largest batch that one commit holds, with room for the commit's own framing.
const BATCH_BYTES_SETTABLE: i32 = (COMMIT_BYTES_MAX - (64 << 10)) as i32;

const LONG: Kind = Kind::Long {
    min: 0,
    max: i64::MAX,
};
const NO_REPLICATION: &str = "one server holds the only replica, so nothing is replicated";
const NO_TIERS: &str = "there is no remote storage tier; leave it at its default";
const OLD_FORMATS: &str = "message formats v0 and v1 are neither stored nor served; remove it";

const fn acted(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting {
        key,
        kind,
        default,
        standing: Standing::Acted,
        fixed: false,
        doc,
    }
}

pub(super) const fn accepted(
    key: &'static str,
    kind: Kind,
    default: &'static str,
    because: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        standing: Standing::Accepted(because),
        fixed: false,
        doc,
    }
}

const fn default_only(
    key: &'static str,
    kind: Kind,
    default: &'static str,
    because: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        standing: Standing::DefaultOnly(because),
        fixed: false,
        doc,
    }
}

const fn refused(key: &'static str, because: &'static str, doc: &'static str) -> Setting {
    Setting {
        key,
        kind: Kind::Text,
        default: "",
        standing: Standing::Refused(because),
        fixed: false,
        doc,
    }
}

/// Every setting, in the order of their keys.
pub static SETTINGS: &[Setting] = &[
    acted(
        "cleanup.policy",
        Kind::List(&["compact", "delete"]),
        "delete",
        "What happens to old records: `delete` drops them by age and size, `compact` keeps the latest of each key. \
         Both may be named; with neither, everything is kept. `compact` needs a topic on the disk.",
    ),
    acted(
        "compression.gzip.level",
        Kind::IntOr {
            special: -1,
            min: 1,
            max: 9,
        },
        "-1",
        "The level used where `compression.type` is `gzip`; -1 is the codec's own default.",
    ),
    accepted(
        "compression.lz4.level",
        Kind::Int { min: 1, max: 17 },
        "9",
        "the LZ4 encoder has one level, and what it writes is LZ4 at any",
        "The level used where `compression.type` is `lz4`.",
    ),
    acted(
        "compression.type",
        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
        "How batches are compressed in the log. `producer` keeps what the producer chose, byte for byte; with anything \
         else a batch that comes differently is compressed again.",
    ),
    acted(
        "compression.zstd.level",
        Kind::Int {
            min: -131_072,
            max: 22,
        },
        "3",
        "The level used where `compression.type` is `zstd`.",
    ),
    acted(
        "delete.retention.ms",
        LONG,
        "86400000",
        "How long a compacted topic keeps a tombstone, so that a reader who started before it still sees the deletion.",
    ),
    accepted(
        "file.delete.delay.ms",
        LONG,
        "60000",
        "files go as soon as no reader holds them",
        "How long a file outlives the records in it.",
    ),
    acted(
        "flush.messages",
        Kind::Long {
            min: 1,
            max: i64::MAX,
        },
        "9223372036854775807",
        "After how many records a sync to the disk is forced. With `millstream.durability=fsync` every record is \
         synced before it is acknowledged, which satisfies any value; the other durabilities refuse one that is set.",
    ),
    acted(
        "flush.ms",
        LONG,
        "9223372036854775807",
        "After how long a sync to the disk is forced. With `millstream.durability=fsync` every record is synced \
         before it is acknowledged, which satisfies any value; the other durabilities refuse one that is set.",
    ),
    accepted(
        "follower.replication.throttled.replicas",
        Kind::List(&[]),
        "",
        NO_REPLICATION,
        "Replicas whose replication is throttled on the follower.",
    ),
    acted(
        "index.interval.bytes",
        Kind::Int {
            min: 0,
            max: i32::MAX,
        },
        "65536",
        "How many bytes lie between two entries of a pack's offset and time index. Kafka's default, 4096, costs more \
         memory and disk than it saves reading.",
    ),
    accepted(
        "leader.replication.throttled.replicas",
        Kind::List(&[]),
        "",
        NO_REPLICATION,
        "Replicas whose replication is throttled on the leader.",
    ),
    default_only(
        "local.retention.bytes",
        Kind::Long {
            min: -2,
            max: i64::MAX,
        },
        "-2",
        NO_TIERS,
        "How much of a tiered partition stays local; -2 means all that `retention.bytes` keeps.",
    ),
    default_only(
        "local.retention.ms",
        Kind::Long {
            min: -2,
            max: i64::MAX,
        },
        "-2",
        NO_TIERS,
        "How long records of a tiered partition stay local; -2 means as long as `retention.ms` keeps them.",
    ),
    acted(
        "max.compaction.lag.ms",
        Kind::Long {
            min: 1,
            max: i64::MAX,
        },
        "9223372036854775807",
        "After this long a record of a compacted topic is compacted even if little else is to be cleaned.",
    ),
    acted(
        "max.message.bytes",
        Kind::Int {
            min: 0,
            max: BATCH_BYTES_SETTABLE,
        },
        "1048588",
        "The largest record batch taken, in bytes as it is stored: after compression. Kafka's range ends where a number \
         does; here a batch has to fit into one commit.",
    ),
    refused(
        "message.downconversion.enable",
        OLD_FORMATS,
        "Whether batches are converted for consumers of older message formats.",
    ),
    refused(
        "message.format.version",
        OLD_FORMATS,
        "The message format that batches are stored in.",
    ),
    acted(
        "message.timestamp.after.max.ms",
        LONG,
        "3600000",
        "How far ahead of the server's clock a record's timestamp may be. Only with \
         `message.timestamp.type=CreateTime`.",
    ),
    acted(
        "message.timestamp.before.max.ms",
        LONG,
        "9223372036854775807",
        "How far behind the server's clock a record's timestamp may be. Only with \
         `message.timestamp.type=CreateTime`.",
    ),
    refused(
        "message.timestamp.difference.max.ms",
        "use message.timestamp.before.max.ms and message.timestamp.after.max.ms",
        "How far a record's timestamp may be from the server's clock.",
    ),
    acted(
        "message.timestamp.type",
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        "Whose timestamp a record carries: the producer's, or the server's at the moment of the append.",
    ),
    Setting {
        key: "millstream.durability",
        kind: Kind::OneOf(&["fsync", "os", "memory"]),
        default: "fsync",
        standing: Standing::Acted,
        fixed: true,
        doc: "What an acknowledgement promises: `fsync`, the record is on the disk; `os`, it is in the operating \
              system's page cache and survives the server's death but not the machine's; `memory`, it never touches \
              the disk and is gone when the server stops.",
    },
    Setting {
        key: "millstream.key.index",
        kind: Kind::Boolean,
        default: "false",
        standing: Standing::Acted,
        fixed: true,
        doc: "Whether the topic knows where the records of each key are: for publishing with an expected position, and for \
              reading one key without reading the rest. Every batch is unpacked for it.",
    },
    acted(
        "millstream.memory.bytes",
        LONG_FROM_1,
        "67108864",
        "How many bytes each partition of a topic with `millstream.durability=memory` may hold.",
    ),
    acted(
        "millstream.memory.overflow",
        Kind::OneOf(&["drop-oldest", "refuse"]),
        "drop-oldest",
        "What a full memory partition does with the next record: make room by dropping its oldest, or refuse it.",
    ),
    acted(
        "millstream.retention",
        Kind::OneOf(&["log", "consumed"]),
        "log",
        "What lets records go: `log`, only what `cleanup.policy` says; `consumed`, also that every queue on the topic has \
         finished them, once there is a queue. `consumed` needs `retention.bytes` as a bound (not with \
         `millstream.durability=memory`, which has its own) and excludes `cleanup.policy=compact`. Groups are not waited for.",
    ),
    acted(
        "min.cleanable.dirty.ratio",
        Kind::Double { min: 0.0, max: 1.0 },
        "0.5",
        "How large a share of a compacted partition must be new before it is compacted again.",
    ),
    acted(
        "min.compaction.lag.ms",
        LONG,
        "0",
        "How long a record of a compacted topic is safe from compaction.",
    ),
    accepted(
        "min.insync.replicas",
        Kind::Int {
            min: 1,
            max: i32::MAX,
        },
        "1",
        "one server holds the only replica, which is always in sync",
        "How many replicas must have a record before `acks=all` is answered.",
    ),
    accepted(
        "preallocate",
        Kind::Boolean,
        "false",
        "the journal's files are always allocated ahead",
        "Whether files are allocated before they are written.",
    ),
    default_only(
        "remote.copy.lag.bytes",
        Kind::Long {
            min: -1,
            max: i64::MAX,
        },
        "0",
        NO_TIERS,
        "How many bytes a segment waits before it is copied to the remote tier.",
    ),
    default_only(
        "remote.copy.lag.ms",
        Kind::Long {
            min: -1,
            max: i64::MAX,
        },
        "0",
        NO_TIERS,
        "How long a segment waits before it is copied to the remote tier.",
    ),
    default_only(
        "remote.log.copy.disable",
        Kind::Boolean,
        "false",
        NO_TIERS,
        "Whether a tiered topic stops copying to the remote tier.",
    ),
    default_only(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        NO_TIERS,
        "Whether disabling tiered storage deletes what it holds.",
    ),
    default_only(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        NO_TIERS,
        "Whether old segments move to a remote tier.",
    ),
    acted(
        "retention.bytes",
        Kind::Long {
            min: i64::MIN,
            max: i64::MAX,
        },
        "-1",
        "How many bytes a partition keeps before its oldest records go; negative means no bound. \
         Only with `cleanup.policy=delete`.",
    ),
    acted(
        "retention.ms",
        Kind::Long {
            min: -1,
            max: i64::MAX,
        },
        "604800000",
        "How long records are kept; -1 means for ever. Only with `cleanup.policy=delete`.",
    ),
    acted(
        "segment.bytes",
        Kind::Int {
            min: 14,
            max: i32::MAX,
        },
        "1073741824",
        "The size of a segment, the unit in which retention drops records and beyond which compaction may reach. As \
         Kafka before 4.0, it may be smaller than 1 MiB.",
    ),
    accepted(
        "segment.index.bytes",
        Kind::Int {
            min: 4,
            max: i32::MAX,
        },
        "10485760",
        "indexes live in the footer of their pack and have no size of their own",
        "The size of a segment's index.",
    ),
    accepted(
        "segment.jitter.ms",
        LONG,
        "0",
        "segments are not files here, so many that end at once cause no burst of work",
        "How much earlier than `segment.ms`, at random, a segment may end, so that not all end at once.",
    ),
    acted(
        "segment.ms",
        Kind::Long {
            min: 1,
            max: i64::MAX,
        },
        "604800000",
        "How long a segment takes records before the next one starts, even if it is not full.",
    ),
    accepted(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        "one server holds the only replica, so no replica that lags can become the leader",
        "Whether a replica that is not in sync may lead.",
    ),
];

const LONG_FROM_1: Kind = Kind::Long {
    min: 1,
    max: i64::MAX,
};

impl Setting {
    /// Checks that `value` is one this setting takes, on its own.
    pub fn check(&self, value: &str) -> Result<(), SettingError> {
        let refuse = |reason| {
            Err(SettingError::Refused {
                key: self.key,
                value: value.trim().to_owned(),
                reason,
            })
        };
        if let Standing::Refused(reason) = self.standing {
            return refuse(reason);
        }
        let Some(parsed) = self.kind.parse(value) else {
            return Err(SettingError::InvalidValue {
                key: self.key,
                value: value.to_owned(),
                expected: format!("it takes {}", self.kind),
            });
        };
        match self.standing {
            Standing::DefaultOnly(reason) if Some(parsed) != self.kind.parse(self.default) => {
                refuse(reason)
            }
            _ => Ok(()),
        }
    }

    /// The value in force where `set` are the values that were set, and whether this one was.
    pub(super) fn in_force<'a>(&self, set: &'a BTreeMap<&'static str, String>) -> (&'a str, bool) {
        match set.get(self.key) {
            Some(value) => (value, true),
            None => (self.default, false),
        }
    }

    /// Whether a description of a topic shows it.
    pub fn is_shown(&self) -> bool {
        !matches!(self.standing, Standing::Refused(_))
    }
}

/// The setting of that key.
pub fn find(key: &str) -> Result<&'static Setting, SettingError> {
    match SETTINGS.binary_search_by(|setting| setting.key.cmp(key)) {
        Ok(index) => Ok(&SETTINGS[index]),
        Err(_) => Err(SettingError::Unknown {
            key: key.to_owned(),
            nearest: nearest(key),
        }),
    }
}

/// The key that looks most like `key`, if one does.
fn nearest(key: &str) -> Option<&'static str> {
    const SLIPS_MAX: usize = 3;
    const KEY_BYTES_MAX: usize = 64;
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let (slips, nearest) = SETTINGS
        .iter()
        .filter(|setting| setting.is_shown())
        .map(|setting| {
            (
                edit_distance(key.as_bytes(), setting.key.as_bytes()),
                setting.key,
            )
        })
        .min()?;
    (slips <= SLIPS_MAX).then_some(nearest)
}

/// How many bytes must be added, removed or replaced to make `a` of `b` (Levenshtein).
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte_a) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, byte_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(byte_a != byte_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
