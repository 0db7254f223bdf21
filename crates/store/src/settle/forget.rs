//! Ranges that nobody needs any more.

use std::collections::{BTreeMap, HashMap};

use super::{PartitionFacts, SlotView};
use crate::ids::{PackId, PartitionId};
use crate::pack::PackRange;

/// Each partition's ranges in order of offset, with their packs.
pub(super) type ByPartition = BTreeMap<PartitionId, Vec<(PackId, PackRange)>>;

/// The ranges that are dead: of a partition with a tombstone, or wholly before the log start. Ranges without batches are
/// dead too unless they are a partition's last: that one remembers where the partition ends.
pub(super) fn dead_ranges(
    partitions: &ByPartition,
    facts: &HashMap<PartitionId, PartitionFacts>,
    view: &dyn SlotView,
) -> Vec<(PackId, PackRange)> {
    let mut dead = Vec::new();
    for (partition, ranges) in partitions {
        if view.is_dropped(*partition) {
            dead.extend_from_slice(ranges);
            continue;
        }
        let log_start = facts.get(partition).map(|facts| facts.log_start);
        for (number, (pack, range)) in ranges.iter().enumerate() {
            let trimmed = log_start.is_some_and(|log_start| range.end <= log_start);
            let last = number + 1 == ranges.len();
            if trimmed || (range.is_empty() && !last) {
                dead.push((*pack, *range));
            }
        }
    }
    dead
}
