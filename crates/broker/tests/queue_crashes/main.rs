//! Crash tests of queues: a broker on a simulated disk, under a seed.
//!
//! A run publishes, receives, acknowledges, gives back, rejects, redrives; the power goes in the middle of something, the
//! process is killed, reads, writes and syncs fail, the disk fills up; and it starts again. `model.rs` keeps what was said of each
//! message, and in the end every message is accounted for: what was acknowledged is never seen again, everything else
//! comes again or is one dead letter, and nothing is stuck. By seed, messages also have keys, ids, priorities, times: those
//! of one key come in their order, an id comes once, nothing before its time, what is urgent first.
//!
//! `plan.rs` is what a run is like, `world.rs` drives, with `steps.rs` and `ending.rs`.
//!
//! The broker has threads of its own, so a seed decides what is asked and what the disk does, not how they interleave.
//! `MILLSTREAM_SEEDS=5000`, which the store's crash tests obey as well, runs more than the fast lane: a fiftieth of them,
//! since a run takes so much longer. `MILLSTREAM_SEED=12` runs one and says what it does.

#![allow(unreachable_pub, reason = "one test binary")]

mod ending;
mod fate;
mod model;
mod plan;
mod steps;
mod world;

use fate::Fate;
use plan::Plan;
use world::World;

/// Seeds in the fast lane.
const SEEDS: u64 = 60;

/// One run takes as long as so many of the store's, which the number of seeds is meant for.
const RUNS_OF_THE_STORE: u64 = 50;

/// So many seeds at most have to be tried before a disk whose fsync does nothing is found out.
const SEEDS_UNTIL_A_LIE_SHOWS: u64 = 100;

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is a number, not {value}")))
}

fn run(plan: Plan) -> Result<Fate, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(World::new(plan).run())
}

#[test]
fn every_message_is_accounted_for() {
    if let Some(seed) = from_environment("MILLSTREAM_SEED") {
        println!("{:?}", run(Plan::for_seed(seed).traced()).unwrap());
        return;
    }
    let seeds = from_environment("MILLSTREAM_SEEDS")
        .map_or(SEEDS, |seeds| (seeds / RUNS_OF_THE_STORE).max(1));
    let mut fates = Fate::default();
    for seed in 0..seeds {
        match run(Plan::for_seed(seed)) {
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
fn an_fsync_that_does_nothing_is_found_out() {
    // A store that does not even start is found out by the store's own tests.
    let is_of_queues = |error: &String| !error.starts_with("cannot begin");
    let mut errors = (0..SEEDS_UNTIL_A_LIE_SHOWS).filter_map(|seed| run(Plan::lying(seed)).err());
    let caught = errors.find(is_of_queues);
    println!(
        "{}",
        caught.expect("no seed noticed that nothing was ever synced")
    );
}
