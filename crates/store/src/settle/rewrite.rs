//! Rewriting packs: the batches that are still wanted, in better packs.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_record::{Offset, TimestampMs, emptied};

use super::bounds::{RangeBounds, Sizes};
use super::output::{Output, RangeStart, Share};
use super::{Finished, Progress, SettleError, covers};
use crate::format::FormatError;
use crate::ids::{PackId, PartitionId};
use crate::manifest::{Edit, Manifests};
use crate::pack::{PackError, PackRange, RangeScan};

/// How much of a pack is read at a time.
pub(super) const READ_CHUNK_BYTES: usize = 4 << 20;

/// Which packs to replace, and what of them stays.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RewritePlan {
    /// The packs to replace.
    pub(super) inputs: Vec<PackId>,
    /// Their ranges in the order in which they are written.
    pub(super) pieces: Vec<Piece>,
    /// What is finished of partitions that drop it: batches within are left out.
    pub(super) finished: HashMap<PartitionId, Finished>,
}

/// A range to be rewritten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    pub(super) share: Share,
    pub(super) pack: PackId,
    pub(super) range: PackRange,
    /// What decides whether it becomes one range with the one before it.
    pub(super) bounds: RangeBounds,
    pub(super) index_interval_bytes: u32,
    /// Batches that end before this are left out.
    pub(super) log_start: Offset,
    /// Where the partition's last batch ends. Of that one the header stays at least, for readers to come to the end by.
    pub(super) log_end: Offset,
}

impl Piece {
    /// Where what is wanted of the range begins. Never beyond its end, whatever the log start: a range that covered more
    /// than its own offsets would cover the next one's.
    fn first_wanted(&self) -> Offset {
        self.range.first.max(self.log_start).min(self.range.end)
    }
}

/// Carries out a [`RewritePlan`].
pub(super) struct RewriteJob {
    plan: RewritePlan,
    output: Output,
    /// The piece that comes next, or is being read.
    at: usize,
    scan: Option<RangeScan>,
    /// Whether the piece being read has a range in the output yet.
    begun: bool,
}

impl RewriteJob {
    pub(super) fn new(
        manifests: &Manifests,
        plan: RewritePlan,
        sizes: Sizes,
        now: TimestampMs,
    ) -> Self {
        Self {
            plan,
            output: Output::new(manifests, sizes, now),
            at: 0,
            scan: None,
            begun: false,
        }
    }

    /// Moves about `budget_bytes`, or finishes the job.
    pub(super) fn step(
        &mut self,
        manifests: &mut Manifests,
        budget_bytes: u64,
    ) -> Result<Progress, SettleError> {
        let mut left = budget_bytes as i64;
        while left > 0 {
            let Some(piece) = self.plan.pieces.get(self.at).copied() else {
                let edit = Edit {
                    add: self.output.finish()?,
                    remove: std::mem::take(&mut self.plan.inputs),
                    ..Edit::default()
                };
                manifests.commit(&edit)?;
                return Ok(Progress::Done);
            };
            left -= self.copy_next(manifests, &piece)? as i64;
        }
        Ok(Progress::More)
    }

    pub(super) fn abandon(self, manifests: &mut Manifests) {
        manifests.abandon(self.output.begun());
    }

    /// What was carried out: up to which log start, and what of the finished, batches were left out.
    pub(super) fn plan(&self) -> &RewritePlan {
        &self.plan
    }

    /// Copies the next batch, or goes on to the next piece.
    fn copy_next(
        &mut self,
        manifests: &mut Manifests,
        piece: &Piece,
    ) -> Result<usize, SettleError> {
        let finished = self.plan.finished.get(&piece.range.partition);
        let is_finished =
            |first, end| finished.is_some_and(|finished| covers(finished, first, end));
        let is_last = piece.range.end == piece.log_end && piece.log_start < piece.log_end;
        if self.scan.is_none() && !is_last && is_finished(piece.range.first, piece.range.end) {
            // Nothing of it stays, so it need not be read.
            if !self.continues(piece) {
                self.begin(manifests, piece, piece.first_wanted())?;
            }
            self.output.cover(piece.range.end);
            self.at += 1;
            return Ok(0);
        }
        if self.scan.is_none() {
            self.scan = Some(open_scan(manifests, piece.pack, &piece.range)?);
            self.begun = self.continues(piece);
        }
        let scan = self.scan.as_mut().expect("opened above");
        let batch = scan.next_batch().map_err(|source| SettleError::Input {
            pack: piece.pack,
            source,
        })?;
        let Some(batch) = batch else {
            if !self.begun {
                self.begin(manifests, piece, piece.first_wanted())?;
            }
            self.output.cover(piece.range.end);
            self.scan = None;
            self.at += 1;
            return Ok(0);
        };
        let read_bytes = batch.bytes.len();
        let header = &batch.header;
        let base_offset = header.base_offset;
        let kept = if header.last_offset() < piece.log_start {
            None
        } else if !is_finished(base_offset, header.next_offset()) {
            Some(batch)
        } else {
            (header.next_offset() == piece.log_end).then(|| emptied(header))
        };
        if let Some(batch) = kept {
            if !self.begun {
                let first = piece.first_wanted().min(base_offset);
                self.begin(manifests, piece, first)?;
            }
            // Horizons before the range's own have passed, and their tombstones are gone.
            let since = piece.range.delete_horizon;
            let horizon = batch.header.delete_horizon;
            let horizon = horizon.filter(|horizon| since.is_some_and(|since| *horizon >= since));
            self.output.append(base_offset, horizon, &batch.bytes)?;
        }
        Ok(read_bytes)
    }

    /// Whether the piece becomes one range with what was written last.
    fn continues(&self, piece: &Piece) -> bool {
        self.output.range().is_some_and(|range| {
            range.partition == piece.range.partition
                && piece.bounds.takes_range(range, &piece.range)
        })
    }

    fn begin(
        &mut self,
        manifests: &mut Manifests,
        piece: &Piece,
        first: Offset,
    ) -> Result<(), SettleError> {
        self.begun = true;
        let start = RangeStart {
            partition: piece.range.partition,
            first,
            compacted: piece.range.compacted,
            index_interval_bytes: piece.index_interval_bytes,
        };
        self.output.begin_range(manifests, piece.share, &start)
    }
}

/// Starts reading a range of a pack.
pub(super) fn open_scan(
    manifests: &Manifests,
    id: PackId,
    range: &PackRange,
) -> Result<RangeScan, SettleError> {
    let open = || -> Result<RangeScan, PackError> {
        let pack = manifests.packs().open(id)?;
        let entry = pack.range(range.partition, range.first);
        let entry = entry.filter(|entry| entry.range == *range);
        let entry = entry.ok_or(FormatError::Malformed {
            what: "pack",
            why: "it does not hold what the manifest says",
        })?;
        Ok(Arc::clone(&pack).scan(&entry, READ_CHUNK_BYTES))
    };
    open().map_err(|source| SettleError::Input { pack: id, source })
}
