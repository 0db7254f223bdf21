//! The crate from outside: one module for each thing that a batch goes through.

mod common;
mod compression;
mod damage;
mod header;
mod rewrite;
mod round_trip;
mod search;
mod seeds;
mod validate;
