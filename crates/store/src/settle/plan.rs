//! What to do next, as a pure function of the manifest and the slot's view.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use millstream_record::{Offset, TimestampMs};

use super::bounds::{RangeBounds, Sizes};
use super::compact::{CompactPlan, compactable};
use super::consumed::Rewritten;
use super::forget::{ByPartition, dead_ranges};
use super::output::Share;
use super::rewrite::{Piece, RewritePlan};
use super::{Finished, PartitionFacts, SlotView, Space};
use crate::ids::{PackId, PartitionId};
use crate::manifest::Manifest;
use crate::pack::{PackInfo, PackRange};
use crate::policy::PartitionPolicy;

/// So many packs of about one size are merged into one, so a byte is rewritten once for each eightfold of growth.
const SHARED_MERGE_WIDTH: usize = 8;

/// So many small packs of one partition are merged into one.
const OWN_MERGE_WIDTH: usize = 4;

/// A pack is rewritten once one part in so many of it is dead.
const DEAD_PART: u64 = 2;

/// The same while the disk is short of room.
const DEAD_PART_SHORT: u64 = 8;

/// A pack that is so old is rewritten for what queues have finished in it from one part in this many on, so that all but that
/// comes back within a minute, and no pack is rewritten more often than that.
const FINISHED_PART: u64 = 10;
const FINISHED_AGE_MS: i64 = 20_000;

/// What a pack's footer and padding may take beside its ranges' entries.
const PACK_OVERHEAD_BYTES: u64 = 8 << 10;

/// What a range takes in a pack's directory.
const DIRECTORY_ENTRY_BYTES: u64 = 96;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    /// Take dead ranges out of the manifest.
    Forget(Vec<(PackId, PackRange)>),
    /// Replace packs by better ones with the same live batches.
    Rewrite(RewritePlan),
    /// Compact partitions.
    Compact(Vec<CompactPlan>),
}

/// How much a job may take.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) sizes: &'a Sizes,
    pub(super) space: Space,
}

/// What the housekeeper remembers beyond the manifest.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Packs that are missing or damaged. They are left as they are.
    pub(super) damaged: BTreeSet<PackId>,
    /// Packs that the medium has refused to read, and when they are tried again.
    pub(super) refused: BTreeMap<PackId, TimestampMs>,
    /// The log start up to which a partition's packs have been rewritten: a batch that the log start lies in stays
    /// whole, so rewriting again for the same trim would gain nothing.
    pub(super) reclaimed: HashMap<PartitionId, Offset>,
    /// What was finished where packs have been rewritten.
    pub(super) consumed: Rewritten,
}

impl Memory {
    /// Whether a pack is not to be read at present.
    fn leaves_alone(&self, pack: PackId) -> bool {
        self.damaged.contains(&pack) || self.refused.contains_key(&pack)
    }
}

/// The next job: whatever gives back most for the least work comes first. `None` when all is in shape.
pub(super) fn plan(
    manifest: &Manifest,
    view: &dyn SlotView,
    memory: &Memory,
    bounds: Bounds<'_>,
    now: TimestampMs,
) -> Option<Job> {
    let partitions = manifest.by_partition();
    // Asked for once: what is dead and what is worth a rewrite have to be told by the same log start, which moves on
    // meanwhile.
    let facts: HashMap<_, _> = partitions
        .keys()
        .filter_map(|id| Some((*id, view.facts(*id)?)))
        .collect();
    let dead = dead_ranges(&partitions, &facts, view);
    if !dead.is_empty() {
        return Some(Job::Forget(dead));
    }
    let survey = Survey::new(manifest, facts, memory, bounds, partitions, view);
    let compaction = || survey.compact(now).map(Job::Compact);
    let next = survey.reclaim(now).map(Job::Rewrite).or_else(compaction);
    if bounds.space.is_short {
        return next;
    }
    next.or_else(|| survey.merge_shared().map(Job::Rewrite))
        .or_else(|| survey.merge_own().map(Job::Rewrite))
}

struct Survey<'a> {
    manifest: &'a Manifest,
    memory: &'a Memory,
    sizes: &'a Sizes,
    space: Space,
    partitions: ByPartition,
    /// What is known of these partitions.
    facts: HashMap<PartitionId, PartitionFacts>,
    /// What queues have finished of them, where that is to go.
    finished: HashMap<PartitionId, Finished>,
    /// Bytes of batches in each pack that are still wanted.
    live_bytes: HashMap<PackId, u64>,
}

impl<'a> Survey<'a> {
    /// Sums up each pack once: there may be hundreds of thousands of ranges.
    fn new(
        manifest: &'a Manifest,
        facts: HashMap<PartitionId, PartitionFacts>,
        memory: &'a Memory,
        bounds: Bounds<'a>,
        partitions: ByPartition,
        view: &dyn SlotView,
    ) -> Self {
        let consumed = facts.iter().filter(|(_, facts)| facts.policy.consumed);
        let finished = consumed
            .filter_map(|(id, _)| Some((*id, view.finished(*id)?)))
            .collect();
        let mut survey = Self {
            manifest,
            memory,
            sizes: bounds.sizes,
            space: bounds.space,
            facts,
            finished,
            partitions,
            live_bytes: HashMap::new(),
        };
        for pack in manifest.packs.values() {
            let live = pack
                .ranges
                .iter()
                .map(|range| survey.live_part(range))
                .sum();
            survey.live_bytes.insert(pack.id, live);
        }
        survey
    }

    /// The pack with most that is dead, among those that are at least half dead and whose live half fits on the disk.
    fn reclaim(&self, now: TimestampMs) -> Option<RewritePlan> {
        let dead_part = if self.space.is_short {
            DEAD_PART_SHORT
        } else {
            DEAD_PART
        };
        let mut worst: Option<(u64, PackId)> = None;
        for pack in self.whole_packs() {
            let live = self.live_bytes[&pack.id];
            let entries = pack.ranges.len() as u64 * DIRECTORY_ENTRY_BYTES;
            let dead = pack
                .size_bytes
                .saturating_sub(live + entries + PACK_OVERHEAD_BYTES);
            let worth_it = (dead >= self.sizes.reclaim_min && dead >= pack.size_bytes / dead_part)
                || self.is_worth_for_finished(pack, now);
            let fits = live + entries + PACK_OVERHEAD_BYTES <= self.space.bytes;
            if worth_it && fits && worst.is_none_or(|(most, _)| dead > most) {
                worst = Some((dead, pack.id));
            }
        }
        worst.map(|(_, pack)| self.rewrite(&[pack]))
    }

    fn is_worth_for_finished(&self, pack: &PackInfo, now: TimestampMs) -> bool {
        if self.finished.is_empty() || now.0.saturating_sub(pack.created.0) < FINISHED_AGE_MS {
            return false;
        }
        let dead: u64 = pack
            .ranges
            .iter()
            .map(|range| self.finished_part(range))
            .sum();
        dead >= self.sizes.reclaim_min / FINISHED_PART && dead >= pack.size_bytes / FINISHED_PART
    }

    /// Bytes of a range that queues have finished.
    fn finished_part(&self, range: &PackRange) -> u64 {
        let finished = self.finished.get(&range.partition);
        finished.map_or(0, |finished| {
            self.memory.consumed.dead_bytes(range, finished)
        })
    }

    /// Partitions that are due for compaction, the dirtiest first, as many as one job takes.
    fn compact(&self, now: TimestampMs) -> Option<Vec<CompactPlan>> {
        let mut due: Vec<_> = self
            .partitions
            .iter()
            .filter(|(_, ranges)| {
                !ranges
                    .iter()
                    .any(|(pack, _)| self.memory.leaves_alone(*pack))
            })
            .filter_map(|(partition, ranges)| {
                let facts = self.facts.get(partition)?;
                compactable(*partition, facts, ranges, self.sizes, now)
            })
            .collect();
        due.sort_by(|a, b| b.dirty_ratio.total_cmp(&a.dirty_ratio));
        let mut bytes = 0;
        due.retain(|plan| {
            let more = plan.input_bytes();
            let take = bytes < self.sizes.compaction_target && bytes + more <= self.space.bytes;
            bytes += if take { more } else { 0 };
            take
        });
        due.sort_by_key(|plan| (plan.share == Share::Shared, plan.partition));
        (!due.is_empty()).then_some(due)
    }

    /// Packs of about one size that many partitions share.
    fn merge_shared(&self) -> Option<RewritePlan> {
        let mut tiers: BTreeMap<u32, Vec<PackId>> = BTreeMap::new();
        for pack in self.whole_packs().filter(|pack| !self.is_own(pack)) {
            let live = self.live_bytes[&pack.id];
            if live < self.sizes.shared_pack_max / 2 {
                // 0 for small packs, then one more for each eightfold.
                let tier = (live / self.sizes.small_pack)
                    .checked_ilog2()
                    .map_or(0, |log| log / 3 + 1);
                tiers.entry(tier).or_default().push(pack.id);
            }
        }
        let tier = tiers
            .values()
            .find(|packs| packs.len() >= SHARED_MERGE_WIDTH)?;
        let mut bytes = 0;
        let packs: Vec<_> = tier
            .iter()
            .copied()
            .take_while(|id| {
                bytes += self.manifest.packs[id].size_bytes;
                bytes <= 2 * self.sizes.shared_pack_max
            })
            .take(2 * SHARED_MERGE_WIDTH)
            .collect();
        let fits = packs.iter().map(|id| self.live_bytes[id]).sum::<u64>() <= self.space.bytes;
        (packs.len() > 1 && fits).then(|| self.rewrite(&packs))
    }

    /// Small packs of one partition that follow each other.
    fn merge_own(&self) -> Option<RewritePlan> {
        self.partitions
            .values()
            .find_map(|ranges| self.merge_run(ranges))
    }

    fn merge_run(&self, ranges: &[(PackId, PackRange)]) -> Option<RewritePlan> {
        let mut run: Vec<PackId> = Vec::new();
        let mut run_bytes = 0;
        for (id, _) in ranges {
            if run.contains(id) {
                continue;
            }
            let pack = &self.manifest.packs[id];
            let live = self.live_bytes[id];
            let small =
                self.is_own(pack) && live < self.sizes.own_pack_target / 2 && self.is_whole(pack);
            if small && run_bytes + live <= self.sizes.own_pack_target {
                run.push(*id);
                run_bytes += live;
                continue;
            }
            if run.len() >= OWN_MERGE_WIDTH {
                break;
            }
            run.clear();
            run_bytes = 0;
            if small {
                run.push(*id);
                run_bytes = live;
            }
        }
        (run.len() >= OWN_MERGE_WIDTH && run_bytes <= self.space.bytes).then(|| self.rewrite(&run))
    }

    /// How to rewrite these packs.
    fn rewrite(&self, packs: &[PackId]) -> RewritePlan {
        let mut partitions: ByPartition = BTreeMap::new();
        for id in packs {
            for range in &self.manifest.packs[id].ranges {
                partitions
                    .entry(range.partition)
                    .or_default()
                    .push((*id, *range));
            }
        }
        let mut pieces = Vec::new();
        for (partition, mut ranges) in partitions {
            ranges.sort_by_key(|(_, range)| (range.first, range.end));
            let facts = self.facts.get(&partition);
            let policy = facts.map_or_else(PartitionPolicy::default, |facts| facts.policy);
            let bytes: u64 = ranges.iter().map(|(_, range)| range.bytes).sum();
            let share = self.sizes.share(bytes);
            let last = self.partitions.get(&partition).and_then(|all| all.last());
            let log_end = last.map_or(Offset::ZERO, |(_, range)| range.end);
            pieces.extend(ranges.into_iter().map(|(pack, range)| Piece {
                share,
                pack,
                range,
                bounds: RangeBounds::of(&policy, self.sizes),
                index_interval_bytes: policy.index_interval_bytes,
                log_start: facts.map_or(Offset::ZERO, |facts| facts.log_start),
                log_end,
            }));
        }
        // Stable: partitions and offsets stay in order.
        pieces.sort_by_key(|piece| piece.share == Share::Shared);
        let of_inputs = |id: &PartitionId| pieces.iter().any(|piece| piece.range.partition == *id);
        let finished = self.finished.iter().filter(|(id, _)| of_inputs(id));
        RewritePlan {
            inputs: packs.to_vec(),
            finished: finished.map(|(id, it)| (*id, Arc::clone(it))).collect(),
            pieces,
        }
    }

    /// Whether a pack holds enough of one partition to stay that partition's own.
    fn is_own(&self, pack: &PackInfo) -> bool {
        let mut partitions = pack.ranges.iter().map(|range| range.partition);
        let first = partitions.next();
        pack.size_bytes > self.sizes.own_pack_min
            && partitions.all(|partition| Some(partition) == first)
    }

    fn whole_packs(&self) -> impl Iterator<Item = &Arc<PackInfo>> {
        self.manifest
            .packs
            .values()
            .filter(|pack| self.is_whole(pack))
    }

    fn is_whole(&self, pack: &PackInfo) -> bool {
        !self.memory.leaves_alone(pack.id)
    }

    /// Bytes of a range that are still wanted. How much of it a trim has released is told by the offsets, as if all
    /// batches were alike.
    fn live_part(&self, range: &PackRange) -> u64 {
        let Some(facts) = self.facts.get(&range.partition) else {
            return range.bytes;
        };
        // What is before the log start is finished too, or counts as that.
        let bytes = range.bytes - self.finished_part(range);
        let reclaimed = self.memory.reclaimed.get(&range.partition);
        let first = range.first.max(reclaimed.copied().unwrap_or(Offset::ZERO));
        if facts.log_start <= first || range.end <= first {
            return bytes;
        }
        let covered = (range.end - first) as u128;
        let live = (range.end - facts.log_start).max(0) as u128;
        bytes.min((u128::from(range.bytes) * live / covered) as u64)
    }
}
