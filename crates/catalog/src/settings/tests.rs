//! Each known key: taken, refused or acted on; and the settings together.

use millstream_record::{Codec, TimestampType};
use millstream_store::{Durability, Overflow};

use super::*;

fn set(pairs: &[(&str, &str)]) -> Result<TopicSettings, SettingError> {
    TopicSettings::new(pairs.iter().copied())
}

fn values(pairs: &[(&str, &str)]) -> TopicValues {
    set(pairs).unwrap().values().clone()
}

fn change(key: &str, op: SettingOp) -> SettingChange {
    SettingChange {
        key: key.to_owned(),
        op,
    }
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_valid() {
    assert!(table::SETTINGS.is_sorted_by(|a, b| a.key < b.key));
    for setting in table::SETTINGS.iter().filter(|setting| setting.is_shown()) {
        assert_eq!(setting.check(setting.default), Ok(()), "{}", setting.key);
    }
    assert_eq!(TopicSettings::defaults().set().count(), 0);
}

/// For each key a value that must be taken, and one that must not be.
const CASES: &[(&str, Option<&str>, Option<&str>)] = &[
    ("cleanup.policy", Some("compact,delete"), Some("shred")),
    ("compression.gzip.level", Some("9"), Some("0")),
    ("compression.lz4.level", Some("17"), Some("18")),
    ("compression.type", Some("zstd"), Some("brotli")),
    ("compression.zstd.level", Some("-5"), Some("23")),
    ("delete.retention.ms", Some("0"), Some("-1")),
    ("file.delete.delay.ms", Some("0"), Some("-1")),
    ("flush.messages", Some("1"), Some("0")),
    ("flush.ms", Some("0"), Some("-1")),
    (
        "follower.replication.throttled.replicas",
        Some("0:1,1:1"),
        None,
    ),
    ("index.interval.bytes", Some("4096"), Some("-1")),
    ("leader.replication.throttled.replicas", Some("*"), None),
    ("local.retention.bytes", Some("-2"), Some("1")),
    ("local.retention.ms", Some("-2"), Some("1")),
    ("max.compaction.lag.ms", Some("1"), Some("0")),
    ("max.message.bytes", Some("0"), Some("100000000")),
    ("message.downconversion.enable", None, Some("true")),
    ("message.format.version", None, Some("3.0")),
    ("message.timestamp.after.max.ms", Some("0"), Some("-1")),
    ("message.timestamp.before.max.ms", Some("0"), Some("-1")),
    ("message.timestamp.difference.max.ms", None, Some("1")),
    (
        "message.timestamp.type",
        Some("LogAppendTime"),
        Some("logappendtime"),
    ),
    ("millstream.durability", Some("os"), Some("none")),
    ("millstream.key.index", Some("true"), Some("on")),
    ("millstream.memory.bytes", None, Some("0")),
    ("millstream.memory.overflow", None, Some("block")),
    ("millstream.retention", Some("log"), Some("consume")),
    ("min.cleanable.dirty.ratio", Some("0.01"), Some("1.1")),
    ("min.compaction.lag.ms", Some("5"), Some("-1")),
    ("min.insync.replicas", Some("2"), Some("0")),
    ("preallocate", Some("TRUE"), Some("yes")),
    ("remote.copy.lag.bytes", Some("0"), Some("-1")),
    ("remote.copy.lag.ms", Some("0"), Some("-1")),
    ("remote.log.copy.disable", Some("false"), Some("true")),
    ("remote.log.delete.on.disable", Some("false"), Some("true")),
    ("remote.storage.enable", Some("false"), Some("true")),
    ("retention.bytes", Some("-1"), Some("1g")),
    ("retention.ms", Some("-1"), Some("-2")),
    ("segment.bytes", Some("20000"), Some("13")),
    ("segment.index.bytes", Some("4"), Some("3")),
    ("segment.jitter.ms", Some("1"), Some("-1")),
    ("segment.ms", Some("1"), Some("0")),
    ("unclean.leader.election.enable", Some("true"), Some("1")),
];

#[test]
fn each_key_takes_and_refuses() {
    let keys: Vec<_> = CASES.iter().map(|case| case.0).collect();
    let table: Vec<_> = table::SETTINGS.iter().map(|setting| setting.key).collect();
    assert_eq!(keys, table, "every setting has a case here");
    for &(key, good, bad) in CASES {
        if let Some(good) = good {
            let settings = set(&[(key, good)]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(settings.get(table::find(key).unwrap()), (good, true));
        }
        if let Some(bad) = bad {
            let error = set(&[(key, bad)]).expect_err(key);
            assert_eq!(error.key(), key);
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}

/// Every setting that claims to be acted on changes what the code sees, or says with whom it conflicts.
#[test]
fn what_is_acted_on_changes_the_values() {
    let defaults = TopicSettings::defaults();
    for &(key, good, _) in CASES {
        let setting = table::find(key).unwrap();
        // These choose among promises that are checked, or need another setting to matter; they have tests of their own.
        let elsewhere = [
            "flush.",
            "millstream.memory.",
            "millstream.retention",
            "compression.",
        ];
        if setting.standing != Standing::Acted
            || elsewhere.iter().any(|prefix| key.starts_with(prefix))
        {
            continue;
        }
        let other = match key {
            "retention.bytes" => "4096",
            _ => good.unwrap(),
        };
        let changed = if key == "index.interval.bytes" {
            "1024"
        } else {
            other
        };
        assert_ne!(
            &values(&[(key, changed)]),
            defaults.values(),
            "{key} does nothing"
        );
    }
}

#[test]
fn defaults_are_kafkas() {
    let values = TopicSettings::defaults().values().clone();
    assert_eq!(
        values.cleanup,
        Cleanup {
            delete: true,
            compact: false
        }
    );
    assert_eq!(values.retention_ms, Some(7 * 24 * 60 * 60 * 1000));
    assert_eq!(values.retention_bytes, None);
    assert_eq!(values.segment_bytes, 1 << 30);
    assert_eq!(
        values.max_message_bytes,
        millstream_limits::BATCH_BYTES_DEFAULT
    );
    assert_eq!(values.timestamp_type, TimestampType::CreateTime);
    assert_eq!(values.compression, None);
    assert_eq!(values.durability, Durability::Fsync);
}

#[test]
fn compression_comes_with_its_own_level() {
    let compression = |pairs: &[(&str, &str)]| {
        let compression = values(pairs).compression.unwrap();
        (compression.codec, compression.level)
    };
    assert_eq!(
        compression(&[("compression.type", "uncompressed")]),
        (Codec::None, None)
    );
    assert_eq!(
        compression(&[
            ("compression.type", "snappy"),
            ("compression.gzip.level", "3")
        ]),
        (Codec::Snappy, None)
    );
    assert_eq!(
        compression(&[("compression.type", "gzip")]),
        (Codec::Gzip, None)
    );
    assert_eq!(
        compression(&[
            ("compression.type", "gzip"),
            ("compression.gzip.level", "3")
        ]),
        (Codec::Gzip, Some(3))
    );
    assert_eq!(
        compression(&[
            ("compression.type", "zstd"),
            ("compression.zstd.level", "-7")
        ]),
        (Codec::Zstd, Some(-7))
    );
    assert_eq!(
        compression(&[("compression.type", "lz4")]),
        (Codec::Lz4, None)
    );
}

#[test]
fn without_a_cleanup_policy_everything_is_kept() {
    let policy = values(&[("cleanup.policy", ""), ("retention.bytes", "10")]).partition_policy();
    assert_eq!((policy.retention_ms, policy.retention_bytes), (None, None));
    let policy = values(&[("cleanup.policy", "compact")]).partition_policy();
    assert!(
        policy.cleanup.compacts() && !policy.cleanup.deletes() && policy.retention_ms.is_none()
    );
    let policy =
        values(&[("cleanup.policy", "compact, delete"), ("retention.ms", "9")]).partition_policy();
    assert!(policy.cleanup.compacts() && policy.cleanup.deletes());
    assert_eq!(policy.retention_ms, Some(9));
}

#[test]
fn memory_settings_need_a_memory_topic() {
    let memory = [
        ("millstream.durability", "memory"),
        ("millstream.memory.bytes", "4096"),
        ("millstream.memory.overflow", "refuse"),
    ];
    let policy = values(&memory).partition_policy();
    assert_eq!(
        (policy.memory_bytes, policy.overflow),
        (4096, Overflow::Refuse)
    );
    for pair in &memory[1..] {
        assert!(
            matches!(set(&[*pair]), Err(SettingError::Conflict { .. })),
            "{pair:?}"
        );
    }
}

#[test]
fn what_is_dropped_when_consumed_has_a_bound_and_is_not_compacted() {
    let consumed = ("millstream.retention", "consumed");
    let bound = ("retention.bytes", "4096");
    assert!(values(&[consumed, bound]).partition_policy().consumed);
    assert!(values(&[consumed, ("millstream.durability", "memory")]).consumed);
    for settings in [
        &[consumed][..],
        &[consumed, bound, ("cleanup.policy", "")],
        &[consumed, bound, ("cleanup.policy", "compact,delete")],
    ] {
        let refused = set(settings);
        assert!(
            matches!(
                refused,
                Err(SettingError::Conflict {
                    key: "millstream.retention",
                    ..
                })
            ),
            "{settings:?}"
        );
    }
}

#[test]
fn a_memory_topic_is_not_compacted() {
    let error = set(&[
        ("millstream.durability", "memory"),
        ("cleanup.policy", "compact"),
    ])
    .unwrap_err();
    assert!(matches!(error, SettingError::Conflict { .. }) && error.key() == "cleanup.policy");
}

#[test]
fn a_flush_interval_needs_the_fsync_promise() {
    for key in ["flush.messages", "flush.ms"] {
        assert!(set(&[(key, "1"), ("millstream.durability", "fsync")]).is_ok());
        for durability in ["os", "memory"] {
            let error = set(&[(key, "1"), ("millstream.durability", durability)]).unwrap_err();
            assert!(matches!(error, SettingError::Conflict { .. }) && error.key() == key);
            assert!(
                set(&[
                    (key, "9223372036854775807"),
                    ("millstream.durability", durability)
                ])
                .is_ok()
            );
        }
    }
}

#[test]
fn compaction_lags_must_fit() {
    let lags = |min, max| {
        set(&[
            ("min.compaction.lag.ms", min),
            ("max.compaction.lag.ms", max),
        ])
    };
    assert!(lags("5", "5").is_ok());
    assert!(matches!(lags("6", "5"), Err(SettingError::Conflict { .. })));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    let nearest = |key: &str| match set(&[(key, "1")]) {
        Err(SettingError::Unknown { nearest, .. }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest("retention.msec"), Some("retention.ms"));
    assert_eq!(nearest("retention_bytes"), Some("retention.bytes"));
    assert_eq!(nearest("something.else.entirely"), None);
    assert_eq!(nearest(&"x".repeat(10_000)), None);
    assert_eq!(nearest(""), None);
}

#[test]
fn changes_apply_in_order() {
    let start = set(&[("cleanup.policy", "delete"), ("retention.ms", "5")]).unwrap();
    let changed = start
        .changed(&[
            change("cleanup.policy", SettingOp::Append("compact".into())),
            change("cleanup.policy", SettingOp::Append("compact".into())),
            change("retention.ms", SettingOp::Delete),
            change("segment.ms", SettingOp::Set(" 70 ".into())),
        ])
        .unwrap();
    let now: Vec<_> = changed.set().collect();
    assert_eq!(
        now,
        [("cleanup.policy", "delete,compact"), ("segment.ms", "70")]
    );

    let subtracted = changed
        .changed(&[change(
            "cleanup.policy",
            SettingOp::Subtract("delete".into()),
        )])
        .unwrap();
    assert_eq!(
        subtracted.values().cleanup,
        Cleanup {
            delete: false,
            compact: true
        }
    );
}

#[test]
fn only_a_list_is_appended_to() {
    let defaults = TopicSettings::defaults();
    let error = defaults
        .changed(&[change("retention.ms", SettingOp::Append("1".into()))])
        .unwrap_err();
    assert_eq!(
        error,
        SettingError::NotAList {
            key: "retention.ms"
        }
    );
}

#[test]
fn durability_is_fixed() {
    let fixed = SettingError::Fixed {
        key: "millstream.durability",
    };
    let os = set(&[("millstream.durability", "os")]).unwrap();
    for op in [SettingOp::Set("fsync".into()), SettingOp::Delete] {
        assert_eq!(
            os.changed(&[change("millstream.durability", op)]),
            Err(fixed.clone())
        );
    }
    assert!(
        os.changed(&[change("millstream.durability", SettingOp::Set("os".into()))])
            .is_ok()
    );
    let replaced = |pairs: &[(&str, &str)]| {
        os.replaced(pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())))
    };
    assert_eq!(replaced(&[("retention.ms", "1")]), Err(fixed));
    assert!(replaced(&[("millstream.durability", "os")]).is_ok());
}
