//! Any bytes as a pack: what a scan finds is in order, and found by offset too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream_store::pack::fuzz::check_pack;

fuzz_target!(|bytes: &[u8]| check_pack(bytes));
