//! Any bytes as a Kafka request: what decodes must encode and decode to the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millstream_kafka_wire::testing::check_request_frame;

fuzz_target!(|frame: &[u8]| check_request_frame(&Bytes::copy_from_slice(frame)));
