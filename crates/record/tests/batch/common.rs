//! Records to test with, and batches made of them.

use millstream_record::{
    Batch, BatchBuilder, Codec, Header, NewRecord, Offset, Record, TimestampMs,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A record that owns what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// More than any batch in these tests holds.
pub(crate) const CAP_BYTES: usize = millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX;

/// A plain record.
pub(crate) fn sample(timestamp: i64, key: Option<&str>, value: Option<&str>) -> Sample {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Sample {
        timestamp,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: Vec::new(),
    }
}

/// Adds `samples` to `builder` and builds.
pub(crate) fn fill(mut builder: BatchBuilder, samples: &[Sample]) -> Batch {
    for sample in samples {
        let headers: Vec<_> = sample
            .headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        let record = NewRecord {
            timestamp: TimestampMs(sample.timestamp),
            key: sample.key.as_deref(),
            value: sample.value.as_deref(),
            headers: &headers,
        };
        let expected = builder.size_bytes_with(&record);
        builder.append(&record);
        assert_eq!(builder.size_bytes(), expected);
    }
    builder.build().expect("there are samples")
}

/// A batch of `samples` at offset 0.
pub(crate) fn batch(codec: Codec, samples: &[Sample]) -> Batch {
    fill(BatchBuilder::new(codec), samples)
}

/// All records of a batch that is in order.
pub(crate) fn decode(batch: &Batch) -> Vec<Record> {
    batch.records(CAP_BYTES).collect::<Result<_, _>>().unwrap()
}

/// What the record was made from.
pub(crate) fn to_sample(record: &Record) -> Sample {
    let owned = |bytes: &bytes::Bytes| bytes.to_vec();
    Sample {
        timestamp: record.timestamp.0,
        key: record.key.as_ref().map(owned),
        value: record.value.as_ref().map(owned),
        headers: record
            .headers
            .iter()
            .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

pub(crate) fn offsets(batch: &Batch) -> Vec<Offset> {
    decode(batch).iter().map(|record| record.offset).collect()
}

pub(crate) fn any_codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(Codec::ALL.to_vec())
}

/// Records with everything that is unusual but legal: null and empty keys and values, headers that repeat, have no
/// name or no value, timestamps from end to end.
pub(crate) fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let small = || vec(any::<u8>(), 0..40);
    let value = prop_oneof![
        4 => small(),
        1 => (any::<u8>(), 0..70_000usize).prop_map(|(byte, length)| std::vec![byte; length]),
    ];
    let timestamp = prop_oneof![
        8 => 1_700_000_000_000..1_800_000_000_000i64,
        1 => Just(-1),
        1 => Just(i64::MAX),
        1 => Just(0),
    ];
    let name = prop_oneof![Just(b"same".to_vec()), small()];
    let headers = vec((name, proptest::option::of(small())), 0..5);
    let sample = (
        timestamp,
        proptest::option::of(small()),
        proptest::option::of(value),
        headers,
    )
        .prop_map(|(timestamp, key, value, headers)| Sample {
            timestamp,
            key,
            value,
            headers,
        });
    vec(sample, 1..20)
}
