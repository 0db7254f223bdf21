//! Reading, refusing and patching headers.

use millstream_record::header::{self, HEADER_BYTES};
use millstream_record::{
    Batch, BatchBuilder, BatchError, BatchHeader, Batches, Codec, ErrorKind, LeaderEpoch, Offset,
    ProducerEpoch, ProducerId, Sequence, TimestampMs, TimestampType,
};

use crate::common::{batch, fill, sample};

fn two_records() -> Vec<u8> {
    batch(
        Codec::None,
        &[
            sample(10, Some("a"), Some("1")),
            sample(20, Some("b"), Some("2")),
        ],
    )
    .bytes
    .to_vec()
}

fn with(at: usize, bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let mut batch = two_records();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    BatchHeader::parse(&batch)
}

#[test]
fn every_field_is_where_kafka_has_it() {
    let mut bytes: Vec<u8> = (0..HEADER_BYTES as u8).collect();
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&0b0111_1100i16.to_be_bytes());
    // No more records than offsets.
    bytes[57] = 0x01;
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.base_offset, Offset(0x0001_0203_0405_0607));
    assert_eq!(header.size_bytes, 0x0809_0a0b + 12);
    assert_eq!(header.leader_epoch, LeaderEpoch(0x0c0d_0e0f));
    assert_eq!(header.crc, 0x1112_1314);
    assert_eq!(header.codec, Codec::Zstd);
    assert_eq!(header.timestamp_type, TimestampType::LogAppendTime);
    assert!(header.transactional && header.control);
    assert_eq!(header.last_offset_delta, 0x1718_191a);
    assert_eq!(header.base_timestamp, TimestampMs(0x1b1c_1d1e_1f20_2122));
    assert_eq!(header.delete_horizon, Some(header.base_timestamp));
    assert_eq!(header.max_timestamp, TimestampMs(0x2324_2526_2728_292a));
    assert_eq!(header.producer_id, ProducerId(0x2b2c_2d2e_2f30_3132));
    assert_eq!(header.producer_epoch, ProducerEpoch(0x3334));
    assert_eq!(header.base_sequence, Sequence(0x3536_3738));
    assert_eq!(header.record_count, 0x013a_3b3c);
}

#[test]
fn encoding_gives_back_what_was_parsed() {
    let builder = BatchBuilder::new(Codec::Snappy)
        .producer(ProducerId(9), ProducerEpoch(1), Sequence(5))
        .transactional()
        .at(Offset(77), LeaderEpoch(2));
    let batch = fill(builder, &[sample(3, None, None)]);
    assert_eq!(batch.header.encode()[..], batch.bytes[..HEADER_BYTES]);
}

#[test]
fn short_input_is_truncated() {
    let batch = two_records();
    for length in [0, 1, 16, 17, 60] {
        let error = BatchHeader::parse(&batch[..length]).unwrap_err();
        assert!(
            matches!(error, BatchError::Truncated { .. }),
            "{length}: {error}"
        );
    }
    assert!(BatchHeader::parse(&batch[..61]).is_ok());
}

#[test]
fn impossible_fields_are_refused() {
    assert_eq!(
        with(8, &48i32.to_be_bytes()),
        Err(BatchError::LengthTooSmall(48))
    );
    assert_eq!(
        with(8, &(-1i32).to_be_bytes()),
        Err(BatchError::LengthTooSmall(-1))
    );
    assert_eq!(
        with(8, &i32::MIN.to_be_bytes()),
        Err(BatchError::LengthTooSmall(i32::MIN))
    );
    assert_eq!(with(16, &[0]), Err(BatchError::OldFormat(0)));
    assert_eq!(with(16, &[1]), Err(BatchError::OldFormat(1)));
    assert_eq!(with(16, &[3]), Err(BatchError::UnknownFormat(3)));
    assert_eq!(with(16, &[0xff]), Err(BatchError::UnknownFormat(-1)));
    for codec in 5..8 {
        assert_eq!(with(22, &[codec]), Err(BatchError::UnknownCodec(codec)));
    }
    let bad = |field, value| Err(BatchError::BadField { field, value });
    assert_eq!(with(0, &(-5i64).to_be_bytes()), bad("base offset", -5));
    assert_eq!(
        with(0, &i64::MAX.to_be_bytes()),
        bad("base offset", i64::MAX)
    );
    assert_eq!(
        with(23, &(-1i32).to_be_bytes()),
        bad("last offset delta", -1)
    );
    assert_eq!(with(57, &(-1i32).to_be_bytes()), bad("record count", -1));
    assert_eq!(
        with(57, &3i32.to_be_bytes()),
        Err(BatchError::CountMismatch {
            count: 3,
            offsets: 2
        })
    );
}

#[test]
fn largest_length_does_not_overflow() {
    let header = with(8, &i32::MAX.to_be_bytes()).unwrap();
    assert_eq!(header.size_bytes, i32::MAX as u32 + 12);
}

#[test]
fn offset_and_epoch_change_without_the_checksum() {
    let mut bytes = two_records();
    header::set_base_offset(&mut bytes, Offset(500));
    header::set_leader_epoch(&mut bytes, LeaderEpoch(4));
    let batch = Batch::parse(bytes.into()).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(batch.header.base_offset, Offset(500));
    assert_eq!(batch.header.leader_epoch, LeaderEpoch(4));
}

#[test]
fn log_append_time_replaces_every_timestamp() {
    let mut bytes = two_records();
    header::set_log_append_time(&mut bytes, TimestampMs(99));
    let batch = Batch::parse(bytes.into()).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(batch.header.timestamp_type, TimestampType::LogAppendTime);
    let timestamps: Vec<_> = crate::common::decode(&batch)
        .iter()
        .map(|r| r.timestamp.0)
        .collect();
    assert_eq!(timestamps, [99, 99]);
}

#[test]
fn a_changed_header_is_sealed_over_the_same_records() {
    let before = batch(
        Codec::Zstd,
        &[sample(10, None, Some("1")), sample(20, None, Some("2"))],
    );
    let mut header = before.header;
    header.producer_id = ProducerId(8);
    header.producer_epoch = ProducerEpoch(1);
    header.base_sequence = Sequence(30);
    let bytes = [
        &header.encode_over(&before.payload())[..],
        &before.payload(),
    ]
    .concat();
    let after = Batch::parse(bytes.into()).unwrap();
    after.check_crc().unwrap();
    assert!(after.header.has_producer());
    assert_eq!(after.header.last_sequence(), Sequence(31));
    assert_eq!(after.payload(), before.payload());
}

#[test]
fn iteration_ends_at_the_first_problem_and_keeps_the_rest() {
    let mut bytes = two_records();
    let first = bytes.len();
    bytes.extend_from_slice(&two_records()[..30]);
    let mut batches = Batches::new(bytes.into());
    assert!(batches.next().unwrap().is_ok());
    let error = batches.next().unwrap().unwrap_err();
    assert_eq!(
        error,
        BatchError::Truncated {
            needed_bytes: 61,
            available_bytes: 30
        }
    );
    assert!(batches.next().is_none());
    assert_eq!(batches.rest().len(), 30);
    assert!(first > 61);
}

#[test]
fn a_flipped_bit_is_seen() {
    for at in 21..two_records().len() {
        let mut bytes = two_records();
        bytes[at] ^= 0x10;
        let Ok(batch) = Batch::parse(bytes.into()) else {
            continue;
        };
        assert_eq!(
            batch.check_crc().unwrap_err().kind(),
            ErrorKind::Corrupt,
            "byte {at}"
        );
    }
}

#[test]
fn codecs_have_kafkas_names() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Codec::from_name("producer"), None);
}
