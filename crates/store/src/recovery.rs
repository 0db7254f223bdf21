//! Opens a slot's directory: finds out what is there, replays the journal, and leaves everything durable before
//! anybody is served.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use millstream_env::{Access, DIRECT_ALIGNMENT, DiskLock, Env};
use millstream_limits::JOURNAL_FILE_BYTES_MIN;
use millstream_record::{LeaderEpoch, TimestampMs};

use crate::budget::Budget;
use crate::epochs::SlotEpoch;
use crate::error::OpenError;
use crate::ids::{JournalPosition, PackId, PartitionId};
use crate::journal::arena::Retirees;
use crate::journal::composer::JournalEnd;
use crate::journal::salvage::Unreadable;
use crate::journal::scan::{DamagedRange, ScanEnd, ScanError, scan};
use crate::layout::{Layout, SlotFormat};
use crate::manifest::Manifests;
use crate::media::{JournalMedium, LocalBlobs, LocalJournal, local_journal_file_size_is_valid};
use crate::partition::Partition;
use crate::replay::{RecoveryReport, Replay};
use crate::settings::SlotSettings;
use crate::state::keys::slot::SlotState;
use crate::state::{State, StateError, keys};
use crate::stats::Counters;

/// A part of the whole file system is the most that one journal file takes.
const JOURNAL_FILE_PART: u64 = 32;

/// How much is written again at a time.
const REWRITE_BYTES: usize = 1 << 20;

/// The most of a damaged stretch that is copied to the quarantine at a time.
const QUARANTINE_CHUNK_BYTES: usize = 1 << 20;

/// A slot that has been recovered and not been started.
pub(crate) struct Recovered {
    pub(crate) lock: DiskLock,
    pub(crate) journal: Arc<dyn JournalMedium>,
    pub(crate) state: Arc<State>,
    pub(crate) manifests: Manifests,
    /// Packs that should be there and are not.
    pub(crate) missing_packs: Vec<PackId>,
    pub(crate) partitions: HashMap<PartitionId, Arc<Partition>>,
    pub(crate) next_partition: PartitionId,
    pub(crate) dropped: BTreeMap<PartitionId, Option<Arc<Partition>>>,
    pub(crate) dirty: Vec<Arc<Partition>>,
    pub(crate) epoch: Arc<SlotEpoch>,
    pub(crate) end: JournalEnd,
    /// Chunks that recovery has read: buffers are numbered on from there.
    pub(crate) chunks: u64,
    pub(crate) report: RecoveryReport,
}

/// Recovers the slot in the settings' directory, or makes one.
pub(crate) fn recover(
    settings: &SlotSettings,
    env: &Env,
    budget: &Arc<Budget>,
    retirees: &Arc<Retirees>,
    counters: &Counters,
) -> Result<Recovered, OpenError> {
    let layout = Layout::new(&settings.data_dir);
    let lock = take_lock(env, &layout)?;
    let format = open_format(settings, env, &layout)?;
    sync_names(env, &layout)?;
    let blobs = LocalBlobs::open(Arc::clone(&env.disk), &layout.packs())
        .map_err(OpenError::io("opening the packs"))?;
    let (mut manifests, found) =
        Manifests::open(Arc::clone(&env.disk), &layout.manifest(), Arc::new(blobs))?;
    if !found.missing.is_empty() {
        tracing::error!(packs = ?found.missing, "packs are missing: what they held cannot be read");
    }
    if !found.orphans.is_empty() {
        tracing::warn!(files = ?found.orphans, "nothing explains these files among the packs; they are left alone");
    }
    let state = Arc::new(State::open(Arc::clone(&env.disk), &layout.state())?);
    let journal = open_journal(env, &layout, format, state.covered_position(), counters)?;

    let from = state.covered_position();
    let settled = manifests.current().settled;
    if from > settled {
        return Err(OpenError::Damaged {
            file: layout.manifest(),
            reason: format!(
                "packs hold the journal up to {settled}, the state table covers what is before {from}: the newest manifest is missing"
            ),
        });
    }
    manifests.sweep();
    let known = read_slot_state(&state)?;
    let epoch = Arc::new(SlotEpoch::default());
    let mut replay = Replay::load(
        Arc::clone(&state),
        Arc::clone(manifests.packs()),
        settled,
        Arc::clone(budget),
        Arc::clone(retirees),
        Arc::clone(&epoch),
        known.map_or(PartitionId(0), |known| known.next_partition),
    )?;
    let known_epoch = known.map_or(LeaderEpoch(0), |known| known.leader_epoch);
    let end = scan(&journal, format.slot, from, known_epoch, |found| {
        replay.visit(found);
    })
    .map_err(|error| match error {
        ScanError::Io(error) => OpenError::io("reading the journal")(error),
        ScanError::Newer(error) => OpenError::State(StateError::Format(error)),
    })?;
    replay.finish();
    tell_unreadable(&end);
    for damage in &end.damaged {
        quarantine(env, &layout, &journal, damage, &end.unreadable)
            .map_err(OpenError::io("putting damage into the quarantine"))?;
    }
    rewrite(&journal, &end).map_err(OpenError::io("writing the journal's end again"))?;

    let is_new = known.is_none() && end.entries == 0;
    let clean = is_new || (end.entries == 0 && known.is_some_and(|known| known.clean));
    epoch.set(LeaderEpoch(end.epoch.0 + i32::from(!clean)));
    let report = RecoveryReport {
        clean,
        leader_epoch: epoch.get(),
        entries: end.entries,
        bytes: replay.bytes,
        damaged: end.damaged,
        at: TimestampMs(env.clock.wall_ms()),
    };
    if !clean {
        tracing::info!(
            entries = report.entries,
            bytes = report.bytes,
            leader_epoch = report.leader_epoch.0,
            "recovered from a stop that was not in order"
        );
    }
    Ok(Recovered {
        lock,
        journal,
        state,
        manifests,
        missing_packs: found.missing,
        partitions: replay.partitions,
        next_partition: replay.next_partition,
        dropped: replay.dropped,
        dirty: replay.dirty,
        end: JournalEnd {
            slot: format.slot,
            epoch: epoch.get(),
            end: end.end,
            synced: end.synced.min(end.end),
        },
        epoch,
        chunks: end.chunks,
        report,
    })
}

fn take_lock(env: &Env, layout: &Layout) -> Result<DiskLock, OpenError> {
    let root = layout.root();
    let making = || format!("making the data directory {}", root.display());
    env.disk.create_dir(root).map_err(OpenError::io(making()))?;
    env.disk
        .lock(&layout.lock())
        .map_err(OpenError::io("locking the data directory"))?
        .ok_or_else(|| OpenError::Locked(root.to_owned()))
}

/// Reads what the directory is, or makes it a slot if there is nothing in it.
fn open_format(
    settings: &SlotSettings,
    env: &Env,
    layout: &Layout,
) -> Result<SlotFormat, OpenError> {
    if let Some(format) = SlotFormat::read(env, layout)? {
        return Ok(format);
    }
    let parts = [layout.journal(), layout.packs(), layout.manifest()];
    for part in &parts {
        let listing = || format!("looking into {}", part.display());
        let used = env.disk.exists(part).map_err(OpenError::io(listing()))?
            && !env
                .disk
                .list(part)
                .map_err(OpenError::io(listing()))?
                .is_empty();
        if used {
            return Err(OpenError::Damaged {
                file: layout.format(),
                reason: format!("it is missing, and {} is not empty", part.display()),
            });
        }
    }
    for part in &parts {
        let making = format!("making {}", part.display());
        env.disk.create_dir(part).map_err(OpenError::io(making))?;
    }
    let format = SlotFormat {
        slot: env.rng.next_u64(),
        journal_file_bytes: journal_file_bytes(settings, env)?,
    };
    // Last, and with a sync of the directory: once it is there, so is the rest.
    format.write(env, layout)?;
    env.disk
        .sync_dir(crate::files::parent(layout.root()))
        .map_err(OpenError::io(
            "syncing the directory above the data directory",
        ))?;
    Ok(format)
}

/// Makes the names durable that are found: a process that was killed between a change of names and the sync of their
/// directory leaves names that only the page cache has, and this one is about to build on them.
fn sync_names(env: &Env, layout: &Layout) -> Result<(), OpenError> {
    let above = crate::files::parent(layout.root());
    if let Err(error) = env.disk.sync_dir(above) {
        // It may be somebody else's, whose names may only be passed through, and has hardly changed.
        tracing::debug!(dir = %above.display(), %error, "the directory above the data directory cannot be synced");
    }
    let parts = [layout.journal(), layout.packs(), layout.manifest()];
    for dir in &parts {
        let looking = format!("looking for {}", dir.display());
        if !env.disk.exists(dir).map_err(OpenError::io(looking))? {
            return Err(OpenError::Damaged {
                file: dir.clone(),
                reason: "it is missing: put it back, or make it if it was empty and has been left out of a copy"
                    .to_owned(),
            });
        }
    }
    for dir in parts.iter().chain([&layout.root().to_owned()]) {
        let syncing = format!("syncing the directory {}", dir.display());
        env.disk.sync_dir(dir).map_err(OpenError::io(syncing))?;
    }
    Ok(())
}

fn journal_file_bytes(settings: &SlotSettings, env: &Env) -> Result<u64, OpenError> {
    let wanted = settings.journal_file_bytes;
    if !local_journal_file_size_is_valid(wanted) {
        return Err(OpenError::Setting {
            setting: "journal_file_bytes",
            reason: format!("it has to be a multiple of {DIRECT_ALIGNMENT}"),
        });
    }
    let space = env
        .disk
        .space(&settings.data_dir)
        .map_err(OpenError::io("looking at the free space"))?;
    let part = space.total_bytes / JOURNAL_FILE_PART;
    let part = part - part % DIRECT_ALIGNMENT as u64;
    Ok(wanted.min(part.max(JOURNAL_FILE_BYTES_MIN)))
}

fn open_journal(
    env: &Env,
    layout: &Layout,
    format: SlotFormat,
    covered: JournalPosition,
    counters: &Counters,
) -> Result<Arc<dyn JournalMedium>, OpenError> {
    let dir = layout.journal();
    let opening = || format!("opening the journal {}", dir.display());
    let (disk, clock) = (Arc::clone(&env.disk), Arc::clone(&env.clock));
    let journal = LocalJournal::open(disk, clock, &dir, format.journal_file_bytes)
        .map_err(OpenError::io(opening()))?
        .timing_syncs(Arc::clone(&counters.syncs));
    journal.fence().map_err(OpenError::io(opening()))?;
    let extent = journal.extent().map_err(OpenError::io(opening()))?;
    if extent.first > covered || extent.end < covered {
        return Err(OpenError::Damaged {
            file: dir,
            reason: format!(
                "it holds positions {} to {}, the state table covers what is before {covered}",
                extent.first, extent.end
            ),
        });
    }
    Ok(Arc::new(journal))
}

fn read_slot_state(state: &State) -> Result<Option<SlotState>, OpenError> {
    let value = state.get(&keys::slot::key())?;
    let decoded = value.map(|value| SlotState::decode(&value)).transpose();
    Ok(decoded.map_err(StateError::Format)?)
}

/// Tells of what the disk cannot read of the journal's files though nothing lies there.
fn tell_unreadable(end: &ScanEnd) {
    let damaged = end.damaged.iter().map(|damage| (damage.from, damage.to));
    let blocks: Vec<_> = end.unreadable.outside(damaged).collect();
    if let Some(first) = blocks.first() {
        tracing::warn!(
            %first, blocks = blocks.len(),
            "the disk cannot read some blocks of the journal's files; nothing was there to be read, but the disk is failing"
        );
    }
}

/// Copies a damaged stretch of the journal to where it is kept when the journal moves on.
fn quarantine(
    env: &Env,
    layout: &Layout,
    journal: &Arc<dyn JournalMedium>,
    damage: &DamagedRange,
    unreadable: &Unreadable,
) -> io::Result<()> {
    let dir = layout.quarantine();
    env.disk.create_dir(&dir)?;
    let path = dir.join(format!("journal-{:020}-{:020}", damage.from.0, damage.to.0));
    if damage.was_durable {
        tracing::error!(
            from = damage.from.0,
            to = damage.to.0,
            reason = damage.reason,
            copy = %path.display(),
            "a part of the journal that had been durable is damaged: the commits in it are lost, the rest is kept"
        );
    } else {
        tracing::error!(
            from = damage.from.0,
            to = damage.to.0,
            reason = damage.reason,
            copy = %path.display(),
            "the journal cannot be read where it seems to end: commits that may have been written there are lost, the rest is kept"
        );
    }
    // What is given up here is written over before long.
    if !unreadable.is_still_so(&**journal, damage.from, damage.to)? {
        return Err(io::Error::other(
            "the disk reads some blocks at one time and not at another: start again, nothing is given up for that",
        ));
    }
    let file = env.disk.open(&path, Access::Create)?;
    let mut buffer = vec![0; QUARANTINE_CHUNK_BYTES];
    let mut at = damage.from;
    while at < damage.to {
        let want = (damage.to.0 - at.0).min(buffer.len() as u64) as usize;
        let read = Unreadable::default().read(&**journal, at, &mut buffer[..want])?;
        file.write_at(&buffer[..read], at.0 - damage.from.0)?;
        // Nothing more where a file ends or is missing: on to the next.
        let step = if read == 0 {
            journal.room(at)
        } else {
            read as u64
        };
        at = at.advance(step);
    }
    file.sync_data()?;
    env.disk.sync_dir(&dir)?;
    env.disk.sync_dir(layout.root())
}

/// Writes again what was replayed from beyond the synced position: it may have come out of the page cache and not be on
/// the device. The next sync makes it durable.
fn rewrite(journal: &Arc<dyn JournalMedium>, end: &ScanEnd) -> io::Result<()> {
    let align = DIRECT_ALIGNMENT as u64;
    let mut at = JournalPosition(end.synced.0 - end.synced.0 % align);
    let last = JournalPosition(end.end.0.next_multiple_of(align));
    let mut buffer = millstream_env::aligned_buffer(REWRITE_BYTES);
    buffer.resize(REWRITE_BYTES, 0);
    while at < last {
        let room = journal.room(at).min(last.0 - at.0);
        let want = room.min(REWRITE_BYTES as u64) as usize;
        let mut unreadable = Unreadable::default();
        let read = unreadable.read(&**journal, at, &mut buffer[..want])?;
        // There are zeros in its place now, which must not be written over what has been replayed.
        if !end.unreadable.contains(&unreadable) {
            return Err(io::Error::other(
                "the disk cannot read any more what it has just read",
            ));
        }
        // A file may end before it is as large as others.
        let whole = read - read % DIRECT_ALIGNMENT;
        if whole > 0 {
            journal.append(at, &buffer[..whole], false)?;
        }
        at = at.advance(want as u64);
    }
    Ok(())
}
