//! Settling: a sealed range of tails becomes packs.

use bytes::Bytes;
use millstream_record::{BatchHeader, Offset, TimestampMs};

use super::bounds::{RangeBounds, Sizes};
use super::output::{Output, RangeStart, Share};
use super::{Progress, SettleError};
use crate::ids::{JournalPosition, PartitionId};
use crate::manifest::{Edit, Manifests};
use crate::policy::PartitionPolicy;

/// What of one partition is to be settled.
#[derive(Debug, Clone)]
pub struct SealedPartition {
    /// The partition.
    pub partition: PartitionId,
    /// Where packs end so far: the first offset that the new range covers.
    pub first: Offset,
    /// The offset after the last one to be settled.
    pub end: Offset,
    /// Its settings.
    pub policy: PartitionPolicy,
    /// Its batches in order.
    pub batches: Vec<SealedBatch>,
}

/// A batch to be settled.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    /// Its offset in this partition.
    pub base_offset: Offset,
    /// The batch, whole; its own base offset may be another partition's.
    pub bytes: Bytes,
}

/// Writes one round of sealed tails into packs: one that all share, and packs of their own for partitions with more
/// than 8 MiB in the round.
///
/// [`SettleJob::step`] until it is done; then the manifest lists the packs, and the tails and the journal before
/// `settled` (once the state table has been checkpointed) are not needed any more. After an error call
/// [`SettleJob::abandon`] and, if the error allows it, start again with a new job.
pub struct SettleJob {
    sizes: Sizes,
    work: Vec<(Share, SealedPartition)>,
    settled: JournalPosition,
    output: Output,
    /// The partition in `work` and the batch in it that come next.
    next: (usize, usize),
}

impl SettleJob {
    /// A job that settles `partitions`, which is everything in the journal before `settled` that is not settled yet.
    pub(crate) fn new(
        manifests: &Manifests,
        partitions: Vec<SealedPartition>,
        settled: JournalPosition,
        now: TimestampMs,
        sizes: Sizes,
    ) -> Self {
        let mut work: Vec<_> = partitions
            .into_iter()
            .filter(|sealed| sealed.first < sealed.end)
            .map(|sealed| {
                let bytes: u64 = sealed
                    .batches
                    .iter()
                    .map(|batch| batch.bytes.len() as u64)
                    .sum();
                (sizes.share(bytes), sealed)
            })
            .collect();
        work.sort_by_key(|(share, sealed)| (*share == Share::Shared, sealed.partition));
        Self {
            sizes,
            work,
            settled,
            output: Output::new(manifests, sizes, now),
            next: (0, 0),
        }
    }

    /// Writes about `budget_bytes`, or finishes the job.
    pub fn step(
        &mut self,
        manifests: &mut Manifests,
        budget_bytes: u64,
    ) -> Result<Progress, SettleError> {
        let mut left = budget_bytes as i64;
        while left > 0 {
            let Some(written) = self.write_next(manifests)? else {
                self.finish(manifests)?;
                return Ok(Progress::Done);
            };
            left -= written as i64;
        }
        Ok(Progress::More)
    }

    /// Gives up: what was written is deleted.
    pub fn abandon(self, manifests: &mut Manifests) {
        manifests.abandon(self.output.begun());
    }

    /// Writes the next batch; `None` when there is none.
    fn write_next(&mut self, manifests: &mut Manifests) -> Result<Option<usize>, SettleError> {
        let (at, batch) = self.next;
        let Some((share, sealed)) = self.work.get(at) else {
            return Ok(None);
        };
        if batch == 0 {
            let start = range_start(sealed, sealed.first);
            self.output.begin_range(manifests, *share, &start)?;
        }
        let Some(batch) = sealed.batches.get(batch) else {
            self.output.cover(sealed.end);
            self.next = (at + 1, 0);
            return Ok(Some(0));
        };
        let header =
            BatchHeader::parse(&batch.bytes).map_err(|error| SettleError::Output(error.into()))?;
        let bounds = RangeBounds::of(&sealed.policy, &self.sizes);
        let range = self.output.range().expect("begun with the first batch");
        if !bounds.takes_batch(range, &header) {
            self.output.cover(batch.base_offset);
            let start = range_start(sealed, batch.base_offset);
            self.output.begin_range(manifests, *share, &start)?;
        }
        self.output.append(batch.base_offset, None, &batch.bytes)?;
        self.next.1 += 1;
        Ok(Some(batch.bytes.len()))
    }

    fn finish(&mut self, manifests: &mut Manifests) -> Result<(), SettleError> {
        let edit = Edit {
            settled: Some(self.settled),
            add: self.output.finish()?,
            ..Edit::default()
        };
        manifests.commit(&edit)?;
        Ok(())
    }
}

fn range_start(sealed: &SealedPartition, first: Offset) -> RangeStart {
    RangeStart {
        partition: sealed.partition,
        first,
        compacted: false,
        index_interval_bytes: sealed.policy.index_interval_bytes,
    }
}

impl std::fmt::Debug for SettleJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettleJob")
            .field("partitions", &self.work.len())
            .field("settled", &self.settled)
            .finish_non_exhaustive()
    }
}
