//! Does a slot's background work, a step at a time: moves the journal into packs and keeps the packs in shape.
//!
//! A *round* of settling draws a boundary in the order of commits, waits until the journal has written it, puts all
//! batches before it into packs, has the state table take a checkpoint at it, and trims the journal up to it. Between
//! rounds, packs are looked after: retention, merging, compaction. [`crate::settle`] does the work proper; here it is
//! decided when.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_record::Offset;

use crate::backup::{Backup, BackupError};
use crate::commit::{Commit, Trim};
use crate::engine::{Engine, Packed};
use crate::error::{CommitError, SlotFailure, StoreError, is_want_of_room};
use crate::ids::{JournalPosition, PartitionId};
use crate::layout::Layout;
use crate::manifest::Manifests;
use crate::policy::Durability;
use crate::sequencer::Sealed;
use crate::settle::{
    Activity, Finished, Housekeeper, Progress, SealedBatch, SealedPartition, SettleError,
    SettleJob, Sizes, SlotView, Space, covers, expired,
};
use crate::ticket::CommitNumber;
use crate::view::View;

/// How much one step moves.
const STEP_BYTES: u64 = 8 << 20;

/// Settling starts when this part of the memory budget is not settled, if that is less than what is set.
const BUDGET_PART: u64 = 4;

/// A round is worth the while from so many bytes on, however small the disk.
const SETTLE_BYTES_MIN: u64 = 1 << 20;

/// How often it is asked whether compaction waits for records that are not settled.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(10);

/// How soon settling is tried again after the disk was full.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// How soon it is looked again whether what queues have finished is durable.
const ANSWER_RETRY: Duration = Duration::from_millis(10);

/// Does a slot's background work.
pub(crate) struct Settler {
    engine: Arc<Engine>,
    manifests: Manifests,
    housekeeper: Housekeeper,
    /// How large packs become.
    sizes: Sizes,
    view: View,
    round: Round,
    /// The last commit that is in packs.
    settled: CommitNumber,
    /// Since when there has been something to settle.
    unsettled_since: Option<Duration>,
    /// When it was last asked whether compaction waits for what is not settled.
    compaction_asked_at: Option<Duration>,
    /// Nothing is tried before this.
    retry_at: Option<Duration>,
    /// Settling is not tried before this; what gives room back may be.
    settle_at: Option<Duration>,
    /// Since when packs have been in shape; `None` when they are to be looked after at once.
    housekept_at: Option<Duration>,
    housekeeping: bool,
    /// It has been asked what is finished, and the answer is not durable yet.
    asked: bool,
    preparing: bool,
}

/// How far a round is.
enum Round {
    /// There is none.
    Idle,
    /// The boundary is on its way into the journal.
    Sealing(Sealed),
    /// Batches are being written.
    Writing {
        sealed: Sealed,
        upto: JournalPosition,
        job: Box<SettleJob>,
    },
    /// Everything is in packs; the state table is next.
    Written {
        sealed: Sealed,
        upto: JournalPosition,
    },
}

impl Settler {
    pub(crate) fn new(engine: Arc<Engine>, packed: Packed) -> Self {
        let rng = &engine.env.rng;
        let sizes = Sizes::within(engine.room.reserve_bytes());
        let mut housekeeper = Housekeeper::new((rng.next_u64(), rng.next_u64()), sizes);
        for pack in packed.missing {
            housekeeper.set_damaged(pack);
        }
        let view = View::new(Arc::clone(&engine));
        let now = engine.env.clock.monotonic();
        Self {
            // What recovery replayed is to be settled as well.
            unsettled_since: (engine.report.entries > 0).then_some(now),
            housekept_at: Some(now),
            engine,
            manifests: packed.manifests,
            housekeeper,
            sizes,
            view,
            round: Round::Idle,
            settled: CommitNumber::default(),
            compaction_asked_at: None,
            retry_at: None,
            settle_at: None,
            housekeeping: false,
            asked: false,
            preparing: false,
        }
    }

    /// Does one piece of work. `false` when there is none at present.
    pub(crate) fn step(&mut self) -> bool {
        if self.engine.progress.failure().is_some() {
            return false;
        }
        let now = self.engine.env.clock.monotonic();
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        self.retry_at = None;
        let worked = match self.try_settling(now) {
            Ok(false) => self.step_housekeeping(now),
            settled => settled,
        };
        match worked {
            Ok(true) => true,
            Ok(false) => self.step_preparing(),
            Err(error) => {
                if self.engine.failed_settling("settling", &error) {
                    self.engine.look_for_room();
                    self.retry_at = Some(now + ROOM_RETRY);
                }
                false
            }
        }
    }

    /// Takes the round one step further, or begins one if it is time. What there is no room for is tried again later:
    /// meanwhile what has been deleted can give its room back.
    fn try_settling(&mut self, now: Duration) -> Result<bool, StoreError> {
        if self.settle_at.is_some_and(|at| now < at) {
            return Ok(false);
        }
        self.settle_at = None;
        match self.step_settling(now, false) {
            Err(error) if error.is_want_of_room() => {
                self.engine.failed_settling("settling", &error);
                // What cannot be settled would fill the disk.
                self.engine.room.set_settling_waits(true);
                self.engine.look_for_room();
                self.settle_at = Some(now + ROOM_RETRY);
                Ok(false)
            }
            settled => settled,
        }
    }

    /// How long there is certainly nothing to do, if nobody raises the signal.
    pub(crate) fn idle_time(&self) -> Option<Duration> {
        let now = self.engine.env.clock.monotonic();
        let settle_at = self.unsettled_since.map(|since| {
            let asked = self.compaction_asked_at.unwrap_or(since);
            (since + self.engine.settings.settle_after).min(asked + COMPACTION_INTERVAL)
        });
        let settle_at = settle_at.filter(|_| matches!(self.round, Round::Idle));
        let asked = self.asked.then_some(now + ANSWER_RETRY);
        let waiters = self.engine.budget.has_waiters().then_some(now + ROOM_RETRY);
        let housekeep_at = Some(self.housekeeping_at(now));
        let next = match self.retry_at {
            Some(retry) => Some(retry),
            None => [settle_at, self.settle_at, housekeep_at, asked, waiters]
                .into_iter()
                .flatten()
                .min(),
        };
        next.map(|next| next.saturating_sub(now))
    }

    /// Whether the slot has time for this work, so that it can be spread out.
    pub(crate) fn is_pressed(&self) -> bool {
        self.engine.budget.has_waiters() || self.engine.unsettled_bytes() > 2 * self.threshold()
    }

    /// Copies all but the packs to `target`.
    pub(crate) fn begin_backup(&self, target: &Path) -> Result<Backup, BackupError> {
        Backup::begin(
            &self.engine.env,
            Layout::new(&self.engine.settings.data_dir),
            target,
            &self.manifests,
            &self.engine.state,
            &self.engine.journal,
            self.engine.written(),
        )
    }

    /// Ends the slot's life in order: everything sequenced is written, settled and checkpointed.
    pub(crate) fn finish(&mut self) -> Result<(), StoreError> {
        self.engine.sequencer.close();
        self.housekeeper.abandon(&mut self.manifests);
        let now = self.engine.env.clock.monotonic();
        for last in [false, true] {
            // First the round under way, then one that leaves nothing.
            while last || !matches!(self.round, Round::Idle) {
                while self.engine.step_journal() {}
                if let Some(failure) = self.engine.progress.failure() {
                    return Err(StoreError::Failed(failure.clone()));
                }
                let worked = self.step_settling(now, last)?;
                if last && worked && matches!(self.round, Round::Idle) {
                    return Ok(());
                }
                if !worked && self.engine.room.journal_waits() {
                    return Err(StoreError::io("settling")(
                        std::io::ErrorKind::StorageFull.into(),
                    ));
                }
                if !worked {
                    // Another thread is writing what this one waits for.
                    std::thread::yield_now();
                }
            }
        }
        Ok(())
    }

    /// Takes the round one step further, or begins one if it is time. With `clean` it is time, and the last time.
    fn step_settling(&mut self, now: Duration, clean: bool) -> Result<bool, StoreError> {
        match std::mem::replace(&mut self.round, Round::Idle) {
            Round::Idle => {
                if !clean && !self.is_due(now) {
                    return Ok(false);
                }
                Ok(self.seal(clean))
            }
            Round::Sealing(sealed) => {
                let Some(upto) = self.engine.take_sealed() else {
                    self.round = Round::Sealing(sealed);
                    return Ok(false);
                };
                let job = self.begin_job(&sealed, upto);
                self.round = Round::Writing { sealed, upto, job };
                Ok(true)
            }
            Round::Writing {
                sealed,
                upto,
                mut job,
            } => {
                match job.step(&mut self.manifests, STEP_BYTES) {
                    Ok(Progress::More) => self.round = Round::Writing { sealed, upto, job },
                    Ok(Progress::Done) => {
                        for (partition, end) in &sealed.partitions {
                            partition.set_settled(*end);
                        }
                        self.round = Round::Written { sealed, upto };
                    }
                    Err(error) => {
                        job.abandon(&mut self.manifests);
                        let job = self.begin_job(&sealed, upto);
                        self.round = Round::Writing { sealed, upto, job };
                        return Err(error.into());
                    }
                }
                Ok(true)
            }
            Round::Written { sealed, upto } => {
                if let Err(error) = self.engine.state.write(&sealed.checkpoint, upto) {
                    if error.is_want_of_room() {
                        self.round = Round::Written { sealed, upto };
                        return Err(error.into());
                    }
                    let failure =
                        SlotFailure::new("writing a checkpoint of the state table", error);
                    self.engine.fail(failure.clone());
                    return Err(StoreError::Failed(failure));
                }
                self.end_round(&sealed, upto)?;
                Ok(true)
            }
        }
    }

    fn is_due(&mut self, now: Duration) -> bool {
        if self.engine.sequencer.last() == self.settled && self.engine.sequencer.is_all_settled() {
            self.unsettled_since = None;
            return false;
        }
        let since = *self.unsettled_since.get_or_insert(now);
        // What waits for room in the journal is written with the next boundary.
        self.engine.room.journal_waits()
            || now.saturating_sub(since) >= self.engine.settings.settle_after
            || self.engine.unsettled_bytes() >= self.threshold()
            || self.compaction_waits(now)
    }

    /// Whether a record should have been compacted by now (`max.compaction.lag.ms`) and is not even settled. Asked now
    /// and then only, because it looks at every partition.
    fn compaction_waits(&mut self, now: Duration) -> bool {
        let asked = self.compaction_asked_at;
        if asked.is_some_and(|at| now.saturating_sub(at) < COMPACTION_INTERVAL) {
            return false;
        }
        self.compaction_asked_at = Some(now);
        let wall = self.engine.now();
        let partitions = self.engine.partitions();
        partitions
            .iter()
            .any(|partition| partition.waits_for_compaction(wall))
    }

    /// So many unsettled bytes are enough for a round. While the disk is full it takes less: what has been settled needs
    /// its place in the journal no more.
    fn threshold(&self) -> u64 {
        let settings = &self.engine.settings;
        let reserve = self.engine.room.reserve_bytes();
        let usual = settings
            .settle_after_bytes
            .min(settings.journal_bytes_max / 2)
            .min(settings.memory_budget_bytes as u64 / BUDGET_PART)
            .min(reserve.max(SETTLE_BYTES_MIN));
        if self.engine.room.is_full() {
            usual.min(reserve / 16)
        } else {
            usual
        }
    }

    fn seal(&mut self, clean: bool) -> bool {
        let next_partition = || self.engine.next_partition_unreserved();
        let tombstones = self.view.take_spent_tombstones();
        // What is asked before the boundary is drawn is durable when it has been written.
        self.view.ask_finished(false);
        let wall = self.engine.now();
        let sealed = self
            .engine
            .sequencer
            .seal(wall, next_partition, &tombstones, clean);
        match sealed {
            Some(sealed) => {
                self.unsettled_since = None;
                self.round = Round::Sealing(sealed);
                true
            }
            None => false,
        }
    }

    fn begin_job(&self, sealed: &Sealed, upto: JournalPosition) -> Box<SettleJob> {
        let _ = self.view.take_finished();
        let mut work = Vec::with_capacity(sealed.partitions.len());
        for (partition, end) in &sealed.partitions {
            if partition.durability() == Durability::Memory || partition.is_dropped() {
                continue;
            }
            let (first, batches) = partition.unsettled(upto);
            // What all queues have finished by now never gets to a pack.
            let policy = partition.policy().unwrap_or_default();
            let finished = self.view.finished(partition.id());
            let finished = finished.filter(|_| policy.consumed);
            let wanted = batches.into_iter().filter(|batch| {
                let covers = |finished: &Finished| covers(finished, batch.base, batch.last.next());
                !finished.as_ref().is_some_and(covers)
            });
            let batches = wanted.map(|batch| SealedBatch {
                base_offset: batch.base,
                bytes: batch.stored().clone(),
            });
            work.push(SealedPartition {
                partition: partition.id(),
                first,
                end: *end,
                policy,
                batches: batches.collect(),
            });
        }
        let job = SettleJob::new(&self.manifests, work, upto, self.engine.now(), self.sizes);
        Box::new(job)
    }

    fn end_round(&mut self, sealed: &Sealed, upto: JournalPosition) -> Result<(), StoreError> {
        self.engine.set_settled(upto);
        self.engine.room.set_settling_waits(false);
        self.settled = sealed.number;
        self.housekept_at = None;
        self.preparing = true;
        match self.engine.journal.trim(upto) {
            // The next round trims this as well.
            Err(error) if is_want_of_room(&error) => Ok(()),
            trimmed => trimmed.map_err(StoreError::io("trimming the journal")),
        }
    }

    /// When packs are looked after next. A full disk does not wait long: what was just deleted is to make room.
    fn housekeeping_at(&self, now: Duration) -> Duration {
        let interval = if self.engine.room.is_full() {
            ROOM_RETRY
        } else {
            self.engine.settings.housekeeping_interval
        };
        self.housekept_at.map_or(now, |at| at + interval)
    }

    /// Looks after the packs, if it is time.
    fn step_housekeeping(&mut self, now: Duration) -> Result<bool, StoreError> {
        if !self.housekeeping {
            if now < self.housekeeping_at(now) {
                return Ok(false);
            }
            self.housekeeping = true;
            // What a full disk has no room for would only queue up.
            self.view.ask_finished(!self.engine.room.is_full());
            self.asked = true;
            return Ok(true);
        }
        if self.asked {
            // With a full disk the answer may not come before there is room, which the rest makes.
            if !self.view.take_finished() && !self.engine.room.is_full() {
                return Ok(false);
            }
            self.asked = false;
            self.retain()?;
            return Ok(true);
        }
        let wall = self.engine.now();
        let room = &self.engine.room;
        let space = Space {
            bytes: room.unclaimed_bytes(),
            is_short: room.is_full(),
        };
        let activity =
            self.housekeeper
                .step(&mut self.manifests, &self.view, wall, space, STEP_BYTES)?;
        if activity == Activity::Idle {
            self.housekeeping = false;
            self.housekept_at = Some(now);
        }
        Ok(activity == Activity::Worked)
    }

    /// Moves log starts up as retention says.
    fn retain(&mut self) -> Result<(), StoreError> {
        let now = self.engine.now();
        let mut moves = expired(self.manifests.current(), &self.view, now);
        moves.extend(
            self.engine
                .partitions()
                .into_iter()
                .filter_map(|partition| {
                    let in_memory = partition.durability() == Durability::Memory;
                    let log_start = in_memory.then(|| partition.expired_in_memory(now))??;
                    Some((partition.id(), log_start))
                }),
        );
        moves.extend(self.finished_fronts());
        if moves.is_empty() {
            return Ok(());
        }
        let trims = moves.into_iter().map(|(partition, log_start)| Trim {
            partition,
            log_start,
        });
        let commit = Commit {
            trims: trims.collect(),
            ..Commit::default()
        };
        match self.engine.commit(commit) {
            Err(CommitError::Failed(failure)) => Err(StoreError::Failed(failure)),
            // A partition that was dropped meanwhile: the next time will do.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Where partitions begin that drop what queues have finished: after what is finished without a gap.
    fn finished_fronts(&self) -> Vec<(PartitionId, Offset)> {
        let partitions = self.engine.partitions().into_iter();
        let fronts = partitions.filter_map(|partition| {
            partition.policy().filter(|policy| policy.consumed)?;
            let finished = self.view.finished(partition.id())?;
            let front = finished.first()?;
            let log_start = partition.offsets().log_start;
            let moves = front.start <= log_start && log_start < front.end;
            moves.then_some((partition.id(), front.end))
        });
        fronts.collect()
    }

    fn step_preparing(&mut self) -> bool {
        self.engine.retirees.trim();
        match self.engine.journal.prepare(!self.engine.room.is_full()) {
            Ok(more) => more,
            Err(error) => {
                let error = StoreError::io("preparing the journal")(error);
                self.engine.failed_settling("preparing the journal", &error);
                false
            }
        }
    }
}

impl From<SettleError> for StoreError {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Input { source, .. } | SettleError::Output(source) => source.into(),
            SettleError::Manifest(error) => error.into(),
        }
    }
}
