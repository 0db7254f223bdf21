use proptest::prelude::*;

use super::*;

fn remember(key: &str, now: i64, life: u64) -> Remember {
    let now = TimestampMs(now);
    Remember {
        topic: TopicId::from_random([7; 16]),
        key: IdempotencyKey::new(key.as_bytes().to_vec().into(), [b"body".as_slice()]).unwrap(),
        bucket: Bucket::of(now),
        now,
        life,
    }
}

/// The value of an entry as it is in the state table.
fn value(mark: &Mark, offset: i64) -> Bytes {
    [&mark.value[..], &offset.to_be_bytes()].concat().into()
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        now in 0..i64::MAX / 2,
        life in any::<u64>(),
        batches in prop::collection::vec((any::<u32>(), 0..i64::MAX / 2), 1..5),
        records in prop::collection::vec((any::<prop::sample::Index>(), any::<i64>()), 0..50),
    ) {
        let partitions: Vec<u32> = batches.iter().map(|(partition, _)| *partition).collect();
        let places: Vec<_> = records
            .iter()
            .map(|(batch, time)| BatchPlace {
                batch: batch.index(batches.len()) as u32,
                timestamp: TimestampMs(*time),
            })
            .collect();
        let remember = remember("k", now, life);
        let marks = remember.marks(&partitions, &places);
        prop_assert_eq!(marks.len(), batches.len());

        let values: Vec<_> = marks.iter().zip(&batches).map(|(mark, (_, offset))| value(mark, *offset)).collect();
        let known = Known::read(&values[0]).unwrap();
        prop_assert_eq!(known.at, TimestampMs(now));
        prop_assert_eq!(known.fingerprint, remember.key.fingerprint);
        let offsets: Vec<_> = values.iter().map(|value| offset_of(value).unwrap()).collect();
        let published = known.published(&offsets).unwrap();

        let mut next: Vec<i64> = batches.iter().map(|(_, offset)| *offset).collect();
        for (place, published) in places.iter().zip(&published) {
            let batch = place.batch as usize;
            prop_assert_eq!(published.partition, partitions[batch]);
            prop_assert_eq!(published.timestamp, place.timestamp);
            prop_assert_eq!(published.offset, Offset(next[batch]));
            next[batch] += 1;
        }
        prop_assert_eq!(published.len(), places.len());
    }

    #[test]
    fn what_is_damaged_is_refused(cut in 0usize..200, noise in prop::collection::vec(any::<u8>(), 0..100)) {
        let place = BatchPlace { batch: 1, timestamp: TimestampMs(5) };
        let marks = remember("k", 1, 0).marks(&[0, 1], &[place; 3]);
        let whole = value(&marks[0], 3);
        if cut < whole.len() {
            prop_assert!(Known::read(&whole[..cut]).is_err());
        }
        let _ = Known::read(&noise);
    }
}

#[test]
fn it_holds_for_the_window_and_for_its_life() {
    let known = |at, life| Known {
        at: TimestampMs(at),
        fingerprint: 0,
        life,
        partitions: Vec::new(),
        places: Vec::new(),
    };
    let end = 1_000 + IDEMPOTENCY_WINDOW_MS;
    assert!(known(1_000, 0).holds(TimestampMs(end - 1), 0));
    assert!(!known(1_000, 0).holds(TimestampMs(end), 0));
    assert!(
        known(1_000, 0).holds(TimestampMs(0), 0),
        "a clock that was set back"
    );
    assert!(known(1_000, 3).holds(TimestampMs(1_000), 3));
    assert!(!known(1_000, 3).holds(TimestampMs(1_000), 4));
}

#[test]
fn a_key_of_the_window_is_in_one_of_two_buckets() {
    for at in [0, 1, IDEMPOTENCY_WINDOW_MS - 1, IDEMPOTENCY_WINDOW_MS] {
        for later in [0, 1, IDEMPOTENCY_WINDOW_MS - 1] {
            let (then, now) = (
                Bucket::of(TimestampMs(at)),
                Bucket::of(TimestampMs(at + later)),
            );
            assert!(now.0 - then.0 <= 1, "{at} {later}");
        }
    }
}

#[test]
fn fingerprints_are_for_good() {
    let of = |parts: &[&str]| fingerprint(parts.iter().map(|part| part.as_bytes()));
    assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    assert_ne!(of(&["a"]), of(&["a", ""]));
    assert_eq!(of(&["a", "b"]), FINGERPRINT_OF_A_B);
}

const FINGERPRINT_OF_A_B: u128 = 38_480_611_583_376_098_269_698_755_529_493_178_899;
