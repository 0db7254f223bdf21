//! Where jobs put their batches: packs of one partition, and packs that many share.

use bytes::Bytes;
use millstream_record::{Offset, TimestampMs};

use super::SettleError;
use super::bounds::Sizes;
use crate::ids::{PackId, PartitionId};
use crate::manifest::Manifests;
use crate::pack::{PackInfo, PackRange, PackWriter};

/// Whom a pack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// One partition.
    Own,
    /// Any number of partitions, in order.
    Shared,
}

/// The packs that a job writes. Ranges come in order of share (own packs first), partition and offset.
pub(super) struct Output {
    writer: PackWriter,
    now: TimestampMs,
    sizes: Sizes,
    share: Share,
    /// The partition of the open pack's last range.
    partition: Option<PartitionId>,
    /// Numbers of packs begun.
    begun: Vec<PackId>,
    finished: Vec<PackInfo>,
}

impl Output {
    /// Packs on the medium of `manifests`, begun at `now`.
    pub(super) fn new(manifests: &Manifests, sizes: Sizes, now: TimestampMs) -> Self {
        Self {
            writer: PackWriter::new(manifests.packs().medium().clone()),
            now,
            sizes,
            share: Share::Own,
            partition: None,
            begun: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Ends the open range and starts another, in a new pack if the open one is not for it or is full.
    pub(super) fn begin_range(
        &mut self,
        manifests: &mut Manifests,
        share: Share,
        range: &RangeStart,
    ) -> Result<(), SettleError> {
        self.end_range();
        let other_partition = self.partition.is_some_and(|open| open != range.partition);
        let unfit = self.share != share || (share == Share::Own && other_partition);
        if self.writer.is_open() && (unfit || self.is_full()) {
            self.finish_pack()?;
        }
        if !self.writer.is_open() {
            self.begin_pack(manifests)?;
        }
        self.share = share;
        self.partition = Some(range.partition);
        self.writer.begin_range(
            range.partition,
            range.first,
            range.compacted,
            range.index_interval_bytes,
        );
        Ok(())
    }

    /// The open range so far.
    pub(super) fn range(&self) -> Option<&PackRange> {
        self.writer.range()
    }

    /// Adds a batch to the open range; see [`PackWriter::append_at`].
    pub(super) fn append(
        &mut self,
        base_offset: Offset,
        delete_horizon: Option<TimestampMs>,
        batch: &Bytes,
    ) -> Result<(), SettleError> {
        self.writer
            .append_at(base_offset, delete_horizon, batch)
            .map_err(SettleError::Output)
    }

    /// Makes the open range cover everything up to `end`.
    pub(super) fn cover(&mut self, end: Offset) {
        self.writer.cover(end);
    }

    /// Ends the open range, if there is one.
    pub(super) fn end_range(&mut self) {
        if self.writer.range().is_some() {
            self.writer.end_range();
        }
    }

    /// Finishes the last pack and hands over all of them.
    pub(super) fn finish(&mut self) -> Result<Vec<PackInfo>, SettleError> {
        self.end_range();
        if self.writer.is_open() {
            self.finish_pack()?;
        }
        Ok(std::mem::take(&mut self.finished))
    }

    /// The numbers of all packs that were begun: what to abandon when the job fails.
    pub(super) fn begun(&self) -> &[PackId] {
        &self.begun
    }

    fn is_full(&self) -> bool {
        let bytes_max = match self.share {
            Share::Own => self.sizes.own_pack_target,
            Share::Shared => self.sizes.shared_pack_max,
        };
        self.writer.size_bytes() >= bytes_max || self.writer.is_footer_full()
    }

    fn begin_pack(&mut self, manifests: &mut Manifests) -> Result<(), SettleError> {
        // Asked for each pack: other jobs may have changed the manifest since the last one.
        let origin = manifests.origin(self.now)?;
        let id = manifests.allocate();
        self.begun.push(id);
        self.writer
            .begin(origin.header(id))
            .map_err(SettleError::Output)
    }

    fn finish_pack(&mut self) -> Result<(), SettleError> {
        let pack = self.writer.finish().map_err(SettleError::Output)?;
        self.finished.push(pack);
        self.partition = None;
        Ok(())
    }
}

/// How a range starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct RangeStart {
    pub(super) partition: PartitionId,
    /// The first offset it covers.
    pub(super) first: Offset,
    /// All it covers came out of compaction.
    pub(super) compacted: bool,
    /// How far apart its index entries are.
    pub(super) index_interval_bytes: u32,
}
