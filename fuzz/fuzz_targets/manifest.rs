//! Any bytes as a manifest: what decodes makes sense and comes back when it is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream_store::manifest::fuzz::check_manifest;

fuzz_target!(|bytes: &[u8]| check_manifest(bytes));
