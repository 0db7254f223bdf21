//! Crash tests: a slot on a simulated disk, under a seed.
//!
//! A run makes random commits, steps the journal and the settler in random order, has the process killed or the power go
//! in the middle of something, starts again, and compares what is there with a naive model (`model.rs`): the recovered
//! slot is what the first so many commits add up to, and those include every commit that was acknowledged as durable.
//! `world.rs` drives, `workload.rs` makes commits up, `observed.rs` reads a slot back, `rot.rs` turns a bit over in the
//! end.
//!
//! `MILLSTREAM_SEEDS=20000` runs more seeds than the 2,000 of the fast lane, `MILLSTREAM_SEED=123` runs one and says what
//! it does: `MILLSTREAM_SEED=123 cargo test -p millstream-store --test simulation -- --nocapture`.

#![allow(unreachable_pub, reason = "one test binary")]

mod model;
mod observed;
mod rot;
mod workload;
mod world;

use world::{Fate, Plan, World};

/// Seeds in the fast lane.
const SEEDS: u64 = 2_000;

/// So many seeds at most have to be tried before a disk whose fsync does nothing is found out.
const SEEDS_UNTIL_A_LIE_SHOWS: u64 = 50;

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {value}")),
    )
}

#[test]
fn every_crash_leaves_what_was_acknowledged() {
    if let Some(seed) = from_environment("MILLSTREAM_SEED") {
        World::new(Plan::for_seed(seed).traced()).run().unwrap();
        return;
    }
    let seeds = from_environment("MILLSTREAM_SEEDS").unwrap_or(SEEDS);
    let mut fates = Fate::default();
    for seed in 0..seeds {
        match World::new(Plan::for_seed(seed)).run() {
            Ok(fate) => fates += fate,
            Err(reason) => panic!("MILLSTREAM_SEED={seed}: {reason}"),
        }
    }
    println!("{seeds} seeds: {fates:?}");
    if seeds >= SEEDS {
        fates.check_coverage();
    }
}

#[test]
fn a_seed_names_one_run() {
    for seed in [3, 6, 7, 8, 9] {
        let first = World::new(Plan::for_seed(seed)).run().unwrap();
        let second = World::new(Plan::for_seed(seed)).run().unwrap();
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn an_fsync_that_does_nothing_is_found_out() {
    let caught = (0..SEEDS_UNTIL_A_LIE_SHOWS)
        .find(|seed| World::new(Plan::for_seed(*seed).lying()).run().is_err());
    assert!(
        caught.is_some(),
        "no seed noticed that nothing was ever synced"
    );
}
