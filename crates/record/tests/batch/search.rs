//! Finding records by time.

use millstream_record::{Batch, BatchBuilder, Codec, LeaderEpoch, Offset, TimestampMs, header};
use proptest::prelude::*;

use crate::common::{CAP_BYTES, any_codec, any_samples, batch, decode, fill, sample};

fn timed(timestamps: &[i64]) -> Batch {
    let samples: Vec<_> = timestamps
        .iter()
        .map(|&time| sample(time, None, None))
        .collect();
    fill(
        BatchBuilder::new(Codec::Zstd).at(Offset(10), LeaderEpoch(0)),
        &samples,
    )
}

#[test]
fn the_first_record_not_earlier_is_found() {
    let batch = timed(&[50, 30, 70, 60, 70]);
    let find = |from| batch.first_since(TimestampMs(from), CAP_BYTES).unwrap();
    assert_eq!(find(0), Some((Offset(10), TimestampMs(50))));
    assert_eq!(find(51), Some((Offset(12), TimestampMs(70))));
    assert_eq!(find(70), Some((Offset(12), TimestampMs(70))));
    assert_eq!(find(71), None);
}

#[test]
fn the_earliest_of_equal_max_timestamps_is_found() {
    let found = timed(&[50, 70, 60, 70])
        .first_at_max_timestamp(CAP_BYTES)
        .unwrap();
    assert_eq!(found, Some((Offset(11), TimestampMs(70))));
}

#[test]
fn log_append_time_is_the_same_for_all() {
    let mut bytes = timed(&[50, 70]).bytes.to_vec();
    header::set_log_append_time(&mut bytes, TimestampMs(99));
    let batch = Batch::parse(bytes.into()).unwrap();
    let first = Some((Offset(10), TimestampMs(99)));
    assert_eq!(batch.first_at_max_timestamp(CAP_BYTES).unwrap(), first);
    assert_eq!(
        batch.first_since(TimestampMs(99), CAP_BYTES).unwrap(),
        first
    );
    assert_eq!(
        batch.first_since(TimestampMs(100), CAP_BYTES).unwrap(),
        None
    );
}

proptest! {
    #[test]
    fn search_agrees_with_a_scan(codec in any_codec(), samples in any_samples(), from in any::<i64>()) {
        let batch = batch(codec, &samples);
        let expected = decode(&batch)
            .iter()
            .find(|record| record.timestamp.0 >= from)
            .map(|record| (record.offset, record.timestamp));
        prop_assert_eq!(batch.first_since(TimestampMs(from), CAP_BYTES).unwrap(), expected);
    }
}
