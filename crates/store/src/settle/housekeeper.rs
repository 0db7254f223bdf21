//! Keeps the packs in shape, one job at a time.

use millstream_record::TimestampMs;

use super::bounds::Sizes;
use super::compact::CompactJob;
use super::plan::{Bounds, Job, Memory, plan};
use super::rewrite::{Piece, RewriteJob};
use super::{Progress, SettleError, SlotView};
use crate::ids::PackId;
use crate::manifest::{Edit, Manifests};

/// When a pack that the medium has refused to read is tried again.
const REFUSED_RETRY_MS: i64 = 60_000;

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// There is nothing to do at present.
    Idle,
    /// It did something; there may be more.
    Worked,
}

/// What the disk has for rewriting packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// So many bytes may be written before anything is deleted.
    pub bytes: u64,
    /// Records are refused for want of room: giving back even a little is worth the work, and nothing else is.
    pub is_short: bool,
}

impl Space {
    /// As much as anything may need.
    pub const AMPLE: Self = Self {
        bytes: u64::MAX,
        is_short: false,
    };
}

/// Forgets, reclaims, compacts and merges. See [`super`] for what that means.
///
/// [`Housekeeper::step`] whenever there is time. Settling may go on between two steps of one job.
pub struct Housekeeper {
    hash_key: (u64, u64),
    sizes: Sizes,
    memory: Memory,
    running: Option<Running>,
}

enum Running {
    Rewrite(Box<RewriteJob>),
    Compact(Box<CompactJob>),
}

impl Housekeeper {
    /// A housekeeper whose compaction hashes keys with `hash_key`, which is random.
    pub(crate) fn new(hash_key: (u64, u64), sizes: Sizes) -> Self {
        Self {
            hash_key,
            sizes,
            memory: Memory::default(),
            running: None,
        }
    }

    /// Packs that were found missing or damaged, since the start. They are left as they are.
    pub fn damaged(&self) -> impl Iterator<Item = PackId> {
        self.memory.damaged.iter().copied()
    }

    /// Leaves this pack alone: it is known to be missing or damaged.
    pub fn set_damaged(&mut self, pack: PackId) {
        self.memory.damaged.insert(pack);
    }

    /// Moves about `budget_bytes` of the present job, or finds a new one that fits into `space`.
    ///
    /// A pack that is damaged is remembered, logged and left alone; one that the medium refuses to read is, for a while. On
    /// an error the job is given up; if [`SettleError::is_want_of_room`] says so, another step later is right.
    pub fn step(
        &mut self,
        manifests: &mut Manifests,
        view: &dyn SlotView,
        now: TimestampMs,
        space: Space,
        budget_bytes: u64,
    ) -> Result<Activity, SettleError> {
        let result = match &mut self.running {
            Some(running) => running.step(manifests, view, budget_bytes),
            None => return self.begin(manifests, view, now, space),
        };
        match result {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => self.end(),
            Err(SettleError::Input { pack, source }) => {
                if source.is_damage() {
                    tracing::warn!(%pack, error = %source, "a pack is damaged and left as it is");
                    self.memory.damaged.insert(pack);
                } else {
                    tracing::warn!(%pack, error = %source, "a pack cannot be read at present; trying again later");
                    let retry_at = now.saturating_add(REFUSED_RETRY_MS);
                    self.memory.refused.insert(pack, retry_at);
                }
                self.abandon(manifests);
            }
            Err(error) => {
                self.abandon(manifests);
                return Err(error);
            }
        }
        Ok(Activity::Worked)
    }

    /// Gives up the present job, if there is one.
    pub fn abandon(&mut self, manifests: &mut Manifests) {
        match self.running.take() {
            Some(Running::Rewrite(job)) => job.abandon(manifests),
            Some(Running::Compact(job)) => job.abandon(manifests),
            None => {}
        }
    }

    fn begin(
        &mut self,
        manifests: &mut Manifests,
        view: &dyn SlotView,
        now: TimestampMs,
        space: Space,
    ) -> Result<Activity, SettleError> {
        self.memory.refused.retain(|_, retry_at| now < *retry_at);
        let bounds = Bounds {
            sizes: &self.sizes,
            space,
        };
        match plan(manifests.current(), view, &self.memory, bounds, now) {
            None => return Ok(Activity::Idle),
            Some(Job::Forget(drop_ranges)) => {
                let edit = Edit {
                    drop_ranges,
                    ..Edit::default()
                };
                manifests.commit(&edit)?;
            }
            Some(Job::Rewrite(plan)) => {
                let job = RewriteJob::new(manifests, plan, self.sizes, now);
                self.running = Some(Running::Rewrite(Box::new(job)));
            }
            Some(Job::Compact(plans)) => {
                let job = CompactJob::new(manifests, plans, self.hash_key, self.sizes, now);
                self.running = Some(Running::Compact(Box::new(job)));
            }
        }
        Ok(Activity::Worked)
    }

    fn end(&mut self) {
        if let Some(Running::Rewrite(job)) = self.running.take() {
            let plan = job.plan();
            for Piece {
                range, log_start, ..
            } in &plan.pieces
            {
                self.memory.reclaimed.insert(range.partition, *log_start);
                if let Some(finished) = plan.finished.get(&range.partition) {
                    self.memory.consumed.note(range, *log_start, finished);
                }
            }
        }
    }
}

impl Running {
    fn step(
        &mut self,
        manifests: &mut Manifests,
        view: &dyn SlotView,
        budget_bytes: u64,
    ) -> Result<Progress, SettleError> {
        match self {
            Self::Rewrite(job) => job.step(manifests, budget_bytes),
            Self::Compact(job) => job.step(manifests, view, budget_bytes),
        }
    }
}

impl std::fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Housekeeper")
            .field("damaged", &self.memory.damaged)
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}
