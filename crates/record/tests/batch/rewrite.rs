//! Compaction and changes of codec.

use millstream_record::header::HEADER_BYTES;
use millstream_record::{
    Batch, BatchBuilder, Codec, LeaderEpoch, Offset, ProducerEpoch, ProducerId, RewriteOptions,
    Rewritten, Sequence, TimestampMs, TimestampType, emptied, header, recompress, rewrite,
};
use proptest::prelude::*;

use crate::common::{
    CAP_BYTES, any_codec, any_samples, batch, decode, fill, offsets, sample, to_sample,
};

const OPTIONS: RewriteOptions = RewriteOptions {
    delete_horizon: None,
    level: None,
    decompressed_bytes_max: CAP_BYTES,
};

fn five(codec: Codec) -> Batch {
    let builder = BatchBuilder::new(codec)
        .at(Offset(100), LeaderEpoch(3))
        .producer(ProducerId(7), ProducerEpoch(1), Sequence(40))
        .transactional();
    let samples = [
        sample(50, Some("a"), Some("1")),
        sample(40, Some("b"), Some("2")),
        sample(90, Some("a"), Some("3")),
        sample(60, Some("c"), None),
        sample(70, Some("d"), Some("5")),
    ];
    fill(builder, &samples)
}

fn changed(outcome: Rewritten) -> Batch {
    match outcome {
        Rewritten::Changed(batch) => {
            batch.check_crc().unwrap();
            assert_eq!(Batch::parse(batch.bytes.clone()).unwrap(), batch);
            batch
        }
        other => panic!("expected a new batch, got {other:?}"),
    }
}

#[test]
fn what_stays_keeps_its_place() {
    for codec in Codec::ALL {
        let before = five(codec);
        let after = changed(rewrite(&before, &OPTIONS, |record| record.offset.0 % 2 == 1).unwrap());
        assert_eq!(offsets(&after), [Offset(101), Offset(103)]);
        let (old, new) = (before.header, after.header);
        assert_eq!(new.base_offset, old.base_offset);
        assert_eq!(new.last_offset_delta, 4);
        assert_eq!(new.record_count, 2);
        assert_eq!(new.codec, codec);
        assert_eq!(new.leader_epoch, old.leader_epoch);
        assert_eq!(
            (new.producer_id, new.base_sequence),
            (old.producer_id, old.base_sequence)
        );
        assert_eq!(new.last_sequence(), old.last_sequence());
        assert!(new.transactional);
        assert_eq!(new.base_timestamp, TimestampMs(40));
        assert_eq!(new.max_timestamp, TimestampMs(60));
        let kept: Vec<_> = decode(&before)
            .into_iter()
            .filter(|r| r.offset.0 % 2 == 1)
            .collect();
        assert_eq!(decode(&after), kept);
    }
}

#[test]
fn keeping_all_or_nothing_makes_no_batch() {
    let batch = five(Codec::Zstd);
    assert_eq!(
        rewrite(&batch, &OPTIONS, |_| true),
        Ok(Rewritten::Unchanged)
    );
    assert_eq!(rewrite(&batch, &OPTIONS, |_| false), Ok(Rewritten::Emptied));
}

#[test]
fn a_kept_tombstone_gets_a_delete_horizon_once() {
    let first = RewriteOptions {
        delete_horizon: Some(TimestampMs(5_000)),
        ..OPTIONS
    };
    let before = five(Codec::Lz4);
    let after = changed(rewrite(&before, &first, |_| true).unwrap());
    assert_eq!(after.header.delete_horizon, Some(TimestampMs(5_000)));
    assert_eq!(after.header.base_timestamp, TimestampMs(5_000));
    assert_eq!(decode(&after), decode(&before));

    let later = RewriteOptions {
        delete_horizon: Some(TimestampMs(9_000)),
        ..OPTIONS
    };
    assert_eq!(rewrite(&after, &later, |_| true), Ok(Rewritten::Unchanged));
    let fewer = changed(rewrite(&after, &later, |record| record.value.is_none()).unwrap());
    assert_eq!(fewer.header.delete_horizon, Some(TimestampMs(5_000)));
    assert_eq!(decode(&fewer)[0].timestamp, TimestampMs(60));

    let without = rewrite(&before, &first, |record| record.value.is_some()).unwrap();
    assert_eq!(changed(without).header.delete_horizon, None);
}

#[test]
fn log_append_time_survives_compaction() {
    let mut bytes = five(Codec::None).bytes.to_vec();
    header::set_log_append_time(&mut bytes, TimestampMs(777));
    let before = Batch::parse(bytes.into()).unwrap();
    let after = changed(rewrite(&before, &OPTIONS, |record| record.offset == Offset(104)).unwrap());
    assert_eq!(after.header.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(after.header.max_timestamp, TimestampMs(777));
    assert_eq!(decode(&after)[0].timestamp, TimestampMs(777));
}

#[test]
fn an_emptied_batch_remembers_its_producer() {
    let before = five(Codec::Gzip);
    let after = emptied(&before.header);
    after.check_crc().unwrap();
    assert_eq!(Batch::parse(after.bytes.clone()).unwrap(), after);
    assert_eq!(after.bytes.len(), HEADER_BYTES);
    assert_eq!(after.header.last_offset(), Offset(104));
    assert_eq!(after.header.last_sequence(), Sequence(44));
    assert_eq!(after.header.max_timestamp, before.header.max_timestamp);
    assert_eq!(after.header.base_timestamp, TimestampMs::NONE);
    assert_eq!(decode(&after), []);
    assert_eq!(
        rewrite(&after, &OPTIONS, |_| true),
        Ok(Rewritten::Unchanged)
    );
}

#[test]
fn compaction_of_a_compacted_batch_goes_on() {
    let once = changed(rewrite(&five(Codec::Snappy), &OPTIONS, |r| r.offset.0 != 100).unwrap());
    let twice = changed(rewrite(&once, &OPTIONS, |r| r.offset.0 != 102).unwrap());
    assert_eq!(offsets(&twice), [Offset(101), Offset(103), Offset(104)]);
    assert_eq!(twice.header.base_offset, Offset(100));
}

proptest! {
    #[test]
    fn rewriting_is_filtering(codec in any_codec(), samples in any_samples(), pattern in any::<u32>()) {
        let before = batch(codec, &samples);
        let keep = |offset: Offset| pattern >> (offset.0 % 32) & 1 == 1;
        let expected: Vec<_> =
            decode(&before).into_iter().filter(|record| keep(record.offset)).collect();
        match rewrite(&before, &OPTIONS, |record| keep(record.offset)).unwrap() {
            Rewritten::Unchanged => prop_assert_eq!(expected.len(), samples.len()),
            Rewritten::Emptied => prop_assert!(expected.is_empty()),
            Rewritten::Changed(after) => prop_assert_eq!(decode(&after), expected),
        }
    }

    #[test]
    fn recompressing_changes_only_the_codec(from in any_codec(), to in any_codec(), samples in any_samples()) {
        let before = batch(from, &samples);
        let after = recompress(&before, to.into(), CAP_BYTES).unwrap();
        after.check_crc().unwrap();
        prop_assert_eq!(after.header.codec, to);
        prop_assert_eq!(decode(&after).iter().map(to_sample).collect::<Vec<_>>(), samples);
        let mut header = after.header;
        header.codec = from;
        header.size_bytes = before.header.size_bytes;
        header.crc = before.header.crc;
        prop_assert_eq!(header, before.header);
    }
}
