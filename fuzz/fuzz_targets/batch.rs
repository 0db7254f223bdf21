//! Any bytes as record batches: reading, searching, rewriting and recompressing them must agree.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millstream_record::testing::check_batches;

fuzz_target!(|bytes: &[u8]| check_batches(&Bytes::copy_from_slice(bytes)));
