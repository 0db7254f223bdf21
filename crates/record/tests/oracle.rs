//! The same batches through another implementation, `kafka-protocol`, in both directions.
//!
//! That crate keeps a record's headers in a map, so header names are unique here; and it needs UTF-8 names.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use millstream_record::{
    BatchBuilder, Batches, Codec, Header, LeaderEpoch, NewRecord, Offset, ProducerEpoch,
    ProducerId, Sequence, TimestampMs,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const CAP_BYTES: usize = millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX;

const CODECS: [(Codec, Compression); 5] = [
    (Codec::None, Compression::None),
    (Codec::Gzip, Compression::Gzip),
    (Codec::Snappy, Compression::Snappy),
    (Codec::Lz4, Compression::Lz4),
    (Codec::Zstd, Compression::Zstd),
];

type HeaderMap = std::collections::BTreeMap<String, Option<Vec<u8>>>;

#[derive(Debug, Clone)]
struct Sample {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: HeaderMap,
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let bytes = |length| proptest::option::of(vec(any::<u8>(), 0..length));
    let headers = btree_map("[a-zé]{0,8}", bytes(20), 0..4);
    let sample = (0..1i64 << 42, bytes(30), bytes(3000), headers).prop_map(
        |(timestamp, key, value, headers)| Sample {
            timestamp,
            key,
            value,
            headers,
        },
    );
    vec(sample, 1..12)
}

fn theirs(samples: &[Sample]) -> Vec<TheirRecord> {
    let record = |(at, sample): (i64, &Sample)| TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 5,
        producer_id: 1234,
        producer_epoch: 6,
        timestamp_type: TimestampType::Creation,
        offset: 1000 + at,
        sequence: 40 + at as i32,
        timestamp: sample.timestamp,
        key: sample.key.clone().map(Bytes::from),
        value: sample.value.clone().map(Bytes::from),
        headers: sample
            .headers
            .iter()
            .map(|(key, value)| {
                (
                    StrBytes::from_string(key.clone()),
                    value.clone().map(Bytes::from),
                )
            })
            .collect::<IndexMap<_, _>>(),
    };
    (0..).zip(samples).map(record).collect()
}

fn ours(codec: Codec, samples: &[Sample]) -> Bytes {
    let mut builder = BatchBuilder::new(codec)
        .at(Offset(1000), LeaderEpoch(5))
        .producer(ProducerId(1234), ProducerEpoch(6), Sequence(40));
    for sample in samples {
        let headers: Vec<_> = sample
            .headers
            .iter()
            .map(|(key, value)| Header {
                key: key.as_bytes(),
                value: value.as_deref(),
            })
            .collect();
        builder.append(&NewRecord {
            timestamp: TimestampMs(sample.timestamp),
            key: sample.key.as_deref(),
            value: sample.value.as_deref(),
            headers: &headers,
        });
    }
    builder.build().unwrap().bytes
}

proptest! {
    #[test]
    fn they_read_what_we_write(samples in samples()) {
        for (codec, _) in CODECS {
            let mut bytes = ours(codec, &samples);
            let decoded = RecordBatchDecoder::decode(&mut bytes).unwrap();
            prop_assert_eq!(decoded.records, theirs(&samples), "{}", codec);
        }
    }

    #[test]
    fn we_read_what_they_write(samples in samples()) {
        for (codec, compression) in CODECS {
            let mut encoded = BytesMut::new();
            let options = RecordEncodeOptions { version: 2, compression };
            RecordBatchEncoder::encode(&mut encoded, &theirs(&samples), &options).unwrap();
            let mut at = 0;
            for batch in Batches::new(encoded.freeze()) {
                let batch = batch.unwrap();
                batch.check_crc().unwrap();
                prop_assert_eq!(batch.header.codec, codec);
                for record in batch.records(CAP_BYTES) {
                    let record = record.unwrap();
                    let sample = &samples[at];
                    prop_assert_eq!(record.offset, Offset(1000 + at as i64));
                    prop_assert_eq!(record.timestamp.0, sample.timestamp);
                    prop_assert_eq!(record.key.as_deref(), sample.key.as_deref());
                    prop_assert_eq!(record.value.as_deref(), sample.value.as_deref());
                    let headers: HeaderMap = record
                        .headers
                        .iter()
                        .map(|header| {
                            let key = String::from_utf8(header.key.to_vec()).unwrap();
                            (key, header.value.map(<[u8]>::to_vec))
                        })
                        .collect();
                    prop_assert_eq!(&headers, &sample.headers);
                    at += 1;
                }
            }
            prop_assert_eq!(at, samples.len());
        }
    }

    #[test]
    fn uncompressed_batches_are_the_same_bytes(samples in samples()) {
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut encoded, &theirs(&samples), &options).unwrap();
        let bytes = ours(Codec::None, &samples);
        // They count timestamps from the smallest, we from the first as Kafka does.
        if samples.iter().all(|sample| sample.timestamp >= samples[0].timestamp) {
            prop_assert_eq!(bytes, encoded.freeze());
        }
    }
}
