//! The fuzzer's seeds, replayed: batches of every kind, in `fuzz/seeds/batch`.

use std::fs;
use std::path::PathBuf;

use millstream_record::testing::check_batches;
use millstream_record::{
    Batch, BatchBuilder, Batches, Codec, LeaderEpoch, Offset, ProducerEpoch, ProducerId,
    RewriteOptions, Rewritten, Sequence, TimestampMs, emptied, header, rewrite,
};

use crate::common::{CAP_BYTES, Sample, batch, fill, sample};

fn seeds() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/batch")
}

#[test]
fn seeds_are_good_batches() {
    let mut count = 0;
    for seed in fs::read_dir(seeds()).unwrap() {
        let bytes = fs::read(seed.unwrap().path()).unwrap().into();
        check_batches(&bytes);
        assert!(Batches::new(bytes).all(|batch| batch.and_then(|batch| batch.check_crc()).is_ok()));
        count += 1;
    }
    assert!(
        count >= 10,
        "run `cargo test -p millstream-record -- --ignored`"
    );
}

#[test]
#[ignore = "writes the seeds: for after a kind of batch was added"]
fn write_seeds() {
    let headers = vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"a".to_vec(), None)];
    let samples = [
        Sample {
            headers,
            ..sample(1_000, Some("key"), Some("value value value value"))
        },
        sample(3_000, None, None),
        sample(2_000, Some("key"), None),
        sample(-1, Some(""), Some("")),
    ];
    for codec in Codec::ALL {
        write(codec.name(), &[batch(codec, &samples)]);
    }
    let whole = batch(Codec::Zstd, &samples);
    write(
        "several",
        &[
            whole.clone(),
            batch(Codec::None, &samples[..1]),
            whole.clone(),
        ],
    );

    let builder = BatchBuilder::new(Codec::Lz4)
        .at(Offset(1_000), LeaderEpoch(3))
        .producer(ProducerId(7), ProducerEpoch(1), Sequence(i32::MAX - 1));
    let placed = fill(builder, &samples);
    let options = RewriteOptions {
        delete_horizon: Some(TimestampMs(9_000)),
        level: None,
        decompressed_bytes_max: CAP_BYTES,
    };
    let Ok(Rewritten::Changed(compacted)) =
        rewrite(&placed, &options, |record| record.offset.0 % 2 == 0)
    else {
        panic!("half is kept");
    };
    write("emptied", &[emptied(&placed.header)]);
    write("compacted", &[placed, compacted]);

    let mut stamped = whole.bytes.to_vec();
    header::set_log_append_time(&mut stamped, TimestampMs(5_000));
    write("log_append_time", &[Batch::parse(stamped.into()).unwrap()]);
    let builder = BatchBuilder::new(Codec::None).control().transactional();
    write("control", &[fill(builder, &samples[..1])]);
}

fn write(name: &str, batches: &[Batch]) {
    let bytes: Vec<u8> = batches
        .iter()
        .flat_map(|batch| batch.bytes.to_vec())
        .collect();
    fs::create_dir_all(seeds()).unwrap();
    fs::write(seeds().join(name), bytes).unwrap();
}
