//! What goes into a batch comes out of it, whatever the codec.

use millstream_record::{
    Batch, BatchBuilder, Batches, Codec, ErrorKind, Header, Headers, LeaderEpoch, Offset,
    ProducerEpoch, ProducerId, Sequence,
};
use proptest::prelude::*;

use crate::common::{CAP_BYTES, any_codec, any_samples, batch, decode, fill, sample, to_sample};

proptest! {
    #[test]
    fn records_can_be_passed_over(
        codec in any_codec(),
        samples in any_samples(),
        skips in proptest::collection::vec(0..6_i64, 0..10),
    ) {
        let batch = batch(codec, &samples);
        let (mut records, mut model) = (batch.records(CAP_BYTES), decode(&batch).into_iter().peekable());
        let mut at = Offset(0);
        for skip in skips {
            at = Offset(at.0 + skip);
            records.skip_before(at);
            // Only a plain batch is passed over.
            while codec == Codec::None && model.next_if(|record| record.offset < at).is_some() {}
            prop_assert_eq!(records.next().transpose().unwrap(), model.next());
        }
        let rest = records.collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(rest, model.collect::<Vec<_>>());
    }

    #[test]
    fn records_survive(codec in any_codec(), samples in any_samples()) {
        let batch = batch(codec, &samples);
        batch.check_crc().unwrap();
        let records = decode(&batch);
        prop_assert_eq!(records.iter().map(to_sample).collect::<Vec<_>>(), samples.clone());
        for (at, record) in (0..).zip(&records) {
            prop_assert_eq!(record.offset, Offset(at));
        }
        let latest = samples.iter().map(|sample| sample.timestamp).max();
        prop_assert_eq!(Some(batch.header.max_timestamp.0), latest);
        prop_assert_eq!(batch.header.record_count as usize, samples.len());
        prop_assert_eq!(Batch::parse(batch.bytes.clone()).unwrap(), batch);
    }

    #[test]
    fn concatenated_batches_come_apart_again(
        parts in prop::collection::vec((any_codec(), any_samples()), 0..4),
    ) {
        let batches: Vec<_> = parts.iter().map(|(codec, samples)| batch(*codec, samples)).collect();
        let joined: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
        let found: Vec<_> = Batches::new(joined.into()).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(found, batches);
    }
}

#[test]
fn placed_batches_count_offsets_from_their_base() {
    let builder = BatchBuilder::new(Codec::Lz4)
        .at(Offset(1_000_000_000_000), LeaderEpoch(7))
        .producer(ProducerId(42), ProducerEpoch(3), Sequence(i32::MAX));
    let batch = fill(
        builder,
        &[sample(5, Some("a"), None), sample(9, None, Some("b"))],
    );
    let header = batch.header;
    assert_eq!(header.last_offset(), Offset(1_000_000_000_001));
    assert_eq!(header.next_offset(), Offset(1_000_000_000_002));
    assert_eq!(header.last_sequence(), Sequence(0));
    assert_eq!(header.leader_epoch, LeaderEpoch(7));
    assert_eq!(decode(&batch)[1].offset, Offset(1_000_000_000_001));
}

#[test]
fn plain_records_share_the_batch_memory() {
    let batch = batch(Codec::None, &[sample(0, Some("key"), Some("value"))]);
    let record = decode(&batch).remove(0);
    let value = record.value.unwrap();
    let range = batch.bytes.as_ptr_range();
    assert!(range.contains(&value.as_ptr()));
}

#[test]
fn headers_keep_order_duplicates_and_nulls() {
    let list = [
        Header {
            key: b"trace",
            value: Some(b"1"),
        },
        Header {
            key: b"trace",
            value: None,
        },
        Header {
            key: b"",
            value: Some(b""),
        },
    ];
    let headers = Headers::new(&list);
    assert_eq!(headers.len(), 3);
    assert_eq!(headers.iter().collect::<Vec<_>>(), list);
    assert_eq!(headers.get(b"trace"), Some(list[0]));
    assert_eq!(headers.get(b"other"), None);
    assert!(Headers::default().is_empty());
}

#[test]
fn a_builder_without_records_gives_no_batch() {
    assert_eq!(BatchBuilder::new(Codec::Zstd).build(), None);
}

#[test]
fn records_beyond_the_bound_are_refused_whatever_compresses_them() {
    let mut large = sample(0, Some("k"), None);
    large.value = Some(vec![0; millstream_limits::RECORD_ENCODED_BYTES_MAX - 20]);
    for codec in Codec::ALL {
        let small = sample(0, Some("k"), Some("v"));
        let fits = batch(codec, &[small.clone(), large.clone()]);
        assert_eq!(fits.records(CAP_BYTES).filter_map(Result::ok).count(), 2);

        let mut larger = large.clone();
        larger.key = Some(vec![0; 20]);
        let exceeds = batch(codec, &[small, larger]);
        let mut records = exceeds.records(CAP_BYTES);
        assert!(records.next().unwrap().is_ok());
        let error = records.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{codec}: {error}");
        assert_eq!(error.record_index(), Some(1));
        assert!(error.to_string().contains("split it"), "{error}");
        assert!(records.next().is_none());
    }
}

#[test]
fn sixteen_mebibyte_record_survives_every_codec() {
    let mut large = sample(0, Some("k"), None);
    large.value = Some(
        (0..millstream_limits::RECORD_BYTES_MAX)
            .map(|at| ((at * at) >> 7) as u8)
            .collect(),
    );
    for codec in Codec::ALL {
        let batch = batch(codec, std::slice::from_ref(&large));
        let mut records = batch.records(CAP_BYTES);
        let record = records.next().unwrap().unwrap();
        assert_eq!(record.value.as_deref(), large.value.as_deref(), "{codec}");
        assert!(records.next().is_none());
    }
}
