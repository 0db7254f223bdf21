//! What a broker takes from a client, and what it refuses with which answer.

use bytes::Bytes;
use millstream_record::header::{self, seal};
use millstream_record::{
    BatchBuilder, BatchError, Codec, ErrorKind, LeaderEpoch, Offset, ProducePolicy, ProducerEpoch,
    ProducerId, Sequence, TimestampBounds, TimestampMs, validate_produced,
};

use crate::common::{CAP_BYTES, Sample, batch, fill, sample};

const POLICY: ProducePolicy = ProducePolicy {
    batch_bytes_max: 1 << 20,
    keys_required: false,
    timestamps: None,
    records_checked: false,
    decompressed_bytes_max: CAP_BYTES,
};

fn samples() -> [Sample; 2] {
    [
        sample(1_000, Some("a"), Some("1")),
        sample(2_000, None, Some("2")),
    ]
}

fn refusal(bytes: impl Into<Bytes>, policy: &ProducePolicy) -> BatchError {
    validate_produced(bytes.into(), policy).unwrap_err()
}

/// A valid batch after `change`, with a checksum that fits.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = batch(Codec::None, &samples()).bytes.to_vec();
    change(&mut bytes);
    seal(&mut bytes);
    bytes
}

#[test]
fn a_batch_of_every_codec_passes_untouched() {
    for codec in Codec::ALL {
        let sent = batch(codec, &samples());
        let taken = validate_produced(sent.bytes.clone(), &POLICY).unwrap();
        assert_eq!(taken.bytes.as_ptr(), sent.bytes.as_ptr());
        assert_eq!(taken, sent);
    }
}

#[test]
fn exactly_one_batch_is_taken() {
    assert_eq!(refusal(Bytes::new(), &POLICY), BatchError::NoBatch);
    let one = batch(Codec::None, &samples()).bytes;
    let two = [&one[..], &one[..]].concat();
    assert_eq!(refusal(two, &POLICY), BatchError::MoreThanOne(one.len()));
    let cut = one.slice(..one.len() - 1);
    assert_eq!(refusal(cut, &POLICY).kind(), ErrorKind::Invalid);
}

#[test]
fn size_is_bounded_before_anything_is_read() {
    let bytes = batch(Codec::None, &samples()).bytes;
    let size_bytes = bytes.len();
    let exact = ProducePolicy {
        batch_bytes_max: size_bytes,
        ..POLICY
    };
    assert!(validate_produced(bytes.clone(), &exact).is_ok());
    let tight = ProducePolicy {
        batch_bytes_max: size_bytes - 1,
        ..POLICY
    };
    let error = refusal(bytes, &tight);
    assert_eq!(
        error,
        BatchError::TooLarge {
            size_bytes,
            max_bytes: size_bytes - 1
        }
    );
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn a_wrong_checksum_is_corruption() {
    let mut bytes = batch(Codec::None, &samples()).bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(bytes, &POLICY).kind(), ErrorKind::Corrupt);
}

#[test]
fn old_formats_are_invalid() {
    for magic in [0, 1] {
        let error = refusal(changed(|bytes| bytes[16] = magic), &POLICY);
        assert_eq!(error, BatchError::OldFormat(magic as i8));
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn an_unknown_codec_has_its_own_answer() {
    let error = refusal(changed(|bytes| bytes[22] |= 7), &POLICY);
    assert_eq!(error.kind(), ErrorKind::UnsupportedCompression);
}

#[test]
fn the_count_has_to_fit_the_offsets() {
    let error = refusal(changed(|bytes| bytes[60] = 1), &POLICY);
    assert_eq!(
        error,
        BatchError::CountMismatch {
            count: 1,
            offsets: 2
        }
    );
    let error = refusal(changed(|bytes| bytes[60] = 0), &POLICY);
    assert_eq!(
        error,
        BatchError::CountMismatch {
            count: 0,
            offsets: 2
        }
    );
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn clients_write_no_control_batches_and_assign_no_offsets() {
    let control = fill(BatchBuilder::new(Codec::None).control(), &samples());
    assert_eq!(refusal(control.bytes, &POLICY), BatchError::ControlBatch);
    let placed = fill(
        BatchBuilder::new(Codec::None).at(Offset(5), LeaderEpoch(0)),
        &samples(),
    );
    let error = refusal(placed.bytes, &POLICY);
    assert_eq!(
        error,
        BatchError::BadField {
            field: "base offset",
            value: 5
        }
    );
}

#[test]
fn an_idempotent_producer_needs_epoch_and_sequence() {
    let with = |id, epoch, sequence| {
        let builder = BatchBuilder::new(Codec::None).producer(
            ProducerId(id),
            ProducerEpoch(epoch),
            Sequence(sequence),
        );
        validate_produced(fill(builder, &samples()).bytes, &POLICY)
    };
    assert!(with(0, 0, 0).is_ok());
    assert!(with(-1, -1, -1).is_ok());
    assert!(matches!(
        with(1, 0, -1),
        Err(BatchError::BadField {
            field: "base sequence",
            ..
        })
    ));
    assert!(matches!(
        with(1, -1, 0),
        Err(BatchError::BadField {
            field: "producer epoch",
            ..
        })
    ));
    assert!(matches!(
        with(-2, 0, 0),
        Err(BatchError::BadField {
            field: "producer id",
            ..
        })
    ));
}

#[test]
fn a_compacted_topic_needs_keys() {
    let keyed = ProducePolicy {
        keys_required: true,
        ..POLICY
    };
    for codec in Codec::ALL {
        let error = refusal(batch(codec, &samples()).bytes, &keyed);
        assert_eq!(error, BatchError::MissingKey { index: 1 });
        assert_eq!(error.record_index(), Some(1));
        assert!(validate_produced(batch(codec, &samples()[..1]).bytes, &keyed).is_ok());
    }
}

#[test]
fn timestamps_are_held_to_their_bounds() {
    let bounded = |earliest, latest| {
        let bounds = TimestampBounds {
            earliest: TimestampMs(earliest),
            latest: TimestampMs(latest),
        };
        ProducePolicy {
            timestamps: Some(bounds),
            ..POLICY
        }
    };
    let bytes = batch(Codec::Gzip, &samples()).bytes;
    assert!(validate_produced(bytes.clone(), &bounded(1_000, 2_000)).is_ok());
    assert!(validate_produced(bytes.clone(), &bounded(i64::MIN, 2_000)).is_ok());
    let late = refusal(bytes.clone(), &bounded(i64::MIN, 1_999));
    assert_eq!(late.kind(), ErrorKind::InvalidTimestamp);
    let early = refusal(bytes, &bounded(1_001, 2_000));
    assert_eq!(early.record_index(), Some(0));

    // Neither the first nor the latest: only decoding tells.
    let hidden = [
        sample(1_500, None, None),
        sample(900, None, None),
        sample(2_000, None, None),
    ];
    let error = refusal(batch(Codec::None, &hidden).bytes, &bounded(1_000, 2_000));
    assert_eq!(error.record_index(), Some(1));

    let unset = [sample(-1, None, None)];
    assert!(validate_produced(batch(Codec::None, &unset).bytes, &bounded(1_000, 2_000)).is_ok());
}

/// What a batch says of its latest timestamp once it is taken.
fn taken_latest(codec: Codec, said: i64) -> i64 {
    let all = TimestampBounds {
        earliest: TimestampMs(i64::MIN),
        latest: TimestampMs(i64::MAX),
    };
    let policy = ProducePolicy {
        timestamps: Some(all),
        ..POLICY
    };
    let timestamps = [1_500, 900, 2_000, 1_700];
    let records = timestamps.map(|timestamp| sample(timestamp, None, None));
    let mut bytes = batch(codec, &records).bytes.to_vec();
    header::set_max_timestamp(&mut bytes, TimestampMs(said));
    let taken = validate_produced(bytes.into(), &policy).unwrap();
    taken.check_crc().unwrap();
    taken.header.max_timestamp.0
}

/// Some producers leave the latest timestamp out, or count only the records that came with one.
#[test]
fn the_latest_timestamp_is_that_of_the_records() {
    for said in [-1, 0, 1_500, 1_999, 2_000, 9_000] {
        assert_eq!(taken_latest(Codec::None, said), 2_000, "{said}");
    }
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for said in [-1, 0, 1_499] {
            assert_eq!(taken_latest(codec, said), 2_000, "{said}");
        }
        assert_eq!(taken_latest(codec, 1_500), 1_500, "it may be right");
    }
}

#[test]
fn a_latest_timestamp_that_is_left_out_hides_no_record_from_the_bounds() {
    let bounds = TimestampBounds {
        earliest: TimestampMs(i64::MIN),
        latest: TimestampMs(1_999),
    };
    let policy = ProducePolicy {
        timestamps: Some(bounds),
        ..POLICY
    };
    for codec in [Codec::None, Codec::Zstd] {
        let records = [sample(1_500, None, None), sample(2_000, None, None)];
        let mut bytes = batch(codec, &records).bytes.to_vec();
        header::set_max_timestamp(&mut bytes, TimestampMs(-1));
        let late = refusal(bytes, &policy);
        assert_eq!(late.kind(), ErrorKind::InvalidTimestamp);
    }
}

#[test]
fn clients_do_not_set_log_append_time() {
    let mut bytes = batch(Codec::None, &samples()).bytes.to_vec();
    header::set_log_append_time(&mut bytes, TimestampMs(5));
    assert_eq!(refusal(bytes, &POLICY), BatchError::ClientLogAppendTime);
}

#[test]
fn records_are_decoded_only_when_asked() {
    let garbage = changed(|bytes| bytes[61..].fill(0xff));
    assert!(validate_produced(garbage.clone().into(), &POLICY).is_ok());
    let checked = ProducePolicy {
        records_checked: true,
        ..POLICY
    };
    assert!(matches!(
        refusal(garbage, &checked),
        BatchError::BadRecord { index: 0, .. }
    ));
}

#[test]
fn a_record_that_is_too_large_is_refused_where_that_can_be_seen() {
    let mut large = sample(0, None, None);
    large.value = Some(vec![7; millstream_limits::RECORD_ENCODED_BYTES_MAX]);
    let policy = ProducePolicy {
        batch_bytes_max: 100 << 20,
        ..POLICY
    };
    let plain = batch(Codec::None, std::slice::from_ref(&large));
    let error = refusal(plain.bytes, &policy);
    assert!(
        matches!(error, BatchError::RecordTooLarge { index: 0, .. }),
        "{error}"
    );
    // A batch of the same size with smaller records passes.
    let mut half = large.clone();
    half.value = Some(vec![7; 9 << 20]);
    let two = batch(Codec::None, &[half.clone(), half]);
    assert!(validate_produced(two.bytes, &policy).is_ok());

    let packed = batch(Codec::Lz4, &[large]);
    assert!(validate_produced(packed.bytes.clone(), &policy).is_ok());
    let looking = ProducePolicy {
        records_checked: true,
        ..policy
    };
    let error = refusal(packed.bytes, &looking);
    assert!(
        matches!(error, BatchError::RecordTooLarge { .. }),
        "{error}"
    );
}
