//! What all queues on a partition have finished, and so need not be kept (`PartitionPolicy::consumed`).
//!
//! Only whole batches go. Offsets stay covered, as after compaction.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use millstream_record::Offset;

use crate::ids::PartitionId;
use crate::pack::PackRange;

/// Ranges of finished offsets, in order and apart.
pub type Finished = Arc<[Range<Offset>]>;

/// Whether all of `first..end` is finished.
pub(crate) fn covers(finished: &[Range<Offset>], first: Offset, end: Offset) -> bool {
    let after = finished.partition_point(|range| range.start <= first);
    let range = after.checked_sub(1).map(|at| &finished[at]);
    first < end && range.is_some_and(|range| end <= range.end)
}

/// How many offsets of `first..end` are finished.
fn count(finished: &[Range<Offset>], first: Offset, end: Offset) -> i64 {
    let from = finished.partition_point(|range| range.end <= first);
    let within = finished[from..]
        .iter()
        .take_while(|range| range.start < end);
    within
        .map(|range| range.end.min(end) - range.start.max(first))
        .sum()
}

/// How many finished offsets each stretch had when it was last rewritten: whatever of them is still there shares a batch
/// with others, and rewriting again gains nothing.
#[derive(Debug, Default)]
pub(super) struct Rewritten(HashMap<PartitionId, BTreeMap<Offset, (Offset, i64)>>);

impl Rewritten {
    /// Notes that `range` was rewritten without what is finished.
    pub(super) fn note(
        &mut self,
        range: &PackRange,
        log_start: Offset,
        finished: &[Range<Offset>],
    ) {
        let stretches = self.0.entry(range.partition).or_default();
        stretches.retain(|first, (end, _)| {
            let within = range.first <= *first && *end <= range.end;
            !within && *end > log_start
        });
        let done = count(finished, range.first, range.end);
        stretches.insert(range.first, (range.end, done));
    }

    /// The bytes of `range` that rewriting it would give back, as if all batches were alike.
    pub(super) fn dead_bytes(&self, range: &PackRange, finished: &[Range<Offset>]) -> u64 {
        let stretches = self.0.get(&range.partition);
        let stretches = stretches
            .into_iter()
            .flat_map(|known| known.range(range.first..range.end));
        let within = stretches.filter(|(_, (end, _))| *end <= range.end);
        let gone: i64 = within.map(|(_, (_, done))| *done).sum();
        let left = (range.end - range.first - gone).max(0) as u128;
        let dead = (count(finished, range.first, range.end) - gone).max(0) as u128;
        if left == 0 {
            return 0;
        }
        (u128::from(range.bytes) * dead / left) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(ranges: &[(i64, i64)]) -> Vec<Range<Offset>> {
        ranges
            .iter()
            .map(|(start, end)| Offset(*start)..Offset(*end))
            .collect()
    }

    #[test]
    fn what_is_finished_is_counted_and_covered_offset_by_offset() {
        let finished = ranges(&[(2, 5), (5, 6), (9, 20)]);
        let is_finished =
            |offset: i64| finished.iter().any(|range| range.contains(&Offset(offset)));
        for first in 0..22 {
            for end in first..22 {
                let expected = (first..end).filter(|offset| is_finished(*offset)).count();
                assert_eq!(
                    count(&finished, Offset(first), Offset(end)),
                    expected as i64
                );
                let covered = covers(&finished, Offset(first), Offset(end));
                let one = finished
                    .iter()
                    .any(|range| range.start.0 <= first && end <= range.end.0);
                assert_eq!(covered, one && first < end, "{first}..{end}");
            }
        }
        assert!(!covers(&[], Offset(0), Offset(1)));
    }
}
