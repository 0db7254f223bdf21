//! Writes groups and publishes them.
//!
//! A group is written in one piece, synced if anything in it asks for that, and only then shown to readers and its
//! tickets resolved, in the order of the journal. While it is written, the next one queues up: that is the whole of
//! group commit. If a lot is waiting already, the next one is composed meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_env::Clock;

use super::composer::Group;
use super::entry::Kind;
use super::queue::{Queue, Queued};
use crate::error::SlotFailure;
use crate::ids::JournalPosition;
use crate::media::JournalMedium;
use crate::stats::Counters;
use crate::tail::TailBatch;
use crate::ticket::{CommitNumber, Progress};

/// How far the journal is written and synced, for those who do not write it.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    written: AtomicU64,
    synced: AtomicU64,
}

impl Reach {
    pub(crate) fn new(written: JournalPosition, synced: JournalPosition) -> Self {
        Self {
            written: AtomicU64::new(written.0),
            synced: AtomicU64::new(synced.0),
        }
    }

    /// Where the journal ends.
    pub(crate) fn written(&self) -> JournalPosition {
        JournalPosition(self.written.load(Ordering::Acquire))
    }

    /// Everything before this is durable.
    pub(crate) fn synced(&self) -> JournalPosition {
        JournalPosition(self.synced.load(Ordering::Acquire))
    }
}

/// The journal's one writer.
pub(crate) struct JournalWriter {
    medium: Arc<dyn JournalMedium>,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    counters: Arc<Counters>,
    reach: Arc<Reach>,
    failed: bool,
}

impl JournalWriter {
    pub(crate) fn new(
        medium: Arc<dyn JournalMedium>,
        clock: Arc<dyn Clock>,
        queue: Arc<Queue>,
        progress: Arc<Progress>,
        counters: Arc<Counters>,
        reach: Arc<Reach>,
    ) -> Self {
        Self {
            medium,
            clock,
            queue,
            progress,
            counters,
            reach,
            failed: false,
        }
    }

    /// Writes and publishes a group. Returns its end if it was sealed. After an error the slot has failed: nothing that
    /// was in the group is acknowledged, and no later group is written.
    pub(crate) fn write(&mut self, group: Group) -> Result<Option<JournalPosition>, SlotFailure> {
        if self.failed {
            let reason = "an earlier group could not be written";
            return Err(SlotFailure::new("writing the journal", reason));
        }
        let sync = group.commits.iter().any(|queued| queued.sync);
        let before = self.clock.monotonic();
        if let Err(error) = self.medium.append(group.start, &group.bytes, sync) {
            self.failed = true;
            return Err(SlotFailure::new("writing the journal", error));
        }
        let took = self.clock.monotonic().saturating_sub(before);
        self.reach.written.store(group.end.0, Ordering::Release);
        if sync {
            self.reach.synced.store(group.end.0, Ordering::Release);
        }
        self.counters
            .wrote_group(group.commits.len(), group.bytes.len(), took);
        Ok(self.publish(group, sync))
    }

    /// Shows the group to readers and resolves its tickets.
    fn publish(&mut self, group: Group, synced: bool) -> Option<JournalPosition> {
        let batch_bytes = group.commits.iter().map(Queued::batch_bytes).sum();
        let mut last = CommitNumber::default();
        let mut sealed = None;
        for (queued, placed) in group.commits.into_iter().zip(&group.layout) {
            let frames = queued.frame.appends.iter().zip(&queued.appends);
            for ((frame, append), range) in frames.zip(&placed.batches) {
                let stored = group.bytes.slice(range.clone());
                for (target, partition) in frame.targets.iter().zip(&append.targets) {
                    partition.publish(TailBatch::new(
                        target.1,
                        frame.targets[0].1,
                        frame.last_offset_delta,
                        frame.max_timestamp,
                        placed.position,
                        stored.clone(),
                    ));
                }
            }
            queued.effects.publish();
            if queued.kind == Kind::Seal {
                sealed = Some(group.end);
            }
            last = queued.number;
        }
        self.queue.done(batch_bytes);
        self.progress.advance(last, synced);
        sealed
    }
}
