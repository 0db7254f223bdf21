//! What a fetch has found so far, look by look.
//!
//! A look goes over the partitions in order and takes what is new in each, within Kafka's rules for sizes: the whole
//! answer and each partition's part are bounded, but the first batch found is always taken, so that a batch larger than
//! all bounds cannot stop a reader.
//!
//! Before anything is read its memory is claimed from the readers' budget. A look that has found nothing yet and gets no
//! memory is *starved*: it is to be [fed](Gathering::feed) and made again.

use std::sync::Arc;

use bytes::Bytes;
use millstream_limits::{ANSWER_BYTES_MIN, FETCH_BYTES_MAX};
use millstream_record::{Batch, BatchError, Batches, LeaderEpoch, Offset};
use millstream_store::{DiskRead, Offsets, Read, Wake};
use smallvec::SmallVec;

use super::Isolation;
use super::budget::{Held, ReadBudget};
use super::fetch::{FetchPart, FetchSpec};
use super::offsets::epoch_end;
use crate::error::BrokerError;
use crate::topics::PartitionHandle;

/// The answer for one part of a fetch.
#[derive(Debug)]
pub struct FetchedPart {
    /// The partition that was asked for.
    pub partition: PartitionHandle,
    /// What was found.
    pub result: Result<Fetched, BrokerError>,
}

/// What was found in one partition.
#[derive(Debug)]
pub struct Fetched {
    /// Where the partition began and ended when it was last looked at.
    pub offsets: Offsets,
    /// Whole batches, in order; shared with the store, never copied.
    pub slices: SmallVec<[Bytes; 4]>,
    /// Counts the slices' memory: keep it for as long as them.
    pub held: Held,
    /// What the reader read last does not exist (any more): where it has to go back to. There are no slices then.
    pub diverging: Option<EpochEnd>,
}

impl Fetched {
    /// The batches, in order. The first may begin before the offset that was asked for.
    pub fn batches(&self) -> impl Iterator<Item = Result<Batch, BatchError>> {
        self.slices.iter().cloned().flat_map(Batches::new)
    }
}

/// The end of a leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The leadership.
    pub epoch: LeaderEpoch,
    /// The offset after its last record.
    pub end: Offset,
}

/// A part for which the disk is needed.
pub(super) struct OnDisk {
    part: usize,
    read: DiskRead,
}

/// What a fetch has found so far.
pub(super) struct Gathering {
    parts: Vec<Part>,
    isolation: Isolation,
    /// What may still be taken.
    left_bytes: usize,
    /// What should be taken before the fetch returns.
    wanted_bytes: usize,
    /// The next batch is taken whatever its size.
    first_batch: bool,
    budget: ReadBudget,
    /// What the answer may take of the budget is decided.
    has_share: bool,
    /// What was waited for, and is not used yet.
    fed: Held,
    /// What has to be waited for before anything can be read.
    starved_bytes: Option<usize>,
}

struct Part {
    asked: FetchPart,
    offsets: Offsets,
    slices: SmallVec<[Bytes; 4]>,
    /// Bytes of `slices`.
    taken_bytes: usize,
    /// The memory they hold, and while something is read what that may take.
    held: Held,
    /// What may still be taken from this partition.
    left_bytes: usize,
    state: PartState,
}

enum PartState {
    /// Not looked at yet.
    New,
    /// More may come.
    Open,
    /// The next batch does not fit.
    Full,
    Diverging(EpochEnd),
    Failed(BrokerError),
}

impl Gathering {
    pub(super) fn new(spec: FetchSpec, budget: ReadBudget) -> Self {
        let left_bytes = spec.max_bytes.min(FETCH_BYTES_MAX);
        let part = |asked: FetchPart| Part {
            offsets: asked.partition.offsets(),
            slices: SmallVec::new(),
            taken_bytes: 0,
            held: Held::default(),
            left_bytes: asked.max_bytes,
            state: PartState::New,
            asked,
        };
        Self {
            parts: spec.parts.into_iter().map(part).collect(),
            isolation: spec.isolation,
            left_bytes,
            wanted_bytes: spec.min_bytes.min(left_bytes),
            first_batch: true,
            has_share: false,
            fed: Held::default(),
            starved_bytes: None,
            budget,
        }
    }

    /// Whether anything has been found.
    pub(super) fn has_some(&self) -> bool {
        !self.first_batch
    }

    /// How much memory has to be waited for before the next look can find anything; `None` for none.
    pub(super) fn starved(&self) -> Option<usize> {
        self.starved_bytes
    }

    /// Gives the next look the memory that the last one lacked.
    pub(super) fn feed(&mut self, held: Held) {
        self.fed.merge(held);
        self.starved_bytes = None;
    }

    /// Whether there is nothing to wait for.
    pub(super) fn is_done(&self) -> bool {
        let told =
            |part: &Part| matches!(part.state, PartState::Diverging(_) | PartState::Failed(_));
        let full = |part: &Part| matches!(part.state, PartState::Full);
        self.wanted_bytes == 0
            || (self.left_bytes == 0 && !self.first_batch)
            || self.parts.iter().any(told)
            || self.parts.iter().all(full)
    }

    pub(super) fn wake_on_append(&self, wake: &Arc<Wake>) {
        for part in &self.parts {
            // A full part could only wake the fetch for nothing.
            if matches!(part.state, PartState::Open) {
                part.asked.partition.log.wake_on_append(wake);
            }
        }
    }

    /// Looks at every partition, until one needs the disk.
    pub(super) fn look(&mut self) -> Option<OnDisk> {
        self.look_from(0)
    }

    /// Goes on where [`Gathering::look`] stopped, to the end. Blocks.
    pub(super) fn look_on_disk(&mut self, on_disk: OnDisk) {
        let mut next = Some(on_disk);
        while let Some(OnDisk { part, read }) = next {
            let read = read.run();
            let found_some = matches!(&read, Ok(slices) if !slices.is_empty());
            match read {
                Ok(slices) => self.take(part, slices),
                Err(error) => self.parts[part].fail(error.into()),
            }
            // What follows may lie in another pack, or in memory.
            next = self.look_from(if found_some { part } else { part + 1 });
        }
    }

    fn look_from(&mut self, first: usize) -> Option<OnDisk> {
        for part in first..self.parts.len() {
            if self.starved_bytes.is_some() {
                return None;
            }
            match self.read(part) {
                Ok(None) => {}
                Ok(Some(Read::Memory(slices))) => self.take(part, slices),
                Ok(Some(Read::Disk(read))) => return Some(OnDisk { part, read }),
                Err(error) => self.parts[part].fail(error),
            }
        }
        None
    }

    /// Starts to read what is new in a part; `None` where nothing is, or nothing more fits.
    fn read(&mut self, index: usize) -> Result<Option<Read>, BrokerError> {
        let part = &mut self.parts[index];
        if matches!(part.state, PartState::New) {
            part.state = PartState::Open;
            if let Some(end) = part.check_epochs()? {
                part.state = PartState::Diverging(end);
            }
        }
        let is_enough = part.left_bytes.min(self.left_bytes) == 0 && !self.first_batch;
        if !matches!(part.state, PartState::Open) || is_enough {
            return Ok(None);
        }
        let log = Arc::clone(&part.asked.partition.log);
        if log.is_dropped() {
            return Err(BrokerError::UnknownPartition);
        }
        part.offsets = log.offsets();
        let Offsets {
            log_start,
            high_watermark,
            log_end,
            ..
        } = part.offsets;
        let from = part.next();
        if from < log_start || from > log_end {
            return Err(BrokerError::OffsetOutOfRange {
                log_start,
                high_watermark,
            });
        }
        let end = self.isolation.end(&part.offsets);
        if from >= end {
            return Ok(None);
        }
        let Some(max_bytes) = self.claim(index) else {
            return Ok(None);
        };
        Ok(Some(log.read(from, max_bytes, end)?))
    }

    /// Claims memory for the next read from a part. Returns how much may be read, or `None` if nothing can be.
    fn claim(&mut self, index: usize) -> Option<usize> {
        if !self.has_share {
            self.has_share = true;
            let share_bytes = self.budget.share_bytes().max(self.fed.bytes());
            self.left_bytes = self.left_bytes.min(share_bytes);
            self.wanted_bytes = self.wanted_bytes.min(share_bytes);
        }
        let part = &mut self.parts[index];
        part.held.merge(std::mem::take(&mut self.fed));
        let max_bytes = part.left_bytes.min(self.left_bytes);
        if self
            .budget
            .grow(&mut part.held, part.taken_bytes + max_bytes)
        {
            return Some(max_bytes);
        }
        if self.first_batch && part.held.bytes() > 0 {
            return Some(part.held.bytes());
        }
        if self.first_batch {
            self.starved_bytes = Some(max_bytes.min(ANSWER_BYTES_MIN));
            self.has_share = false;
        } else {
            // A smaller answer now rather than a larger one when others are done.
            self.left_bytes = 0;
        }
        None
    }

    /// Takes what was read from a part, if it fits.
    fn take(&mut self, index: usize, slices: SmallVec<[Bytes; 4]>) {
        let part = &mut self.parts[index];
        let bytes: usize = slices.iter().map(Bytes::len).sum();
        if bytes > part.left_bytes.min(self.left_bytes) && !self.first_batch {
            part.held.shrink_to(part.taken_bytes);
            part.state = PartState::Full;
            return;
        }
        // Only a first batch that is larger than what was claimed for it is not covered yet.
        if !self.budget.grow(&mut part.held, part.taken_bytes + bytes) {
            part.held.shrink_to(part.taken_bytes);
            self.starved_bytes = Some(bytes);
            return;
        }
        part.taken_bytes += bytes;
        part.held.shrink_to(part.taken_bytes);
        self.first_batch &= bytes == 0;
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        self.wanted_bytes = self.wanted_bytes.saturating_sub(bytes);
        part.left_bytes = part.left_bytes.saturating_sub(bytes);
        if part.left_bytes == 0 && bytes > 0 {
            part.state = PartState::Full;
        }
        part.asked.partition.topic().count_fetched(&slices);
        part.slices.extend(slices);
    }

    pub(super) fn finish(self) -> Vec<FetchedPart> {
        self.parts.into_iter().map(Part::finish).collect()
    }
}

impl Part {
    /// Checks what the reader believes about leaderships. Returns where it has to go back to, if it has to.
    fn check_epochs(&self) -> Result<Option<EpochEnd>, BrokerError> {
        let log = &self.asked.partition.log;
        super::offsets::check_leader_epoch(self.asked.leader_epoch, self.offsets.leader_epoch)?;
        let Some(last_fetched) = self.asked.last_fetched_epoch else {
            return Ok(None);
        };
        let Some(end) = epoch_end(log, last_fetched) else {
            let Offsets {
                log_start,
                high_watermark,
                ..
            } = self.offsets;
            return Err(BrokerError::OffsetOutOfRange {
                log_start,
                high_watermark,
            });
        };
        let diverges = end.epoch < last_fetched || end.end < self.asked.from;
        Ok(diverges.then_some(end))
    }

    /// The offset after what was taken.
    fn next(&self) -> Offset {
        let taken = self
            .slices
            .iter()
            .rev()
            .find_map(|slice| Batches::new(slice.clone()).map_while(Result::ok).last());
        taken.map_or(self.asked.from, |batch| batch.header.next_offset())
    }

    /// What was taken before a failure is still good: the reader meets the failure when it comes back for more.
    fn fail(&mut self, error: BrokerError) {
        self.held.shrink_to(self.taken_bytes);
        self.state = if self.slices.is_empty() {
            PartState::Failed(error)
        } else {
            PartState::Full
        };
    }

    fn finish(self) -> FetchedPart {
        let (offsets, slices, held) = (self.offsets, self.slices, self.held);
        let result = match self.state {
            PartState::Failed(error) => Err(error),
            PartState::Diverging(end) => Ok(Fetched {
                offsets,
                slices,
                held,
                diverging: Some(end),
            }),
            PartState::New | PartState::Open | PartState::Full => Ok(Fetched {
                offsets,
                slices,
                held,
                diverging: None,
            }),
        };
        FetchedPart {
            partition: self.asked.partition,
            result,
        }
    }
}
