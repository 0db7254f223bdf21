//! Drives one run: life after life of a slot on one simulated disk.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millstream_env::sim::{Faults, SimDisk};
use millstream_env::{Env, ManualClock, SeededRng};
use millstream_store::{
    CommitError, Drive, Durability, PartitionId, Slot, SlotSettings, Stay, Ticket,
};

use crate::model::{Batch, Effect, State};
use crate::rot::{self, Rot};
use crate::workload::{self, Maker};
use crate::{model, observed};

const DIR: &str = "/slot";

/// Room for everything that a run can write.
const DISK_BYTES: u64 = 256 << 20;

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Plan {
    seed: u64,
    faults: Faults,
    /// The disk fills up at times.
    fills: bool,
    /// In the end a bit of what is durable turns over.
    rots: bool,
    lives: u64,
    traced: bool,
}

impl Plan {
    /// Most seeds only crash; some have a disk that fails or fills up as well.
    pub fn for_seed(seed: u64) -> Self {
        let faults = match seed % 10 {
            2 => Faults {
                out_of_files_one_in: 8,
                ..Faults::default()
            },
            3 => Faults {
                read_error_one_in: 60,
                ..Faults::default()
            },
            4 => Faults {
                change_error_one_in: 20,
                ..Faults::default()
            },
            5 => Faults {
                full_one_in: 60,
                ..Faults::default()
            },
            6 => Faults {
                sync_error_one_in: 60,
                ..Faults::default()
            },
            7 => Faults {
                write_error_one_in: 80,
                ..Faults::default()
            },
            _ => Faults::default(),
        };
        Self {
            seed,
            faults,
            fills: matches!(seed % 10, 2 | 5 | 8),
            rots: seed % 10 >= 8,
            lives: 2 + seed % 4,
            traced: false,
        }
    }

    /// Says what happens.
    pub fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// What is in packs cannot be read at times.
    fn has_failing_reads(&self) -> bool {
        self.faults.read_error_one_in > 0 || self.faults.out_of_files_one_in > 0
    }

    /// On a disk whose fsync does nothing.
    pub fn lying(mut self) -> Self {
        self.faults.fsync_is_a_lie = true;
        self
    }
}

/// What happened in a run, counted: to tell that a test tests something, and that a seed names one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    commits: u64,
    acknowledged: u64,
    lost: u64,
    refused_full: u64,
    refused_state: u64,
    lives: u64,
    clean: u64,
    power_failures: u64,
    killed_midway: u64,
    failures: u64,
    from_packs: u64,
    rot_noticed: u64,
    rot_refused: u64,
    rot_harmless: u64,
    changes: u64,
}

impl AddAssign for Fate {
    fn add_assign(&mut self, other: Self) {
        self.commits += other.commits;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.refused_full += other.refused_full;
        self.refused_state += other.refused_state;
        self.lives += other.lives;
        self.clean += other.clean;
        self.power_failures += other.power_failures;
        self.killed_midway += other.killed_midway;
        self.failures += other.failures;
        self.from_packs += other.from_packs;
        self.rot_noticed += other.rot_noticed;
        self.rot_refused += other.rot_refused;
        self.rot_harmless += other.rot_harmless;
        self.changes += other.changes;
    }
}

impl Fate {
    /// That the seeds between them saw everything they are there for.
    pub fn check_coverage(&self) {
        let seen = [
            ("acknowledged commits", self.acknowledged),
            ("commits lost in a crash", self.lost),
            ("refusals for want of room", self.refused_full),
            (
                "changes of state refused for want of room",
                self.refused_state,
            ),
            ("stops in order", self.clean),
            ("power failures", self.power_failures),
            ("kills in the middle of something", self.killed_midway),
            ("failures of the slot", self.failures),
            ("partitions read from packs", self.from_packs),
            ("damage in what is served", self.rot_noticed),
            ("damage that keeps the slot from opening", self.rot_refused),
            ("damage that does not matter", self.rot_harmless),
        ];
        for (what, count) in seen {
            assert!(count > 0, "no seed saw any {what}");
        }
    }
}

/// How the slot stopped the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    InOrder,
    Crash,
    /// It crashed while it was stopping in order, or while it was opened after that; or there was nothing yet.
    Unclear,
}

pub struct World {
    plan: Plan,
    rng: SeededRng,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    /// What the slot held when it was last opened.
    base: State,
    /// What was sequenced since, in order.
    log: Vec<Effect>,
    /// What the slot holds if nothing is lost.
    state: State,
    /// Commits up to this many of the log have to survive a power failure, or the end of the process.
    synced: usize,
    written: usize,
    /// Commits up to this many have to be there now.
    floor: usize,
    waiting: Vec<(usize, Ticket)>,
    /// The offsets of memory partitions, and what they hold in this life.
    memory: BTreeMap<u32, (i64, Vec<Batch>)>,
    /// High watermarks that readers have seen.
    seen: BTreeMap<u32, i64>,
    epoch: i32,
    stop: Stop,
    fate: Fate,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let disk = SimDisk::new(plan.seed ^ 0xD15C, DISK_BYTES);
        Self {
            rng: SeededRng::new(plan.seed),
            disk,
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            base: State::default(),
            log: Vec::new(),
            state: State::default(),
            synced: 0,
            written: 0,
            floor: 0,
            waiting: Vec::new(),
            memory: BTreeMap::new(),
            seen: BTreeMap::new(),
            epoch: -1,
            stop: Stop::Unclear,
            fate: Fate::default(),
            plan,
        }
    }

    pub fn run(mut self) -> Result<Fate, String> {
        for life in 0..self.plan.lives {
            let slot = self.open()?;
            self.fate.lives += 1;
            let last = life + 1 == self.plan.lives;
            self.live(&slot, last)?;
        }
        let slot = self.open()?;
        self.check_all(&slot)?;
        if self.plan.rots {
            rot::outdate(&slot);
            drop(slot);
            self.rot()?;
        }
        self.fate.changes = self.disk.changes();
        Ok(self.fate)
    }

    /// Opens the slot, if need be several times, and checks what is there.
    fn open(&mut self) -> Result<Slot, String> {
        for attempt in 0.. {
            self.disk.set_faults(if attempt < 3 {
                self.plan.faults
            } else {
                Faults {
                    fsync_is_a_lie: self.plan.faults.fsync_is_a_lie,
                    ..Faults::default()
                }
            });
            if attempt < 3 && self.rng.one_in(5) {
                self.disk.fail_power_after(self.rng.below(40));
            }
            if attempt == 3 {
                self.disk.set_capacity(DISK_BYTES);
            }
            match Slot::open(Self::settings(), self.env()) {
                Ok(slot) => {
                    self.recovered(&slot)?;
                    return Ok(slot);
                }
                Err(error) if attempt < 3 => {
                    self.say(|| format!("opening failed: {error}"));
                    if self.stop == Stop::InOrder {
                        self.stop = Stop::Unclear;
                    }
                    self.die();
                }
                Err(error) => return Err(format!("opening: {error}")),
            }
        }
        unreachable!("the loop ends by returning")
    }

    fn settings() -> SlotSettings {
        SlotSettings {
            drive: Drive::Manual,
            memory_budget_bytes: 1 << 20,
            journal_file_bytes: 64 << 10,
            settle_after_bytes: 100 << 10,
            settle_after: Duration::from_millis(500),
            housekeeping_interval: Duration::from_millis(500),
            ..SlotSettings::new(DIR)
        }
    }

    fn env(&self) -> Env {
        Env {
            clock: Arc::clone(&self.clock) as _,
            rng: Arc::new(SeededRng::new(self.plan.seed ^ self.fate.lives)),
            disk: self.disk.mount(),
        }
    }

    /// Compares what was recovered with what the log allows.
    fn recovered(&mut self, slot: &Slot) -> Result<(), String> {
        let found = self.observe(slot)?;
        let mut state = self.base.clone();
        let mut why = Vec::new();
        let mut kept = None;
        for count in 0..=self.log.len() {
            if count > 0 {
                state.apply(&self.log[count - 1]);
            }
            if count < self.floor {
                continue;
            }
            match state.difference(&found) {
                None => kept = Some((count, state.clone())),
                Some(difference) => why.push(format!("after {count} commits: {difference}")),
            }
        }
        let Some((count, state)) = kept else {
            return Err(format!(
                "what was recovered is not the first {} to {} commits:\n{}",
                self.floor,
                self.log.len(),
                why.join("\n")
            ));
        };
        self.say(|| format!("recovered {count} of {} commits", self.log.len()));
        self.fate.lost += (self.log.len() - count) as u64;
        self.check_epoch(slot, &state)?;
        let seen = std::mem::take(&mut self.seen);
        check_seen(&seen, &state)?;
        // The number of a partition whose opening was lost is given out again.
        self.memory.clear();
        for (id, partition) in &state.partitions {
            let policy = workload::policy(partition.compacted);
            slot.set_policy(PartitionId(*id), policy);
            if partition.durability == Durability::Memory {
                let next = workload::handle(slot, *id)?.offsets().log_end.0;
                let seen = seen.get(id).copied().unwrap_or_default();
                if next < seen {
                    return Err(format!(
                        "memory partition {id} resumes at {next}, readers saw {seen}"
                    ));
                }
                self.memory.insert(*id, (next, Vec::new()));
            }
        }
        self.base = state.clone();
        self.state = state;
        self.log.clear();
        self.waiting.clear();
        (self.synced, self.written, self.floor) = (0, 0, 0);
        Ok(())
    }

    /// What the slot holds, read without the disk's faults getting in the way.
    fn observe(&self, slot: &Slot) -> Result<State, String> {
        let faults = self.disk.set_faults(Faults::default());
        let found = observed::state(slot, |id| self.is_compacted(id));
        self.disk.set_faults(faults);
        found
    }

    /// Whether the partition is compacted, also if its end is not certain.
    fn is_compacted(&self, id: u32) -> bool {
        let opened = self.log.iter().flat_map(|effect| &effect.opens);
        let base = self.base.partitions.get(&id);
        base.is_some_and(|partition| partition.compacted)
            || opened
                .into_iter()
                .any(|(opened, _, compacted)| *opened == id && *compacted)
    }

    fn check_epoch(&mut self, slot: &Slot, state: &State) -> Result<(), String> {
        let epoch = slot.recovery().leader_epoch.0;
        let rises = epoch > self.epoch;
        if self.stop == Stop::InOrder && rises {
            return Err(format!("the epoch rose to {epoch} after a stop in order"));
        }
        if self.stop == Stop::Crash && !rises {
            return Err(format!("the epoch stayed {epoch} after a crash"));
        }
        self.epoch = epoch;
        self.stop = Stop::Crash;
        for (id, partition) in &state.partitions {
            let handle = workload::handle(slot, *id)?;
            for batch in &partition.batches {
                let at = batch.base.max(partition.log_start);
                let found = handle.epoch_at(millstream_record::Offset(at)).0;
                if found != batch.epoch {
                    return Err(format!(
                        "offset {at} of {id} has epoch {found}, not {}",
                        batch.epoch
                    ));
                }
            }
        }
        Ok(())
    }

    /// One life of the slot, up to its end.
    fn live(&mut self, slot: &Slot, last: bool) -> Result<(), String> {
        if !self.rng.one_in(3) {
            self.disk.fail_power_after(self.rng.below(400));
        }
        if self.plan.fills {
            self.disk
                .set_capacity(self.disk.used_bytes() + (self.rng.below(1500) << 10));
        }
        let steps = 20 + self.rng.below(150);
        for _ in 0..steps {
            if self.disk.is_off() || slot.failed().is_some() {
                break;
            }
            self.step(slot)?;
        }
        // The next life may begin on a disk that is as full.
        if self.plan.fills && !self.rng.one_in(3) {
            self.make_room(slot)?;
        }
        self.end(slot, last)
    }

    fn step(&mut self, slot: &Slot) -> Result<(), String> {
        if self.plan.fills && self.rng.one_in(20) {
            return self.burst(slot);
        }
        match self.rng.below(20) {
            0..=8 => self.commit(slot)?,
            9 => self.send_again(slot)?,
            10..=12 => {
                let _ = slot.step_journal();
            }
            13 => {
                let _ = slot.step_composing();
            }
            14..=16 => {
                let _ = slot.step_settling();
            }
            17 => self.clock.advance_ms(self.rng.below(800)),
            _ => self.look(slot)?,
        }
        self.collect();
        Ok(())
    }

    fn commit(&mut self, slot: &Slot) -> Result<(), String> {
        let memory = &self.memory;
        let maker = Maker {
            rng: &self.rng,
            slot,
            state: &self.state,
            memory_next: &|id| memory.get(&id).map_or(0, |(next, _)| *next),
            epoch: self.epoch,
            now_ms: 1_700_000_000_000,
            serial: self.fate.commits,
        };
        let made = maker.make();
        if made.commit.is_empty() {
            return Ok(());
        }
        self.fate.commits += 1;
        let sequenced = match slot.commit(made.commit) {
            Ok(sequenced) => sequenced,
            Err(CommitError::Failed(_)) => return Ok(()),
            Err(CommitError::DiskFull { .. }) if self.plan.fills => {
                self.fate.refused_full += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("a commit was refused: {error}")),
        };
        let got: Vec<_> = sequenced
            .appends
            .iter()
            .map(|appended| (appended.base_offset.0, appended.duplicate))
            .collect();
        if got != made.expected {
            return Err(format!(
                "appended at {got:?} instead of {:?}",
                made.expected
            ));
        }
        for (id, batch) in made.memory {
            let (next, batches) = self.memory.entry(id).or_default();
            *next = batch.next();
            batches.push(batch);
        }
        if made.effect.is_empty() {
            // It was for memory partitions alone: nothing of it lasts, and it need not wait for the journal.
            return Ok(());
        }
        self.state.apply(&made.effect);
        self.log.push(made.effect);
        self.waiting.push((self.log.len(), sequenced.durable));
        Ok(())
    }

    /// Changes much state before any of it is written, as far as there is room for it.
    fn burst(&mut self, slot: &Slot) -> Result<(), String> {
        for _ in 0..self.rng.below(40) {
            if slot.check_room(Stay::Passing).is_err() {
                self.fate.refused_state += 1;
                return Ok(());
            }
            let made = workload::large_value(&self.rng, self.fate.commits);
            self.fate.commits += 1;
            match slot.commit(made.commit) {
                Ok(sequenced) => {
                    self.state.apply(&made.effect);
                    self.log.push(made.effect);
                    self.waiting.push((self.log.len(), sequenced.durable));
                }
                Err(CommitError::Failed(_)) => return Ok(()),
                Err(error) => return Err(format!("a change of state was refused: {error}")),
            }
        }
        Ok(())
    }

    /// Sends the last batch of some producer once more.
    fn send_again(&mut self, slot: &Slot) -> Result<(), String> {
        let numbered = (1..).zip(&self.log);
        let sent = numbered.filter_map(|(count, effect)| {
            let mut sent = effect.appends.iter().rev();
            let (id, batch, producer) =
                sent.find_map(|(id, batch, producer)| Some((*id, batch, (*producer)?)))?;
            Some((count, id, batch.clone(), producer))
        });
        let Some((count, id, batch, producer)) = sent.last() else {
            return Ok(());
        };
        let current = self
            .state
            .partitions
            .get(&id)
            .and_then(|partition| partition.producers.get(&producer.0));
        if current != Some(&(producer.1, producer.2)) {
            return Ok(());
        }
        let again = workload::again(&batch, producer, 0);
        // With all that it brought along then, or something else: nothing of it happens again.
        let other = self.state.partitions.keys().find(|other| **other != id);
        let targets = std::iter::once(id).chain(other.copied());
        let targets: Vec<_> = targets.map(PartitionId).collect();
        let mut append =
            millstream_store::Append::new(targets.clone(), again.bytes.clone(), again.header);
        append.marks = workload::marks(&targets);
        let follower = millstream_store::Append {
            after: Some(0),
            ..workload::unsent(&batch, &targets)
        };
        let commit = millstream_store::Commit {
            appends: smallvec::smallvec![append, follower],
            ..millstream_store::Commit::default()
        };
        match slot.commit(commit) {
            Ok(sequenced)
                if sequenced.appends.iter().all(|appended| appended.duplicate)
                    && sequenced.appends[0].base_offset.0 == batch.base =>
            {
                self.waiting.push((count, sequenced.durable));
                Ok(())
            }
            Ok(sequenced) => Err(format!(
                "a batch sent again was appended: {:?}",
                sequenced.appends
            )),
            Err(CommitError::Failed(_) | CommitError::DiskFull { .. }) => Ok(()),
            Err(error) => Err(format!("a batch sent again was refused: {error}")),
        }
    }

    /// Notes which commits have been acknowledged.
    fn collect(&mut self) {
        for (count, ticket) in std::mem::take(&mut self.waiting) {
            if !ticket.is_ready() {
                self.waiting.push((count, ticket));
            } else if ticket.wait().is_ok() && count > 0 {
                self.fate.acknowledged += 1;
                self.written = self.written.max(count);
                if self.log[count - 1].fsynced {
                    self.synced = self.synced.max(count);
                }
                self.say(|| format!("acknowledged {count}"));
            }
        }
    }

    /// Reads something and compares it with the model.
    fn look(&mut self, slot: &Slot) -> Result<(), String> {
        let ids: Vec<u32> = self.state.partitions.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = ids[self.rng.below(ids.len() as u64) as usize];
        let handle = workload::handle(slot, id)?;
        let known = &self.state.partitions[&id];
        let found = match observed::partition(&handle, known.compacted) {
            Ok(found) => found,
            Err(_) if self.disk.is_off() || self.plan.has_failing_reads() => return Ok(()),
            Err(error) => return Err(error),
        };
        let seen = self.seen.entry(id).or_default();
        *seen = (*seen).max(found.next);
        if known.durability == Durability::Memory {
            let (_, batches) = self.memory.entry(id).or_default();
            let seen = found.batches.iter().all(|batch| batches.contains(batch));
            return if seen {
                Ok(())
            } else {
                Err(format!("memory partition {id} holds what was not written"))
            };
        }
        // What is visible is a beginning of what was sequenced, with trims that may not be visible yet.
        let mut expected = model::Partition {
            log_start: known.log_start,
            next: found.next,
            ..known.clone()
        };
        expected.batches.retain(|batch| batch.base < found.next);
        let trimmed = known.log_start;
        let mut shown = found.clone();
        shown.batches.retain(|batch| batch.next() > trimmed);
        let wrong = if known.compacted {
            expected.compacted_difference(&shown)
        } else {
            (expected.batches != shown.batches).then(|| "not what was written".to_owned())
        };
        match wrong {
            Some(wrong) => Err(format!("partition {id} before {}: {wrong}", found.next)),
            None => Ok(()),
        }
    }

    /// A full disk gets room again, and the slot has to notice by itself.
    fn make_room(&mut self, slot: &Slot) -> Result<(), String> {
        if self.disk.is_off() || slot.failed().is_some() {
            self.disk.set_capacity(DISK_BYTES);
            return Ok(());
        }
        self.disk.set_capacity(DISK_BYTES);
        self.disk.set_faults(Faults::default());
        for _ in 0..20 {
            self.clock.advance_ms(500);
            let _ = slot.step_journal();
            let _ = slot.step_settling();
            self.collect();
        }
        if slot.stats().disk_full && !self.disk.is_off() && slot.failed().is_none() {
            return Err("the disk has room again and appends are still refused".to_owned());
        }
        Ok(())
    }

    /// Ends a life in one of the ways in which lives end.
    fn end(&mut self, slot: &Slot, last: bool) -> Result<(), String> {
        if let Some(failure) = slot.failed() {
            self.say(|| failure.to_string());
        }
        if slot.failed().is_some() && !self.disk.is_off() {
            self.fate.failures += 1;
            let faults = self.plan.faults;
            let injected = Faults {
                fsync_is_a_lie: false,
                // That others have to be closed first is no reason to fail.
                out_of_files_one_in: 0,
                ..faults
            };
            if injected == Faults::default() {
                return Err(format!(
                    "the slot failed for no reason: {:?}",
                    slot.failed()
                ));
            }
        }
        let in_order = !self.disk.is_off() && (last || self.rng.one_in(3));
        if in_order {
            // The power may go between its being written that the stop is in order, and its end.
            self.stop = Stop::Unclear;
        }
        if in_order && shutdown(slot) {
            self.say(|| "stopped in order".to_owned());
            self.collect();
            self.fate.clean += 1;
            self.stop = Stop::InOrder;
            self.synced = self.log.len();
            self.count_packs(slot);
        }
        self.die();
        Ok(())
    }

    /// The process dies, and maybe the machine with it: in the middle of something if the disk has stopped.
    fn die(&mut self) {
        let midway = self.disk.is_off();
        if self.rng.one_in(2) {
            self.say(|| format!("killed, midway: {midway}"));
            self.fate.killed_midway += u64::from(midway);
            self.disk.kill();
        } else {
            self.say(|| format!("the power went, midway: {midway}"));
            self.fate.power_failures += 1;
            self.written = self.synced;
            self.disk.restart();
        }
        self.floor = self.synced.max(self.written);
    }

    /// After a bit has turned over, everything is there or it is said what is not.
    fn rot(&mut self) -> Result<(), String> {
        self.disk.kill();
        self.disk.set_faults(Faults::default());
        let dirs = ["journal", "packs", "manifest"].map(|dir| Path::new(DIR).join(dir));
        let dirs = dirs.each_ref().map(PathBuf::as_path);
        let flipped = rot::flip(&self.disk, &self.rng, &dirs);
        self.say(|| format!("a bit turned over: {flipped:?}"));
        match Slot::open(Self::settings(), self.env()) {
            Ok(slot) => match rot::check(&slot, &self.state)? {
                Rot::Noticed => self.fate.rot_noticed += 1,
                Rot::Harmless => self.fate.rot_harmless += 1,
            },
            Err(_) => self.fate.rot_refused += 1,
        }
        Ok(())
    }

    fn count_packs(&mut self, slot: &Slot) {
        let settled = self.state.partitions.keys();
        let settled = settled.filter(|id| slot.disk_usage(PartitionId(**id)) > 0);
        self.fate.from_packs += settled.count() as u64;
    }

    fn check_all(&mut self, slot: &Slot) -> Result<(), String> {
        let found = self.observe(slot)?;
        self.state.difference(&found).map_or(Ok(()), Err)
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.plan.traced {
            println!(
                "life {}, {} changes: {}",
                self.fate.lives,
                self.disk.changes(),
                what()
            );
        }
    }
}

/// Readers of synced partitions never saw what is gone now.
fn check_seen(seen: &BTreeMap<u32, i64>, state: &State) -> Result<(), String> {
    for (id, partition) in &state.partitions {
        let seen = seen.get(id).copied().unwrap_or_default();
        if partition.durability == Durability::Fsync && partition.next < seen {
            return Err(format!(
                "partition {id} ends at {}, readers saw {seen}",
                partition.next
            ));
        }
    }
    Ok(())
}

/// Stops a slot in order. Nothing in it waits when it is driven by hand.
fn shutdown(slot: &Slot) -> bool {
    let mut stopping = pin!(slot.shutdown());
    let mut context = Context::from_waker(Waker::noop());
    matches!(stopping.as_mut().poll(&mut context), Poll::Ready(Ok(())))
}
