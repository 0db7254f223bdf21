//! How large packs become, and how much of a partition goes into one range.

use millstream_limits::COMPACTION_KEYS_MAX;
use millstream_record::{BatchHeader, TimestampMs};

use super::output::Share;
use crate::pack::PackRange;
use crate::policy::PartitionPolicy;

/// What settling and housekeeping go by. One set of values is right for a server; tests use smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// A partition with more than this in one round, or in the packs that are merged, gets packs of its own. In bytes,
    /// as all but the last.
    pub(super) own_pack_min: u64,
    /// Packs of one partition are not merged beyond this: large enough that files are few, small enough that rewriting
    /// one is soon done.
    pub(super) own_pack_target: u64,
    /// Packs of many partitions do not grow beyond this.
    pub(super) shared_pack_max: u64,
    /// Packs below this are all of one size when it comes to merging.
    pub(super) small_pack: u64,
    /// A pack with less dead space than this is not rewritten for it.
    pub(super) reclaim_min: u64,
    /// One compaction job ends when it has read so much: what it wrote is then in force, and other work gets its turn.
    pub(super) compaction_target: u64,
    /// The most keys that one compaction pass looks at.
    pub(super) compaction_keys_max: usize,
}

impl Sizes {
    /// The values for a server on a disk of the usual size.
    const SERVER: Self = Self {
        own_pack_min: 8 << 20,
        own_pack_target: 128 << 20,
        shared_pack_max: 1 << 30,
        small_pack: 1 << 20,
        reclaim_min: 1 << 20,
        compaction_target: 256 << 20,
        compaction_keys_max: COMPACTION_KEYS_MAX,
    };

    /// The values for a server on whose disk `reserve_bytes` are kept free: what is rewritten has to fit there.
    pub(crate) fn within(reserve_bytes: u64) -> Self {
        let target = (reserve_bytes / 2).clamp(SMALLEST_PACK_TARGET, Self::SERVER.own_pack_target);
        Self {
            own_pack_min: Self::SERVER.own_pack_min.min(target / 2),
            own_pack_target: target,
            shared_pack_max: Self::SERVER.shared_pack_max.min(2 * target),
            small_pack: Self::SERVER.small_pack.min(target / 8),
            reclaim_min: Self::SERVER.reclaim_min.min(target / 8),
            ..Self::SERVER
        }
    }

    /// Whose pack a partition with so many bytes in one job goes to.
    pub(super) fn share(&self, bytes: u64) -> Share {
        if bytes > self.own_pack_min {
            Share::Own
        } else {
            Share::Shared
        }
    }
}

/// Packs of one partition are merged up to this size at least, however small the disk.
const SMALLEST_PACK_TARGET: u64 = 2 << 20;

/// Into how many parts at least retention cuts what it keeps, so that it drops in small steps.
const RETENTION_STEPS: u64 = 8;

/// The most that one range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RangeBounds {
    bytes: u64,
    span_ms: u64,
}

impl RangeBounds {
    /// The bounds that a partition's settings ask for.
    pub(super) fn of(policy: &PartitionPolicy, sizes: &Sizes) -> Self {
        let mut bounds = Self {
            bytes: policy.segment_bytes.min(sizes.own_pack_target),
            span_ms: policy.segment_ms,
        };
        if policy.cleanup.deletes() {
            let step = |whole: Option<u64>| whole.map_or(u64::MAX, |whole| whole / RETENTION_STEPS);
            bounds.bytes = bounds.bytes.min(step(policy.retention_bytes));
            bounds.span_ms = bounds.span_ms.min(step(policy.retention_ms));
        }
        bounds
    }

    /// Whether `range` may go on with this batch.
    pub(super) fn takes_batch(&self, range: &PackRange, header: &BatchHeader) -> bool {
        range.is_empty()
            || self.fits(
                range.bytes + u64::from(header.size_bytes),
                range.first_timestamp,
                range.max_timestamp.max(header.max_timestamp),
            )
    }

    /// Whether `range` may go on with all of `next`, which follows it without a gap.
    pub(super) fn takes_range(&self, range: &PackRange, next: &PackRange) -> bool {
        let first_timestamp = if range.first_timestamp == TimestampMs::NONE {
            next.first_timestamp
        } else {
            range.first_timestamp
        };
        range.end == next.first
            && range.compacted == next.compacted
            && (range.is_empty()
                || next.is_empty()
                || self.fits(
                    range.bytes + next.bytes,
                    first_timestamp,
                    range.max_timestamp.max(next.max_timestamp),
                ))
    }

    fn fits(&self, bytes: u64, first: TimestampMs, max: TimestampMs) -> bool {
        let span_ms = max.0.saturating_sub(first.0).max(0) as u64;
        let has_times = first != TimestampMs::NONE;
        bytes <= self.bytes && (!has_times || span_ms <= self.span_ms)
    }
}
