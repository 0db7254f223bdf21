//! The power goes in the middle of settling and housekeeping.

use proptest::prelude::*;

use super::*;

/// Works until the power goes, restarts, and checks that the packs hold what was settled before.
fn run(seed: u64, operations: u64) {
    let mut world = World::new(seed);
    for partition in 0..4 {
        world.create(partition, PartitionPolicy::default());
    }
    for crash in 0..4 {
        world.disk.fail_power_after(operations + crash * 13);
        let mut round = 0;
        loop {
            round += 1;
            for partition in 0..4 {
                let size = 50 + (seed as usize + 97 * round + 500 * partition as usize) % 2000;
                for _ in 0..3 {
                    world.append_bytes(partition, size);
                }
            }
            let end = world.models[&PartitionId(1)].end;
            if world
                .settle(3_000)
                .and_then(|()| world.housekeep(40))
                .is_err()
            {
                break;
            }
            world.facts(1).log_start = Offset(end / 2);
            assert!(round < 500, "the power never went");
        }
        world.disk.restart();
        world.manifests = open(&world.disk).unwrap();
        world.housekeeper = Housekeeper::new((1, 2), world.sizes);
        // The round that the crash came in counts if its manifest survived: then all of it does.
        if world.manifests.current().settled.0 > world.settled {
            world.note_settled();
        }
        assert_eq!(world.manifests.current().settled.0, world.settled);
        world.tails.clear();
        for partition in 0..4 {
            world.check(partition);
        }
    }
    world.tidy();
    (0..4).for_each(|partition| world.check(partition));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_was_settled_survives(seed: u64, operations in 1u64..400) {
        run(seed, operations);
    }
}
