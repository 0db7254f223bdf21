//! Compaction: of each key the latest record stays.
//!
//! As in Kafka's cleaner: the *dirty* part of a partition, what was appended since the last pass, is read to learn the
//! latest offset of each key in it; then the clean and the dirty part are rewritten without the records that are older
//! than their key's latest. A tombstone that stays gets a delete horizon and goes in a later pass once that has come
//! (KIP-534). Records keep their offsets, and the covered offsets stay covered. A batch that is left empty goes, unless
//! it is the last of an active idempotent producer, or the last of the partition: readers come to the end by it, as Kafka's
//! do by its active segment, which is never cleaned. Control batches stay.
//!
//! If the keys do not fit into memory, the pass ends at the batch that filled it, and the rest stays dirty.

use std::collections::HashMap;

use millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX;
use millstream_record::{
    Batch, Offset, ProducerId, Record, RewriteOptions, Rewritten, TimestampMs, emptied, rewrite,
};

use super::bounds::{RangeBounds, Sizes};
use super::keys::LatestOffsets;
use super::output::{Output, RangeStart, Share};
use super::rewrite::open_scan;
use super::{PartitionFacts, Progress, SettleError, SlotView};
use crate::ids::{PackId, PartitionId};
use crate::manifest::{Edit, Manifests};
use crate::pack::{PackRange, RangeScan};
use crate::policy::PartitionPolicy;

/// What to compact of one partition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CompactPlan {
    pub(super) partition: PartitionId,
    pub(super) share: Share,
    policy: PartitionPolicy,
    log_start: Offset,
    /// Where the partition's last batch ends.
    log_end: Offset,
    /// The ranges to rewrite, in order: first clean ones, then dirty ones.
    ranges: Vec<(PackId, PackRange)>,
    /// How many of them are clean.
    clean: usize,
    /// Which part of their bytes is dirty; infinite when a record has waited too long.
    pub(super) dirty_ratio: f64,
}

impl CompactPlan {
    pub(super) fn input_bytes(&self) -> u64 {
        self.ranges.iter().map(|(_, range)| range.bytes).sum()
    }

    /// The offset after the last one to be looked at.
    fn end(&self) -> Offset {
        self.ranges
            .last()
            .map_or(Offset::ZERO, |(_, range)| range.end)
    }
}

/// What there is to compact of a partition now: everything once it is dirty enough or a record has waited long enough, or
/// else those ranges in which a tombstone's time has come.
pub(super) fn compactable(
    partition: PartitionId,
    facts: &PartitionFacts,
    ranges: &[(PackId, PackRange)],
    sizes: &Sizes,
    now: TimestampMs,
) -> Option<CompactPlan> {
    let policy = &facts.policy;
    if !policy.cleanup.compacts() {
        return None;
    }
    let before = |lag_ms: u64| now.saturating_sub(i64::try_from(lag_ms).unwrap_or(i64::MAX));
    let old_enough = before(policy.min_compaction_lag_ms);
    let settled = |range: &PackRange| {
        let waited = policy.min_compaction_lag_ms == 0 || range.max_timestamp <= old_enough;
        range.compacted || (waited && range.end <= facts.last_stable)
    };
    let cleanable = ranges
        .iter()
        .take_while(|(_, range)| settled(range))
        .count();
    let clean = ranges[..cleanable]
        .iter()
        .take_while(|(_, range)| range.compacted)
        .count();
    let (clean_ranges, dirty_ranges) = ranges[..cleanable].split_at(clean);

    let bytes = |ranges: &[(PackId, PackRange)]| -> u64 {
        ranges.iter().map(|(_, range)| range.bytes).sum()
    };
    let (clean_bytes, dirty_bytes) = (bytes(clean_ranges), bytes(dirty_ranges));
    let overdue = dirty_ranges.iter().any(|(_, range)| {
        range.first_timestamp != TimestampMs::NONE
            && range.first_timestamp < before(policy.max_compaction_lag_ms)
    });
    let dirty_ratio = match dirty_bytes {
        0 => 0.0,
        _ if overdue => f64::INFINITY,
        _ => dirty_bytes as f64 / (clean_bytes + dirty_bytes) as f64,
    };
    let log_end = ranges.last().map_or(Offset::ZERO, |(_, range)| range.end);
    let plan = |ranges: Vec<(PackId, PackRange)>, clean| CompactPlan {
        partition,
        share: sizes.share(bytes(&ranges)),
        policy: *policy,
        log_start: facts.log_start,
        log_end,
        ranges,
        clean,
        dirty_ratio,
    };
    if dirty_ratio > policy.min_cleanable_dirty_ratio {
        return Some(plan(ranges[..cleanable].to_vec(), clean));
    }
    let due: Vec<_> = clean_ranges
        .iter()
        .filter(|(_, range)| range.delete_horizon.is_some_and(|horizon| horizon <= now))
        .copied()
        .collect();
    let clean = due.len();
    (!due.is_empty()).then(|| plan(due, clean))
}

/// Compacts one partition after another.
pub(super) struct CompactJob {
    plans: Vec<CompactPlan>,
    sizes: Sizes,
    output: Output,
    keys: LatestOffsets,
    now: TimestampMs,
    /// The plan that is being carried out.
    at: usize,
    phase: Phase,
    /// The ranges that have been rewritten.
    replaced: Vec<(PackId, PackRange)>,
}

/// What is being done with the present partition.
enum Phase {
    /// Learning the latest offset of each key.
    Read(Cursor),
    /// Writing what stays.
    Write(Cursor, Pass),
}

/// A place in a plan's ranges.
struct Cursor {
    range: usize,
    scan: Option<RangeScan>,
}

/// What writing goes by.
struct Pass {
    /// Keys were read up to here; records from here on stay.
    end: Offset,
    /// Of each active producer, the last offset of its last batch.
    last_batches: HashMap<ProducerId, Offset>,
}

impl CompactJob {
    pub(super) fn new(
        manifests: &Manifests,
        plans: Vec<CompactPlan>,
        hash_key: (u64, u64),
        sizes: Sizes,
        now: TimestampMs,
    ) -> Self {
        let phase = Phase::Read(Cursor::new(plans.first().map_or(0, |plan| plan.clean)));
        Self {
            plans,
            sizes,
            output: Output::new(manifests, sizes, now),
            keys: LatestOffsets::new(hash_key, sizes.compaction_keys_max),
            now,
            at: 0,
            phase,
            replaced: Vec::new(),
        }
    }

    /// Reads or writes about `budget_bytes`, or finishes the job.
    pub(super) fn step(
        &mut self,
        manifests: &mut Manifests,
        view: &dyn SlotView,
        budget_bytes: u64,
    ) -> Result<Progress, SettleError> {
        let mut left = budget_bytes as i64;
        while left > 0 {
            if self.at == self.plans.len() {
                let edit = Edit {
                    add: self.output.finish()?,
                    drop_ranges: std::mem::take(&mut self.replaced),
                    ..Edit::default()
                };
                manifests.commit(&edit)?;
                for plan in &self.plans {
                    view.compacted(plan.partition, plan.end());
                }
                return Ok(Progress::Done);
            }
            left -= match self.phase {
                Phase::Read(_) => self.read_next(manifests, view)?,
                Phase::Write(..) => self.write_next(manifests)?,
            } as i64;
        }
        Ok(Progress::More)
    }

    pub(super) fn abandon(self, manifests: &mut Manifests) {
        manifests.abandon(self.output.begun());
    }

    /// Learns the keys of the next dirty batch, or goes on to writing.
    fn read_next(
        &mut self,
        manifests: &Manifests,
        view: &dyn SlotView,
    ) -> Result<usize, SettleError> {
        let Phase::Read(cursor) = &mut self.phase else {
            return Ok(0);
        };
        let plan = &mut self.plans[self.at];
        let Some(batch) = cursor.next_batch(manifests, plan)? else {
            if cursor.range < plan.ranges.len() {
                cursor.advance();
            } else {
                let end = plan.end();
                self.begin_writing(view, end);
            }
            return Ok(0);
        };
        // Records that cannot be decoded hide nothing: the batch stays as it is.
        let records = batch.records(BATCH_DECOMPRESSED_BYTES_MAX);
        for record in records.map_while(Result::ok) {
            if let (Some(key), false) = (&record.key, batch.header.control) {
                self.keys.put(key, record.offset);
            }
        }
        if self.keys.is_full() {
            let end = batch.header.next_offset();
            plan.ranges.retain(|(_, range)| range.first < end);
            self.begin_writing(view, end);
        }
        Ok(batch.bytes.len())
    }

    fn begin_writing(&mut self, view: &dyn SlotView, end: Offset) {
        let last_batches = view.last_batches(self.plans[self.at].partition);
        let pass = Pass { end, last_batches };
        self.phase = Phase::Write(Cursor::new(0), pass);
    }

    /// Writes what stays of the next batch, or goes on to the next range or partition.
    fn write_next(&mut self, manifests: &mut Manifests) -> Result<usize, SettleError> {
        let Phase::Write(cursor, pass) = &mut self.phase else {
            return Ok(0);
        };
        let plan = &self.plans[self.at];
        let Some((_, range)) = plan.ranges.get(cursor.range) else {
            self.output.end_range();
            self.replaced.extend_from_slice(&plan.ranges);
            self.next_partition();
            return Ok(0);
        };
        let first = range.first;
        if cursor.scan.is_none() && !follows(&self.output, plan.partition, first, first < pass.end)
        {
            begin(&mut self.output, manifests, plan, first, first < pass.end)?;
        }
        let Some(batch) = cursor.next_batch(manifests, plan)? else {
            self.output.cover(range.end);
            cursor.advance();
            return Ok(0);
        };
        let beyond = batch.header.base_offset >= pass.end;
        let kept = if beyond {
            Some(batch.clone())
        } else {
            keep(&batch, plan, pass, &self.keys, self.now)
        };
        if let Some(kept) = kept {
            let bounds = RangeBounds::of(&plan.policy, &self.sizes);
            let open = self.output.range().expect("begun with the input's range");
            if open.compacted == beyond || !bounds.takes_batch(open, &kept.header) {
                let base_offset = kept.header.base_offset;
                self.output.cover(base_offset);
                begin(&mut self.output, manifests, plan, base_offset, !beyond)?;
            }
            // What is due has just been dropped.
            let horizon = kept
                .header
                .delete_horizon
                .filter(|horizon| *horizon > self.now);
            self.output
                .append(kept.header.base_offset, horizon, &kept.bytes)?;
        }
        Ok(batch.bytes.len())
    }

    fn next_partition(&mut self) {
        self.at += 1;
        self.keys.clear();
        let clean = self.plans.get(self.at).map_or(0, |plan| plan.clean);
        self.phase = Phase::Read(Cursor::new(clean));
    }
}

impl Cursor {
    fn new(range: usize) -> Self {
        Self { range, scan: None }
    }

    /// The next batch of the present range; `None` at its end, or when there is no such range.
    fn next_batch(
        &mut self,
        manifests: &Manifests,
        plan: &CompactPlan,
    ) -> Result<Option<Batch>, SettleError> {
        let Some((pack, range)) = plan.ranges.get(self.range) else {
            return Ok(None);
        };
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => self.scan.insert(open_scan(manifests, *pack, range)?),
        };
        scan.next_batch().map_err(|source| SettleError::Input {
            pack: *pack,
            source,
        })
    }

    fn advance(&mut self) {
        self.range += 1;
        self.scan = None;
    }
}

/// Whether the open range of `output` can go on at `first`.
fn follows(output: &Output, partition: PartitionId, first: Offset, compacted: bool) -> bool {
    output.range().is_some_and(|open| {
        open.partition == partition && open.end == first && open.compacted == compacted
    })
}

fn begin(
    output: &mut Output,
    manifests: &mut Manifests,
    plan: &CompactPlan,
    first: Offset,
    compacted: bool,
) -> Result<(), SettleError> {
    let start = RangeStart {
        partition: plan.partition,
        first,
        compacted,
        index_interval_bytes: plan.policy.index_interval_bytes,
    };
    output.begin_range(manifests, plan.share, &start)
}

/// What stays of a batch.
fn keep(
    batch: &Batch,
    plan: &CompactPlan,
    pass: &Pass,
    keys: &LatestOffsets,
    now: TimestampMs,
) -> Option<Batch> {
    let header = &batch.header;
    if header.control {
        return Some(batch.clone());
    }
    let tombstones_due = header.delete_horizon.is_some_and(|horizon| horizon <= now);
    let stays = |record: &Record| {
        let Some(key) = &record.key else {
            return false;
        };
        let latest = keys.get(key).is_none_or(|latest| record.offset >= latest);
        latest && record.offset >= plan.log_start && !(tombstones_due && record.value.is_none())
    };
    let delete_retention_ms = i64::try_from(plan.policy.delete_retention_ms).unwrap_or(i64::MAX);
    let options = RewriteOptions {
        delete_horizon: Some(now.saturating_add(delete_retention_ms)),
        level: None,
        decompressed_bytes_max: BATCH_DECOMPRESSED_BYTES_MAX,
    };
    let rewritten = if header.record_count == 0 {
        Ok(Rewritten::Emptied)
    } else {
        rewrite(batch, &options, stays)
    };
    match rewritten {
        Ok(Rewritten::Changed(changed)) => Some(changed),
        Ok(Rewritten::Emptied) => {
            let last_of_producer = header.has_producer()
                && pass.last_batches.get(&header.producer_id) == Some(&header.last_offset());
            let last = header.next_offset() == plan.log_end;
            (last || last_of_producer).then(|| emptied(header))
        }
        // What cannot be decoded stays as it is: its bytes are what the producer sent.
        Ok(Rewritten::Unchanged) | Err(_) => Some(batch.clone()),
    }
}
