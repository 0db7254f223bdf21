//! What must hold of any bytes, for property tests and the fuzzer.

use bytes::Bytes;

use crate::{
    Batch, Batches, Compression, ProducePolicy, Record, RewriteOptions, Rewritten, TimestampBounds,
    TimestampMs, header, recompress, rewrite, validate_produced,
};

/// Small, so that a bomb ends soon.
const CAP_BYTES: usize = 4 << 20;

/// Does everything that may be done with batches from outside. Any error is right; a panic, a hang or a contradiction
/// between two answers never is.
///
/// # Panics
///
/// If one of those happens.
pub fn check_batches(bytes: &Bytes) {
    for batch in Batches::new(bytes.clone()).flatten() {
        check_batch(&batch);
    }
}

fn check_batch(batch: &Batch) {
    check_validation(batch);
    let records: Result<Vec<Record>, _> = batch.records(CAP_BYTES).collect();
    check_search(batch);
    let everything = rewrite(batch, &OPTIONS, |_| true);
    let plain = recompress(batch, Compression::NONE, CAP_BYTES);
    let Ok(records) = records else {
        assert!(
            everything.is_err(),
            "what cannot be read cannot be rewritten"
        );
        return;
    };
    for record in &records {
        assert_eq!(record.headers.iter().count(), record.headers.len());
    }
    if let Rewritten::Changed(copy) = everything.expect("what can be read can be rewritten") {
        assert_eq!(all(&copy), records);
    }
    if records.len() > 1 {
        let second = records[1].offset;
        let Ok(Rewritten::Changed(half)) =
            rewrite(batch, &OPTIONS, |record| record.offset == second)
        else {
            panic!("one record of several is a changed batch");
        };
        assert_eq!(all(&half), records[1..2]);
    }
    // An empty batch may say that it is compressed and have nothing that a codec could start on.
    if !records.is_empty() {
        assert_eq!(
            all(&plain.expect("what can be read can be recompressed")),
            records
        );
    }
}

/// A checksum hides the rest from a fuzzer, so it is made right first.
fn check_validation(batch: &Batch) {
    let policy = ProducePolicy {
        batch_bytes_max: 1 << 20,
        keys_required: true,
        timestamps: Some(TimestampBounds {
            earliest: TimestampMs(0),
            latest: TimestampMs(i64::MAX),
        }),
        records_checked: true,
        decompressed_bytes_max: CAP_BYTES,
    };
    let mut sealed = batch.bytes.to_vec();
    header::seal(&mut sealed);
    if let Ok(taken) = validate_produced(sealed.into(), &policy) {
        assert!(all(&taken).iter().all(|record| record.key.is_some()));
    }
}

fn check_search(batch: &Batch) {
    let middle = batch.header.max_timestamp.saturating_sub(1);
    for from in [TimestampMs(i64::MIN), middle, TimestampMs(i64::MAX)] {
        if let Ok(Some((offset, timestamp))) = batch.first_since(from, CAP_BYTES) {
            assert!(timestamp >= from);
            assert!(offset >= batch.header.base_offset && offset <= batch.header.last_offset());
        }
    }
    if let Ok(Some((_, timestamp))) = batch.first_at_max_timestamp(CAP_BYTES) {
        assert_eq!(timestamp, batch.header.max_timestamp);
    }
}

const OPTIONS: RewriteOptions = RewriteOptions {
    delete_horizon: Some(TimestampMs(1)),
    level: None,
    decompressed_bytes_max: 2 * CAP_BYTES,
};

fn all(batch: &Batch) -> Vec<Record> {
    batch
        .records(2 * CAP_BYTES)
        .collect::<Result<_, _>>()
        .expect("every record can be read")
}
