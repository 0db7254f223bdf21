//! Who needs the records of a partition with the policy `consumed`.

use std::collections::HashMap;
use std::ops::Range;

use millstream_record::Offset;
use parking_lot::Mutex;

use crate::engine::Engine;
use crate::ids::PartitionId;
use crate::settle::Finished;
use crate::ticket::CommitNumber;

/// So many offsets are asked about at a time.
const WINDOW: i64 = 1 << 20;

/// Behind stragglers, shorter ranges than this are not looked at: hardly a batch is so small, and there may be a great many.
const RANGE_OFFSETS_MIN: i64 = 4;

/// The most ranges that are looked at in one partition: what lies behind them has its turn when those are gone.
const RANGES_MAX: usize = 1 << 18;

/// Says what of a partition nobody needs any more. Asked from the settler's thread.
pub trait Holders: Send + Sync {
    /// The ranges within `from..to` that every queue on the partition has finished, in order and apart; none if there is no
    /// queue.
    ///
    /// A range counts once the commits that say so are sequenced. They need not be durable: the store waits for that.
    fn finished(&self, partition: PartitionId, from: Offset, to: Offset) -> Vec<Range<Offset>>;
}

/// What the holders said last, and whether it may be acted on.
#[derive(Default)]
pub(crate) struct Asked(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// They survive a power failure.
    known: HashMap<PartitionId, Finished>,
    /// They do when this commit does.
    pending: Option<(CommitNumber, HashMap<PartitionId, Finished>)>,
}

impl Asked {
    /// Asks about every partition with the policy. With `sync` the answers are to count soon, and not just with the next
    /// commit that is synced.
    pub(crate) fn ask(&self, engine: &Engine, sync: bool) {
        let Some(holders) = engine.holders() else {
            return;
        };
        let mut found = HashMap::new();
        for partition in engine.partitions() {
            if partition.policy().is_some_and(|policy| policy.consumed) {
                let offsets = partition.offsets();
                let ranges = finished(
                    &*holders,
                    partition.id(),
                    offsets.log_start,
                    offsets.last_stable,
                );
                if !ranges.is_empty() {
                    found.insert(partition.id(), ranges.into());
                }
            }
        }
        let mut answers = self.0.lock();
        if found.is_empty() {
            *answers = Answers::default();
            return;
        }
        // What was sequenced before it was asked has a number by now.
        let mut number = engine.sequencer.last();
        if sync && engine.progress.synced() < number {
            number = engine.sequencer.sync(engine.now());
        }
        answers.pending = Some((number, found));
    }

    /// Takes over what was asked last if everything that was sequenced before survives a power failure, which what is
    /// dropped on the strength of it does not come back from. `false` if it is not so yet.
    pub(crate) fn take(&self, engine: &Engine) -> bool {
        let mut answers = self.0.lock();
        let Some((number, _)) = &answers.pending else {
            return true;
        };
        if engine.progress.synced() < *number {
            return false;
        }
        if let Some((_, found)) = answers.pending.take() {
            answers.known = found;
        }
        true
    }

    pub(crate) fn of(&self, partition: PartitionId) -> Option<Finished> {
        self.0.lock().known.get(&partition).cloned()
    }
}

fn finished(
    holders: &dyn Holders,
    partition: PartitionId,
    from: Offset,
    to: Offset,
) -> Vec<Range<Offset>> {
    let mut ranges: Vec<Range<Offset>> = Vec::new();
    let mut at = from;
    while at < to && ranges.len() < RANGES_MAX {
        let end = (at + WINDOW).min(to);
        for range in holders.finished(partition, at, end) {
            let range = range.start.max(at)..range.end.min(end);
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ if range.is_empty() => {}
                _ => ranges.push(range),
            }
        }
        // The last one may go on in the next window, and the first one may be what the log start moves over.
        let last = ranges.pop();
        ranges.retain(|range| range.start == from || range.end - range.start >= RANGE_OFFSETS_MIN);
        ranges.extend(last);
        at = end;
    }
    ranges
}
