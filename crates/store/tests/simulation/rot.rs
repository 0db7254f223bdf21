//! One bit of what was durable turns over while nobody looks.
//!
//! What it was part of may be lost, but never in silence, and nothing that was not written is served in its place.

use std::path::{Path, PathBuf};

use millstream_env::SeededRng;
use millstream_env::sim::SimDisk;
use millstream_store::{Commit, Durability, PartitionId, Slot};

use crate::model::{Batch, Partition, State};
use crate::observed;

/// What became of the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// It was part of nothing that is still needed.
    Harmless,
    /// Something is lost, and whoever asks is told.
    Noticed,
}

/// Has the journal go on until its entries say of everything before them that it is synced. What none of them says that
/// of cannot be told from what a crash has cut off, and is cut off without a word.
pub fn outdate(slot: &Slot) {
    for _ in 0..2 {
        let commit = Commit {
            puts: vec![(b"rot".as_slice().into(), b"".as_slice().into())],
            ..Commit::default()
        };
        if slot.commit(commit).is_ok() {
            while slot.step_journal() {}
        }
    }
}

/// Turns over a bit of some file in `dirs`. Returns where.
pub fn flip(disk: &SimDisk, rng: &SeededRng, dirs: &[&Path]) -> Option<(PathBuf, u64)> {
    let files: Vec<_> = dirs.iter().flat_map(|dir| disk.files(dir)).collect();
    let (path, len) = files.get(rng.below(files.len().max(1) as u64) as usize)?;
    let at = disk.flip_bit(path, 0, *len)?;
    Some((path.clone(), at))
}

/// Compares a slot that has been opened after a flip with what it held before.
pub fn check(slot: &Slot, before: &State) -> Result<Rot, String> {
    let told = !slot.recovery().damaged.is_empty();
    let mut rot = if told { Rot::Noticed } else { Rot::Harmless };
    for (id, known) in &before.partitions {
        if known.durability == Durability::Memory {
            continue;
        }
        let Some(handle) = slot.partition(PartitionId(*id)) else {
            if told {
                continue;
            }
            return Err(format!("partition {id} is gone, and nothing says why"));
        };
        let Ok(found) = observed::partition(&handle, known.compacted) else {
            rot = Rot::Noticed;
            continue;
        };
        check_partition(*id, known, &found, told)?;
    }
    Ok(rot)
}

fn check_partition(
    id: u32,
    known: &Partition,
    found: &Partition,
    told: bool,
) -> Result<(), String> {
    // The checksum of a batch leaves out its leader epoch (KIP-98's format): no reader can tell that this one bit is wrong.
    let same = |a: &Batch, b: &Batch| a.base == b.base && a.records == b.records;
    let holds = |batches: &[Batch], wanted: &Batch| batches.iter().any(|batch| same(batch, wanted));
    // A trim may have been lost with the damage: what it had cut off is there again.
    let invented = |batch: &&Batch| batch.base >= known.log_start && !holds(&known.batches, batch);
    if !known.compacted
        && let Some(batch) = found.batches.iter().find(invented)
    {
        return Err(format!(
            "partition {id} holds what was not written: {batch:?}"
        ));
    }
    let lost = if known.compacted {
        known.compacted_difference(found)
    } else {
        let lost = known
            .batches
            .iter()
            .find(|batch| !holds(&found.batches, batch));
        lost.map(|batch| format!("offset {} is gone", batch.base))
    };
    match lost {
        Some(lost) if !told => Err(format!("partition {id}: {lost}, and nothing says why")),
        _ => Ok(()),
    }
}
