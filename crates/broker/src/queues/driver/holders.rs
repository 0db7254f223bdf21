//! What the queues of a topic have all finished, for the store to drop where the topic's retention is `consumed`.

use std::ops::Range;
use std::sync::{Arc, Weak};

use millstream_record::Offset;
use millstream_store::{Holders, PartitionId};
use parking_lot::RwLock;

use super::Queues;
use super::cell::Cell;
use crate::queues::ids::PartitionIndex;
use crate::topics::Registry as Topics;

/// A queue is asked about so many offsets at a time, so that its consumers do not wait long.
const STEP: i64 = 1 << 16;

/// Answers the store. It must not keep the broker alive, nor be the one that drops it: it is asked on a thread of the store.
pub(crate) struct QueueHolders {
    pub(crate) queues: Weak<Queues>,
    pub(crate) topics: Weak<RwLock<Topics>>,
}

impl Holders for QueueHolders {
    fn finished(&self, partition: PartitionId, from: Offset, to: Offset) -> Vec<Range<Offset>> {
        let (Some(queues), Some(topics)) = (self.queues.upgrade(), self.topics.upgrade()) else {
            return Vec::new();
        };
        let place = topics.read().place_of(partition);
        let Some((topic, index)) = place else {
            return Vec::new();
        };
        let cells = queues.index.read().of(topic).to_vec();
        finished_by_all(&cells, index, from, to)
    }
}

/// What every queue has finished; nothing without a queue.
fn finished_by_all(
    cells: &[Arc<Cell>],
    index: PartitionIndex,
    from: Offset,
    to: Offset,
) -> Vec<Range<Offset>> {
    let Some((first, others)) = cells.split_first() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut at = from;
    while at < to {
        let end = (at + STEP).min(to);
        let mut common = first.finished(index, at, end);
        for cell in others {
            if common.is_empty() {
                break;
            }
            common = intersection(&common, &cell.finished(index, at, end));
        }
        all.append(&mut common);
        at = end;
    }
    all
}

impl Cell {
    /// What the queue has finished within `from..to`. Whenever the lock is free, that is sequenced.
    fn finished(&self, index: PartitionIndex, from: Offset, to: Offset) -> Vec<Range<Offset>> {
        let state = self.state.lock();
        if state.failed.is_some() {
            return Vec::new();
        }
        state.machine.finished(index, from, to)
    }
}

/// The offsets that are in both; all ranges are in order and apart.
fn intersection(one: &[Range<Offset>], other: &[Range<Offset>]) -> Vec<Range<Offset>> {
    let mut both = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (one.get(i), other.get(j)) {
        let range = a.start.max(b.start)..a.end.min(b.end);
        if !range.is_empty() {
            both.push(range);
        }
        if a.end <= b.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(of: u32) -> Vec<Range<Offset>> {
        let mut ranges: Vec<Range<Offset>> = Vec::new();
        for bit in (0..32).filter(|bit| of & (1 << bit) != 0) {
            match ranges.last_mut() {
                Some(last) if last.end == Offset(bit) => last.end = Offset(bit + 1),
                _ => ranges.push(Offset(bit)..Offset(bit + 1)),
            }
        }
        ranges
    }

    #[test]
    fn what_is_in_both_is_what_bits_say() {
        let mut seed = 7_u64;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(99);
            // Dense and sparse ones in turn.
            let one = (seed >> 32) as u32 | (seed >> 13) as u32;
            let other = (seed >> 24) as u32;
            assert_eq!(
                intersection(&ranges(one), &ranges(other)),
                ranges(one & other)
            );
        }
    }
}
