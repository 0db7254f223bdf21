//! Whatever bytes come, decoding neither panics nor takes more memory than the frame's length justifies, for every
//! message and version.

use bytes::Bytes;
use millstream_kafka_wire::testing::Entropy;
use millstream_kafka_wire::wire::At;
use millstream_kafka_wire::{Message, Reader, Writer, consumer_protocol, messages};
use millstream_limits::kafka_decoded_array_bytes_max;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, TestRunner};

/// Frames tried of each message and version.
const CASES: u32 = 64;

/// A way to spoil a frame.
#[derive(Debug, Clone)]
enum Damage {
    Flip {
        at: usize,
        bits: u8,
    },
    Cut {
        at: usize,
    },
    /// The bytes of a large or huge length, count or varint.
    Overwrite {
        at: usize,
        with: &'static [u8],
    },
}

fn damage() -> impl Strategy<Value = Damage> {
    let huge: &[&'static [u8]] = &[
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x7f, 0xff],
        &[0, 0, 0x20, 0],
        &[0x80, 0x40],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x10],
        &[0xff, 0xff, 0x03],
    ];
    let huge = huge.to_vec();
    (0..3, any::<usize>(), any::<u8>(), 0..huge.len()).prop_map(move |(kind, at, bits, pick)| {
        match kind {
            0 => Damage::Flip { at, bits },
            1 => Damage::Cut { at },
            _ => Damage::Overwrite {
                at,
                with: huge[pick],
            },
        }
    })
}

fn spoil(frame: &mut Vec<u8>, damage: &Damage) {
    if frame.is_empty() {
        return;
    }
    match *damage {
        Damage::Flip { at, bits } => {
            let at = at % frame.len();
            frame[at] ^= bits;
        }
        Damage::Cut { at } => frame.truncate(at % frame.len()),
        Damage::Overwrite { at, with } => {
            let at = at % frame.len();
            let end = (at + with.len()).min(frame.len());
            frame[at..end].copy_from_slice(&with[..end - at]);
        }
    }
}

fn check<M: Message>() {
    for version in M::VERSIONS.iter() {
        runner(CASES)
            .run(&vec(any::<u8>(), 0..200), |frame| {
                decode_within_bounds::<M>(frame, version);
                Ok(())
            })
            .unwrap();
        runner(CASES)
            .run(
                &(vec(any::<u8>(), 0..600), vec(damage(), 1..4)),
                |(bytes, damages)| {
                    let mut frame = valid_frame::<M>(&bytes, version);
                    for damage in &damages {
                        spoil(&mut frame, damage);
                    }
                    decode_within_bounds::<M>(frame, version);
                    Ok(())
                },
            )
            .unwrap();
        for filler in [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff] {
            decode_within_bounds::<M>(vec![filler; 4096], version);
        }
    }
}

/// A runner for one run: its cases are counted over all runs.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

fn valid_frame<M: Message>(bytes: &[u8], version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    M::generate(&mut Entropy::new(bytes), At::new::<M>(version)).encode(&mut writer, version);
    writer.finish().unwrap().to_body().into()
}

fn decode_within_bounds<M: Message>(frame: Vec<u8>, version: i16) {
    let frame = Bytes::from(frame);
    // The handle a first slice makes shared, and an error's text, are not counted against the arrays.
    let bound = kafka_decoded_array_bytes_max(frame.len()) + 1024;
    let allocated =
        allocation_counter::measure(|| drop(M::decode(&mut Reader::new(&frame), version)));
    assert!(
        allocated.bytes_total <= bound as u64,
        "{} bytes for a frame of {}",
        allocated.bytes_total,
        frame.len()
    );
}

macro_rules! hostile_tests {
    ($($api:ident = $number:literal, $request:ident, $response:ident;)*) => {$(
        #[allow(non_snake_case)]
        mod $api {
            use super::{check, messages};

            #[test]
            fn request() {
                check::<messages::$request>();
            }

            #[test]
            fn response() {
                check::<messages::$response>();
            }
        }
    )*};
}

millstream_kafka_wire::each_api!(hostile_tests);

#[test]
fn consumer_protocol() {
    check::<consumer_protocol::ConsumerProtocolSubscription>();
    check::<consumer_protocol::ConsumerProtocolAssignment>();
}

#[test]
fn requests_of_any_api() {
    runner(4096)
        .run(
            &(0_i16..80, 0_i16..20, vec(any::<u8>(), 0..200)),
            |(api_key, version, rest)| {
                let mut frame = [api_key.to_be_bytes(), version.to_be_bytes()].concat();
                frame.extend(rest);
                millstream_kafka_wire::testing::check_request_frame(&Bytes::from(frame));
                Ok(())
            },
        )
        .unwrap();
}
