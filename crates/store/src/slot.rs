//! A slot: one journal and the partitions and state that live on it.

use std::path::Path;
use std::sync::Arc;

use millstream_env::Env;
use parking_lot::Mutex;

use crate::backup::{BackupError, BackupSummary};
use crate::budget::Admission;
use crate::commit::{Commit, Sequenced, StateChanges};
use crate::driver::Driver;
use crate::engine::Engine;
use crate::error::{CommitError, OpenError, SlotFailure, StoreError};
use crate::holders::Holders;
use crate::ids::PartitionId;
use crate::partition::Partition;
use crate::policy::PartitionPolicy;
use crate::replay::RecoveryReport;
use crate::room::Stay;
use crate::sequencer::Prepared;
use crate::settings::{Drive, SlotSettings};
use crate::settler::Settler;
use crate::state::State;
use crate::stats::SlotStats;

/// A handle on an open slot; cloning it is cheap.
///
/// Dropping the last handle without [`Slot::shutdown`] is like a crash: nothing that was acknowledged is lost, and the
/// next start has to recover.
#[derive(Clone)]
pub struct Slot {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    settler: Arc<Mutex<Settler>>,
    driver: Option<Driver>,
}

impl Slot {
    /// Opens the slot in `settings.data_dir`, recovering what is there, or makes a new one. Blocks.
    pub fn open(settings: SlotSettings, env: Env) -> Result<Self, OpenError> {
        let drive = settings.drive;
        let (engine, packed) = Engine::open(settings, env)?;
        let engine = Arc::new(engine);
        let settler = Arc::new(Mutex::new(Settler::new(Arc::clone(&engine), packed)));
        let driver = match drive {
            Drive::Threads => Some(
                Driver::start(&engine, &settler)
                    .map_err(OpenError::io("starting the slot's threads"))?,
            ),
            Drive::Manual => None,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                settler,
                driver,
            }),
        })
    }

    /// Gives the commit its place: validates it, assigns offsets and queues it for the journal. Never waits, and does no
    /// I/O unless the commit requires something. On an error nothing has happened.
    pub fn commit(&self, commit: Commit) -> Result<Sequenced, CommitError> {
        self.engine().commit(commit)
    }

    /// The first half of a commit that a state machine takes part in: looks up what it names and what it requires, which may
    /// read the disk. `state_bytes_max` is how many bytes of state changes the machine will add at most.
    pub fn prepare(&self, commit: Commit, state_bytes_max: usize) -> Result<Prepared, CommitError> {
        self.engine().prepare(commit, state_bytes_max)
    }

    /// The second half: `then` runs when the commit cannot be refused any more, and adds the state changes that go with it.
    /// It runs within the order of commits: it has to be quick, and must not commit or read the state table. If the commit
    /// is refused it does not run. What the commit requires is compared again, in memory unless a checkpoint came in between.
    pub fn commit_prepared(
        &self,
        prepared: Prepared,
        then: impl FnOnce(&mut StateChanges),
    ) -> Result<Sequenced, CommitError> {
        self.engine().commit_prepared(prepared, then)
    }

    /// Whether there is room for what a client asks for; to be asked before a state machine is, which cannot take back what
    /// it has said. Appends need not ask, their commits are refused by themselves, and nor does what makes room: trims and
    /// deletions.
    pub fn check_room(&self, stay: Stay) -> Result<(), CommitError> {
        self.engine().check_room(stay)
    }

    /// What one commit can hold at most: it has to fit a file of the journal.
    pub fn commit_bytes_max(&self) -> u64 {
        self.engine().commit_bytes_max
    }

    /// Waits until there is memory for `bytes` more. Hold the admission until the commit has been sequenced.
    pub async fn admit(&self, bytes: usize) -> Admission {
        let engine = self.engine();
        let ask = || engine.settling.raise();
        Arc::clone(&engine.budget).admit(bytes, ask).await
    }

    /// Reserves a number for a partition that a commit will open. A number that is never used costs nothing.
    pub fn next_partition_id(&self) -> PartitionId {
        self.engine().next_partition_id()
    }

    /// The partition of that number; one that is opened by a commit is there as soon as the commit is sequenced.
    pub fn partition(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.engine().partition(id)
    }

    /// All partitions, by number.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.engine().partitions()
    }

    /// The state table, as of the last sequenced commit.
    pub fn state(&self) -> &State {
        &self.engine().state
    }

    /// Sets how a partition's records are kept, from now on. Policies are not persisted: set them again after opening.
    /// Until then a partition keeps everything.
    pub fn set_policy(&self, id: PartitionId, policy: PartitionPolicy) {
        self.engine().set_policy(id, policy);
    }

    /// Says whom to ask what of partitions with the policy `consumed` may go. Until it is set, all of it stays.
    pub fn set_holders(&self, holders: Arc<dyn Holders>) {
        self.engine().set_holders(holders);
    }

    /// Bytes that a partition's batches take up on the disk, those in the journal not counted.
    pub fn disk_usage(&self, id: PartitionId) -> u64 {
        self.engine().packs.size_bytes(id)
    }

    /// How the slot is doing.
    pub fn stats(&self) -> SlotStats {
        self.engine().stats()
    }

    /// What opening it found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.engine().report
    }

    /// Refuses further commits, makes durable what was sequenced, settles, and marks the slot as stopped in order.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        match &self.inner.driver {
            Some(driver) => driver.shutdown().await,
            None => self.inner.settler.lock().finish(),
        }
    }

    /// Copies the slot as it is now to `target`, a directory that is empty or does not exist. The slot goes on meanwhile.
    /// Blocks: for a moment the settler, for as long as it takes the caller.
    pub fn backup(&self, target: &Path) -> Result<BackupSummary, BackupError> {
        let backup = self.inner.settler.lock().begin_backup(target)?;
        backup.finish()
    }

    /// Why the slot has failed; after that nothing is acknowledged any more, and the process should end.
    pub fn failed(&self) -> Option<SlotFailure> {
        self.engine().progress.failure().cloned()
    }

    /// Resolves when the slot fails.
    pub async fn failure(&self) -> SlotFailure {
        self.engine().failure().await
    }

    /// Writes and publishes a group of what is queued, with [`Drive::Manual`]. `false` when nothing was.
    pub fn step_journal(&self) -> bool {
        self.engine().step_journal()
    }

    /// Composes a group of what is queued, to be written by a later [`Slot::step_journal`], with [`Drive::Manual`]: as
    /// happens beside the writing of another group. `false` when there is nothing to compose, or two wait already.
    pub fn step_composing(&self) -> bool {
        self.engine().step_composing()
    }

    /// Does one piece of settling or cleaning, with [`Drive::Manual`]. `false` when nothing is left to do.
    pub fn step_settling(&self) -> bool {
        self.inner.settler.lock().step()
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("data_dir", &self.engine().settings.data_dir)
            .finish_non_exhaustive()
    }
}
