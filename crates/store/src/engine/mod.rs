//! An open slot, put together: `commits` is how commits get in, `journal` how they are written, `room` what happens when
//! the disk has no room for them.

mod commits;
mod journal;
mod room;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use millstream_env::{DiskLock, Env, is_out_of_files};
use millstream_limits::{COMMIT_BYTES_MAX, JOURNAL_WAITING_BYTES_MAX};
use millstream_record::TimestampMs;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::Notify;

use journal::mark_start;

use crate::budget::Budget;
use crate::epochs::SlotEpoch;
use crate::error::{OpenError, SlotFailure, StoreError};
use crate::holders::Holders;
use crate::ids::{JournalPosition, PackId, PartitionId};
use crate::journal::arena::{Arena, Retirees};
use crate::journal::composer::{Composer, Group};
use crate::journal::queue::{Queue, Queued};
use crate::journal::writer::{JournalWriter, Reach};
use crate::manifest::Manifests;
use crate::media::JournalMedium;
use crate::pack::PackSet;
use crate::partition::Partition;
use crate::policy::PartitionPolicy;
use crate::recovery::{Recovered, recover};
use crate::replay::RecoveryReport;
use crate::room::Room;
use crate::sequencer::Sequencer;
use crate::settings::{Drive, SlotSettings};
use crate::state::State;
use crate::stats::{Counters, SlotStats};
use crate::ticket::Progress;

/// A journal buffer takes at most this part of the memory budget.
const BUFFER_PART: usize = 8;

/// And at most this much.
const BUFFER_BYTES_MAX: usize = 16 << 20;

/// While a group is being written, the next is composed once so much waits: a smaller one is better left to grow.
const AHEAD_BYTES: usize = 2 << 20;

/// How often the disk's free space is looked at while something is written, or while it is full.
const ROOM_INTERVAL: Duration = Duration::from_millis(200);

/// An open slot.
pub(crate) struct Engine {
    pub(crate) settings: SlotSettings,
    pub(crate) env: Env,
    pub(crate) state: Arc<State>,
    pub(crate) packs: Arc<PackSet>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) retirees: Arc<Retirees>,
    pub(crate) sequencer: Sequencer,
    pub(crate) journal: Arc<dyn JournalMedium>,
    pub(crate) report: RecoveryReport,
    pub(crate) room: Room,
    epoch: Arc<SlotEpoch>,
    partitions: RwLock<HashMap<PartitionId, Arc<Partition>>>,
    next_partition: AtomicU32,
    pub(crate) commit_bytes_max: u64,
    /// How much may wait for room in the journal before more is refused.
    waiting_bytes_max: usize,
    counters: Arc<Counters>,
    /// Taken by whoever composes a group, and held until that group's turn to be written has come: groups are written
    /// in the order in which they are composed.
    composer: Mutex<Composer>,
    /// Taken by whoever writes.
    writer: Mutex<JournalWriter>,
    /// Composed and not written yet, with [`crate::Drive::Manual`].
    composed: Mutex<VecDeque<Group>>,
    reach: Arc<Reach>,
    room_looked_at: Mutex<Option<(Duration, JournalPosition)>>,
    /// Up to where it has been settled.
    settled: AtomicU64,
    /// The boundary that the journal has written last and the settler has not asked for yet.
    sealed: Mutex<Option<JournalPosition>>,
    /// Partitions that are being dropped, or were, and of which packs may still hold something.
    pub(crate) dropped: Mutex<BTreeMap<PartitionId, Option<Arc<Partition>>>>,
    failed: Notify,
    pub(crate) settling: Signal,
    holders: RwLock<Option<Arc<dyn Holders>>>,
    _lock: DiskLock,
}

/// The packs of a slot that has been recovered.
pub(crate) struct Packed {
    pub(crate) manifests: Manifests,
    /// Those that should be there and are not.
    pub(crate) missing: Vec<PackId>,
}

/// Wakes the settler.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    condition: Condvar,
}

impl Signal {
    pub(crate) fn raise(&self) {
        *self.raised.lock() = true;
        self.condition.notify_one();
    }

    /// Blocks until it is raised or `timeout` is over.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let mut raised = self.raised.lock();
        if !*raised {
            match timeout {
                Some(timeout) => {
                    self.condition.wait_for(&mut raised, timeout);
                }
                None => self.condition.wait(&mut raised),
            }
        }
        *raised = false;
    }
}

impl Engine {
    /// Recovers the slot and makes it ready for commits.
    pub(crate) fn open(settings: SlotSettings, env: Env) -> Result<(Self, Packed), OpenError> {
        let budget = Arc::new(Budget::new(settings.memory_budget_bytes));
        let retirees = Arc::new(Retirees::new(Arc::clone(&budget)));
        let counters = Arc::new(Counters::new());
        let recovered = recover(&settings, &env, &budget, &retirees, &counters)?;
        let room = Room::new(
            Arc::clone(&env.disk),
            settings.data_dir.clone(),
            settings.disk_reserve_bytes,
            Arc::clone(&budget),
        );
        room.refresh(recovered.journal.room(JournalPosition::ZERO));
        Self::assemble(settings, env, (budget, retirees, counters), room, recovered)
    }

    fn assemble(
        settings: SlotSettings,
        env: Env,
        (budget, retirees, counters): (Arc<Budget>, Arc<Retirees>, Arc<Counters>),
        room: Room,
        recovered: Recovered,
    ) -> Result<(Self, Packed), OpenError> {
        let ahead_bytes = match settings.drive {
            Drive::Threads => AHEAD_BYTES,
            Drive::Manual => 0,
        };
        let queue = Arc::new(Queue::new(Arc::clone(&budget), ahead_bytes));
        let progress = Arc::new(Progress::default());
        let buffer_bytes =
            (settings.memory_budget_bytes / BUFFER_PART).clamp(1 << 16, BUFFER_BYTES_MAX);
        let covered = recovered.state.covered_position();
        retirees.set_settled(covered);
        let mut composer = Composer::new(
            Arc::clone(&recovered.journal),
            Arc::clone(&queue),
            Arena::new(Arc::clone(&retirees), buffer_bytes, recovered.chunks),
            recovered.end,
        );
        let reach = Arc::new(Reach::new(recovered.end.end, recovered.end.synced));
        let mut writer = JournalWriter::new(
            Arc::clone(&recovered.journal),
            Arc::clone(&env.clock),
            Arc::clone(&queue),
            Arc::clone(&progress),
            Arc::clone(&counters),
            Arc::clone(&reach),
        );
        queue.push(Queued::start(TimestampMs(env.clock.wall_ms())));
        mark_start(&mut composer, &mut writer, reach.synced(), &room, &settings)?;
        let sequencer = Sequencer::new(
            Arc::clone(&queue),
            Arc::clone(&progress),
            Arc::clone(&recovered.state),
            settings.producer_expiry,
            recovered.epoch.get(),
            recovered.dirty,
        );
        let file_bytes = recovered.journal.room(JournalPosition::ZERO);
        let engine = Self {
            commit_bytes_max: file_bytes.min(COMMIT_BYTES_MAX as u64),
            waiting_bytes_max: JOURNAL_WAITING_BYTES_MAX.min(file_bytes as usize / 2),
            state: recovered.state,
            packs: Arc::clone(recovered.manifests.packs()),
            queue,
            progress,
            budget,
            retirees,
            sequencer,
            journal: recovered.journal,
            report: recovered.report,
            room,
            epoch: recovered.epoch,
            partitions: RwLock::new(recovered.partitions),
            next_partition: AtomicU32::new(recovered.next_partition.0),
            counters,
            reach,
            settled: AtomicU64::new(covered.0),
            sealed: Mutex::new(None),
            dropped: Mutex::new(recovered.dropped),
            composer: Mutex::new(composer),
            writer: Mutex::new(writer),
            composed: Mutex::default(),
            room_looked_at: Mutex::new(None),
            failed: Notify::new(),
            settling: Signal::default(),
            holders: RwLock::new(None),
            _lock: recovered.lock,
            settings,
            env,
        };
        let packed = Packed {
            manifests: recovered.manifests,
            missing: recovered.missing_packs,
        };
        Ok((engine, packed))
    }

    pub(crate) fn now(&self) -> TimestampMs {
        TimestampMs(self.env.clock.wall_ms())
    }

    pub(crate) fn partition(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.partitions.read().get(&id).cloned()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        let mut all: Vec<_> = self.partitions.read().values().cloned().collect();
        all.sort_unstable_by_key(|partition| partition.id());
        all
    }

    pub(crate) fn next_partition_id(&self) -> PartitionId {
        PartitionId(self.next_partition.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn next_partition_unreserved(&self) -> PartitionId {
        PartitionId(self.next_partition.load(Ordering::Relaxed))
    }

    pub(crate) fn set_policy(&self, id: PartitionId, policy: PartitionPolicy) {
        if let Some(partition) = self.partition(id) {
            partition.sequence.lock().policy = Some(policy);
        }
    }

    pub(crate) fn set_holders(&self, holders: Arc<dyn Holders>) {
        *self.holders.write() = Some(holders);
    }

    pub(crate) fn holders(&self) -> Option<Arc<dyn Holders>> {
        self.holders.read().clone()
    }

    /// The position of the boundary that was drawn last, once the journal has written it.
    pub(crate) fn take_sealed(&self) -> Option<JournalPosition> {
        self.sealed.lock().take()
    }

    /// Everything before `position` is in packs and in the state table's checkpoint.
    pub(crate) fn set_settled(&self, position: JournalPosition) {
        self.settled.store(position.0, Ordering::Release);
        self.retirees.set_settled(position);
    }

    /// Stops acknowledging, for good.
    pub(crate) fn fail(&self, failure: SlotFailure) {
        tracing::error!(context = %failure.context, reason = %failure.reason, "the slot has failed: nothing is acknowledged any more");
        self.progress.fail(failure);
        self.queue.clear();
        self.budget.set_open(true);
        self.failed.notify_waiters();
        self.settling.raise();
    }

    /// Fails the slot for an error of settling, and returns whether it is one that passes.
    pub(crate) fn failed_settling(&self, context: &'static str, error: &StoreError) -> bool {
        if error.is_want_of_room() {
            if error.io_error().is_some_and(is_out_of_files) {
                tracing::warn!(context, %error, "too many files are open: trying again; raise the limit on open files");
            }
            return true;
        }
        self.fail(SlotFailure::new(context, error));
        false
    }

    pub(crate) async fn failure(&self) -> SlotFailure {
        loop {
            let failed = self.failed.notified();
            if let Some(failure) = self.progress.failure() {
                return failure.clone();
            }
            failed.await;
        }
    }

    /// Where the journal ends.
    pub(crate) fn written(&self) -> JournalPosition {
        self.reach.written()
    }

    /// Bytes in the journal that are not in packs.
    pub(crate) fn unsettled_bytes(&self) -> u64 {
        let settled = self.settled.load(Ordering::Acquire);
        self.reach.written().0.saturating_sub(settled)
    }

    pub(crate) fn stats(&self) -> SlotStats {
        let group_sizes = self.counters.groups.read();
        let write_times = self.counters.writes.read();
        let sync_times = self.counters.syncs.read();
        SlotStats {
            memory_bytes: self.budget.held_bytes() as u64,
            memory_budget_bytes: self.budget.limit_bytes() as u64,
            memory_cache_bytes: self.budget.evictable_bytes() as u64,
            producers_waiting: self.budget.waiting() as u64,
            unsettled_bytes: self.unsettled_bytes(),
            journal_commits: self.counters.commits.get(),
            journal_bytes: group_sizes.sum,
            journal_groups: group_sizes.total(),
            journal_syncs: sync_times.total(),
            journal_us: write_times.sum,
            journal_group_sizes: group_sizes,
            journal_write_times: write_times,
            journal_sync_times: sync_times,
            journal_group_us_max: self.counters.group_us_max(),
            disk_available_bytes: self.room.available_bytes(),
            disk_claimed_bytes: self.room.claimed_bytes(),
            disk_reserve_bytes: self.room.reserve_bytes(),
            disk_full: self.room.is_full(),
        }
    }
}
