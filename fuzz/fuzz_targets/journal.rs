//! Any bytes as a journal entry: what decodes must encode to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream_store::journal::fuzz::check_entry;

fuzz_target!(|bytes: &[u8]| check_entry(bytes));
