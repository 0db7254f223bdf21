//! Foreign shapes of compressed data, and data that is made to do harm.

use std::io::Write;

use millstream_record::header::{HEADER_BYTES, seal};
use millstream_record::{Batch, BatchBuilder, BatchError, Codec, Compression, ErrorKind};

use crate::common::{CAP_BYTES, Sample, batch, decode, fill, sample, to_sample};

/// `plain` with its payload replaced by `payload`, which is said to be compressed with `codec`.
fn with_payload(plain: &Batch, codec: Codec, payload: &[u8]) -> Batch {
    let mut bytes = plain.bytes[..HEADER_BYTES].to_vec();
    bytes.extend_from_slice(payload);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = codec as u8;
    seal(&mut bytes);
    Batch::parse(bytes.into()).unwrap()
}

fn plain() -> (Vec<Sample>, Batch) {
    let samples: Vec<_> = (0..3000)
        .map(|at| sample(at, Some("key"), Some(&format!("value {at}"))))
        .collect();
    let batch = batch(Codec::None, &samples);
    (samples, batch)
}

#[test]
fn raw_snappy_is_read() {
    let (samples, plain) = plain();
    let payload = snap::raw::Encoder::new()
        .compress_vec(&plain.payload())
        .unwrap();
    let batch = with_payload(&plain, Codec::Snappy, &payload);
    assert_eq!(
        decode(&batch).iter().map(to_sample).collect::<Vec<_>>(),
        samples
    );
}

#[test]
fn snappy_is_written_in_xerial_framing() {
    let batch = batch(Codec::Snappy, &[sample(0, None, Some("x"))]);
    assert_eq!(&batch.payload()[..8], b"\x82SNAPPY\0");
}

#[test]
fn gzip_in_several_members_is_read() {
    let (samples, plain) = plain();
    let mut payload = Vec::new();
    for part in plain.payload().chunks(10_000) {
        let mut encoder = flate2::write::GzEncoder::new(&mut payload, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    let batch = with_payload(&plain, Codec::Gzip, &payload);
    assert_eq!(decode(&batch).len(), samples.len());
}

#[test]
fn lz4_with_linked_blocks_and_checksums_is_read() {
    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
    let (samples, plain) = plain();
    let info = FrameInfo::new()
        .block_mode(BlockMode::Linked)
        .content_checksum(true)
        .block_checksums(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&plain.payload()).unwrap();
    let batch = with_payload(&plain, Codec::Lz4, &encoder.finish().unwrap());
    assert_eq!(decode(&batch).len(), samples.len());
}

#[test]
fn levels_are_taken_and_clamped() {
    let (samples, _) = plain();
    for codec in Codec::ALL {
        for level in [i32::MIN, -1, 1, 9, 19, i32::MAX] {
            let compression = Compression {
                codec,
                level: Some(level),
            };
            let batch = fill(BatchBuilder::new(compression), &samples[..50]);
            assert_eq!(decode(&batch).len(), 50, "{codec} at {level}");
        }
    }
}

#[test]
fn a_bomb_is_refused() {
    let bomb = [Sample {
        value: Some(vec![0; 8 << 20]),
        ..sample(0, None, None)
    }];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = batch(codec, &bomb);
        assert!(
            batch.bytes.len() < 512 << 10,
            "{codec} makes {} bytes of it",
            batch.bytes.len()
        );
        let error = batch.records(1 << 20).next().unwrap().unwrap_err();
        assert_eq!(error, BatchError::Bomb { max_bytes: 1 << 20 }, "{codec}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(batch.records(9 << 20).all(|record| record.is_ok()));
    }
}

#[test]
fn the_bound_is_exact() {
    let (_, plain) = plain();
    let size_bytes = plain.payload().len();
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = millstream_record::recompress(&plain, codec.into(), CAP_BYTES).unwrap();
        assert!(
            batch.records(size_bytes).all(|record| record.is_ok()),
            "{codec}"
        );
        let last = batch.records(size_bytes - 1).last().unwrap();
        assert_eq!(
            last,
            Err(BatchError::Bomb {
                max_bytes: size_bytes - 1
            }),
            "{codec}"
        );
    }
}

#[test]
fn snappy_that_claims_gigabytes_is_refused_before_they_are_reserved() {
    let (_, plain) = plain();
    // A length of 4 GiB less one, then nothing to make it of.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let raw = with_payload(&plain, Codec::Snappy, &claim);
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06".to_vec();
    framed.extend_from_slice(&claim);
    let framed = with_payload(&plain, Codec::Snappy, &framed);
    for batch in [raw, framed] {
        assert!(batch.records(CAP_BYTES).next().unwrap().is_err());
        let error = batch.records(usize::MAX >> 1).next().unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                BatchError::Decompression {
                    codec: "snappy",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn empty_and_cut_off_payloads_are_errors() {
    let (samples, plain) = plain();
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let whole = batch(codec, &samples).payload();
        for length in [0, 1, 7, whole.len() / 2, whole.len() - 9] {
            let cut = with_payload(&plain, codec, &whole[..length]);
            let last = cut.records(CAP_BYTES).last().unwrap();
            assert!(last.is_err(), "{codec} of {length} bytes");
        }
    }
}

#[test]
fn payload_that_is_not_what_it_says_is_an_error() {
    let (_, plain) = plain();
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = with_payload(&plain, codec, &plain.payload());
        let error = batch.records(CAP_BYTES).next().unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                BatchError::Decompression { .. } | BatchError::Bomb { .. }
            ),
            "{codec}: {error}"
        );
    }
}

#[test]
fn bytes_after_the_last_record_are_an_error() {
    let (samples, plain) = plain();
    let mut longer = plain.payload().to_vec();
    longer.push(0);
    let longer = with_payload(&plain, Codec::None, &longer);
    assert!(longer.records(CAP_BYTES).last().unwrap().is_err());
    assert_eq!(longer.records(CAP_BYTES).flatten().count(), samples.len());
    let zipped = millstream_record::recompress(&longer, Codec::Zstd.into(), CAP_BYTES);
    assert!(zipped.is_err());
}

#[test]
fn memory_grows_with_what_is_there_not_with_what_is_claimed() {
    let (_, plain) = plain();
    // One record that claims 16 MiB, as it may, and has four bytes.
    let mut payload = vec![0x80, 0x80, 0x80, 0x10];
    payload.extend_from_slice(b"four");
    for codec in Codec::ALL {
        let claim = with_payload(&plain, Codec::None, &payload);
        let compressed = match codec {
            Codec::None => claim,
            Codec::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&payload).unwrap();
                with_payload(&plain, codec, &encoder.finish().unwrap())
            }
            Codec::Snappy => {
                let raw = snap::raw::Encoder::new().compress_vec(&payload).unwrap();
                with_payload(&plain, codec, &raw)
            }
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(&payload).unwrap();
                with_payload(&plain, codec, &encoder.finish().unwrap())
            }
            Codec::Zstd => with_payload(&plain, codec, &zstd::encode_all(&payload[..], 1).unwrap()),
        };
        let error = compressed.records(CAP_BYTES).next().unwrap().unwrap_err();
        assert!(
            matches!(error, BatchError::BadRecord { index: 0, .. }),
            "{codec}: {error}"
        );
    }
}

#[test]
fn what_a_batch_mentions_is_found_wherever_it_stands() {
    let rare = b"millstream.id";
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let mentions = |samples: &[Sample]| batch(codec, samples).mentions(rare, CAP_BYTES);
        // Across the chunks that are decompressed at a time, too.
        for padding in (65_536 - 40)..(65_536 + 10) {
            let mut holder = sample(0, None, Some(&"x".repeat(padding)));
            assert_eq!(mentions(&[holder.clone()]), Ok(false));
            holder.headers = vec![(rare.to_vec(), None)];
            assert_eq!(mentions(&[holder]), Ok(true), "{codec:?} {padding}");
        }
    }
    let whole = batch(Codec::Gzip, &[sample(0, None, Some(&"x".repeat(10_000)))]);
    let bomb = whole.mentions(rare, 1_000).unwrap_err();
    assert!(matches!(bomb, BatchError::Bomb { .. }), "{bomb:?}");
}
