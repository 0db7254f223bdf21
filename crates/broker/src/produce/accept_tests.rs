use millstream_catalog::TopicSettings;
use millstream_record::{
    BatchBuilder, Codec, Compression, ErrorKind, NewRecord, ProducerEpoch, ProducerId, Sequence,
};

use super::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

fn later(by_ms: i64) -> TimestampMs {
    NOW.saturating_add(by_ms)
}

fn values(settings: &[(&str, &str)]) -> TopicValues {
    TopicSettings::new(settings.iter().copied())
        .unwrap()
        .values()
        .clone()
}

fn record(key: Option<&'static str>, timestamp: TimestampMs) -> NewRecord<'static> {
    NewRecord {
        timestamp,
        key: key.map(str::as_bytes),
        value: Some(
            b"a value that is long enough to be worth compressing, compressing, compressing",
        ),
        headers: &[],
    }
}

fn built(codec: Codec, timestamps: &[TimestampMs]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for &timestamp in timestamps {
        builder.append(&record(Some("key"), timestamp));
    }
    builder.build().unwrap()
}

fn sent(codec: Codec) -> Bytes {
    built(codec, &[NOW, NOW, NOW]).bytes
}

fn refused(bytes: Bytes, settings: &[(&str, &str)]) -> BrokerError {
    accept(bytes, &values(settings), NOW).unwrap_err()
}

fn kind(error: &BrokerError) -> Option<ErrorKind> {
    match error {
        BrokerError::InvalidBatch(error) => Some(error.kind()),
        _ => None,
    }
}

#[test]
fn by_default_the_bytes_are_stored_as_they_came() {
    for codec in Codec::ALL {
        let bytes = sent(codec);
        let accepted = accept(bytes.clone(), &values(&[]), NOW).unwrap();
        assert_eq!(
            accepted.batch.bytes.as_ptr(),
            bytes.as_ptr(),
            "not even copied"
        );
        assert_eq!(accepted.batch.bytes.len(), bytes.len());
        assert_eq!(accepted.stamp, None);
    }
}

/// A batch whose records are garbage under a right checksum: it can be stored only if nobody looks at them.
#[test]
fn by_default_records_are_not_looked_at() {
    let mut bytes = sent(Codec::None).to_vec();
    bytes[61..].fill(0xff);
    millstream_record::header::seal(&mut bytes);
    let bytes = Bytes::from(bytes);
    assert!(accept(bytes.clone(), &values(&[]), NOW).is_ok());
    assert!(accept(bytes, &values(&[("cleanup.policy", "compact")]), NOW).is_err());
}

#[test]
fn log_append_time_is_written_over_the_producers() {
    let accepted = accept(
        sent(Codec::Zstd),
        &values(&[("message.timestamp.type", "LogAppendTime")]),
        later(5),
    )
    .unwrap();
    assert_eq!(accepted.stamp, Some(later(5)));
    let batch = accepted.batch;
    assert_eq!(batch.check_crc(), Ok(()));
    assert_eq!(batch.header.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(batch.header.max_timestamp, later(5));
    assert!(
        batch
            .records(1 << 20)
            .all(|record| record.unwrap().timestamp == later(5))
    );
}

#[test]
fn log_append_time_takes_any_timestamp_and_leaves_others_bytes_alone() {
    let bytes = built(Codec::None, &[TimestampMs(i64::MAX)]).bytes;
    let before = bytes.to_vec();
    let held_elsewhere = bytes.clone();
    assert!(
        accept(
            bytes,
            &values(&[("message.timestamp.type", "LogAppendTime")]),
            NOW
        )
        .is_ok()
    );
    assert_eq!(held_elsewhere, before);
}

#[test]
fn another_codec_is_compressed_again() {
    for (name, codec) in [
        ("uncompressed", Codec::None),
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
    ] {
        for from in Codec::ALL {
            let original = built(from, &[NOW, later(1)]);
            let accepted = accept(
                original.bytes.clone(),
                &values(&[("compression.type", name)]),
                NOW,
            )
            .unwrap();
            assert_eq!(accepted.batch.header.codec, codec);
            assert_eq!(accepted.batch.check_crc(), Ok(()));
            let records = |batch: &Batch| {
                batch
                    .records(1 << 20)
                    .collect::<Result<Vec<_>, _>>()
                    .unwrap()
            };
            assert_eq!(records(&accepted.batch), records(&original));
            let untouched = accepted.batch.bytes.as_ptr() == original.bytes.as_ptr();
            assert_eq!(untouched, from == codec);
        }
    }
}

#[test]
fn the_size_is_bounded_as_sent_and_as_stored() {
    let zstd = sent(Codec::Zstd);
    let limit = zstd.len().to_string();
    assert!(accept(zstd.clone(), &values(&[("max.message.bytes", &limit)]), NOW).is_ok());
    let less = (zstd.len() - 1).to_string();
    assert_eq!(
        kind(&refused(zstd.clone(), &[("max.message.bytes", &less)])),
        Some(ErrorKind::TooLarge)
    );
    // Decompressed it no longer fits.
    let plain = [
        ("max.message.bytes", limit.as_str()),
        ("compression.type", "uncompressed"),
    ];
    assert_eq!(kind(&refused(zstd, &plain)), Some(ErrorKind::TooLarge));
}

#[test]
fn timestamps_are_bounded_both_ways() {
    let at = |offset_ms: i64| built(Codec::None, &[later(offset_ms)]).bytes;
    let settings = [
        ("message.timestamp.after.max.ms", "10"),
        ("message.timestamp.before.max.ms", "20"),
    ];
    for fits in [-20, 0, 10] {
        assert!(accept(at(fits), &values(&settings), NOW).is_ok(), "{fits}");
    }
    for outside in [-21, 11] {
        assert_eq!(
            kind(&refused(at(outside), &settings)),
            Some(ErrorKind::InvalidTimestamp),
            "{outside}"
        );
    }
    let without = built(Codec::None, &[TimestampMs::NONE]).bytes;
    assert!(accept(without, &values(&settings), NOW).is_ok());
    // By default one hour ahead, and any time ago.
    assert!(accept(at(3_600_000), &values(&[]), NOW).is_ok());
    assert_eq!(
        kind(&refused(at(3_600_001), &[])),
        Some(ErrorKind::InvalidTimestamp)
    );
    assert!(accept(at(-NOW.0), &values(&[]), NOW).is_ok());
}

#[test]
fn an_old_record_inside_a_batch_is_found() {
    let bytes = built(Codec::Lz4, &[NOW, later(-100), NOW]).bytes;
    let error = refused(bytes, &[("message.timestamp.before.max.ms", "50")]);
    assert!(
        matches!(error, BrokerError::InvalidBatch(ref error) if error.record_index() == Some(1)),
        "{error}"
    );
}

#[test]
fn a_compacted_topic_needs_keys() {
    let mut builder = BatchBuilder::new(Compression::from(Codec::Gzip));
    builder.append(&record(Some("key"), NOW));
    builder.append(&record(None, NOW));
    let bytes = builder.build().unwrap().bytes;
    assert!(accept(bytes.clone(), &values(&[]), NOW).is_ok());
    let error = refused(bytes, &[("cleanup.policy", "compact,delete")]);
    assert_eq!(kind(&error), Some(ErrorKind::Invalid));
    assert!(
        matches!(error, BrokerError::InvalidBatch(ref error) if error.record_index() == Some(1))
    );
}

#[test]
fn what_is_not_one_whole_batch_is_refused() {
    let batch = sent(Codec::None);
    let twice = Bytes::from([&batch[..], &batch[..]].concat());
    assert_eq!(kind(&refused(twice, &[])), Some(ErrorKind::Invalid));
    assert_eq!(
        kind(&refused(batch.slice(..batch.len() - 1), &[])),
        Some(ErrorKind::Invalid)
    );
    assert_eq!(kind(&refused(Bytes::new(), &[])), Some(ErrorKind::Invalid));

    let mut flipped = batch.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(
        kind(&refused(flipped.into(), &[])),
        Some(ErrorKind::Corrupt)
    );
    for magic in [0, 1] {
        let mut old = batch.to_vec();
        old[16] = magic;
        assert_eq!(
            kind(&refused(old.into(), &[])),
            Some(ErrorKind::Invalid),
            "magic {magic}"
        );
    }
}

#[test]
fn only_the_broker_writes_control_batches_and_nobody_yet_transactions() {
    let producer =
        |builder: BatchBuilder| builder.producer(ProducerId(1), ProducerEpoch(0), Sequence(0));
    let mut control = producer(BatchBuilder::new(Codec::None)).control();
    control.append(&record(None, NOW));
    assert_eq!(
        kind(&refused(control.build().unwrap().bytes, &[])),
        Some(ErrorKind::Invalid)
    );

    let mut transactional = producer(BatchBuilder::new(Codec::None)).transactional();
    transactional.append(&record(None, NOW));
    let error = refused(transactional.build().unwrap().bytes, &[]);
    assert!(matches!(error, BrokerError::TransactionalBatch));
}
