//! The journal on a disk: files of one size, claimed ahead and used again.
//!
//! ```text
//! journal/00000000000000000017.journal    positions 17 x file size up to 18 x file size
//! journal/00000000000000000003.spare      an old file that waits to become a new one
//! ```
//!
//! A file is made as large as it gets before anything is written to it, and renamed rather than made again, because
//! syncing a write into space that exists and has been written before is several times as fast as growing a file. What
//! an earlier use left in it is told apart by the position that each entry carries. Only where a disk is so full that
//! what makes room could not be written else, a file begins short, and grows with what goes into it.
//!
//! A file has its number, durably, before the first group goes into it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_env::{
    Access, Clock, DIRECT_ALIGNMENT, Disk, DiskFile, DiskLock, aligned_buffer, is_out_of_files,
};
use millstream_metrics::Histogram;
use parking_lot::Mutex;

use super::device::Device;
use super::journal::{Claim, JournalExtent, JournalMedium};
use crate::error::is_want_of_room;
use crate::ids::JournalPosition;

/// How many files are kept to be used again beyond those in use.
const SPARES_MAX: usize = 4;

/// The next file is made ready when this part of the present one is used.
const SPARE_AFTER_PART: u64 = 4;

/// Groups smaller than this go through the page cache when they need not be durable.
const DIRECT_BYTES_MIN: usize = 256 << 10;

/// How much of a new file is written ahead in one piece of work.
const WARM_CHUNK_BYTES: usize = 1 << 20;

/// A journal in one directory.
pub struct LocalJournal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    device: Device,
    clock: Arc<dyn Clock>,
    /// How long syncs of groups take.
    syncs: Option<Arc<Histogram>>,
    /// Where it begins if there is nothing in it yet.
    beginning: JournalPosition,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    /// By number.
    numbered: BTreeMap<u64, Arc<dyn DiskFile>>,
    /// How much is claimed of those that are not as large as they get: a full disk had no room for more, or a crash left
    /// them so.
    short: BTreeMap<u64, u64>,
    /// By the number in their names.
    spares: BTreeSet<u64>,
    next_spare: u64,
    /// A file that has its number, and could not be used under it yet: its name is not durable, or too many files were
    /// open. There may be no room for another one.
    named: Option<u64>,
    /// Files with writes that have not been synced.
    unsynced: BTreeSet<u64>,
    /// The file of the last append, and how far it is used.
    current: Option<(u64, u64)>,
    /// A spare that is being written ahead, and how far it is.
    warming: Option<(u64, Arc<dyn DiskFile>, u64)>,
    lock: Option<DiskLock>,
}

impl LocalJournal {
    /// Opens the journal in `dir`, which is made if missing. `file_bytes` is what its files have been made with, a
    /// multiple of [`DIRECT_ALIGNMENT`].
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        dir: &Path,
        file_bytes: u64,
    ) -> io::Result<Self> {
        if !disk.exists(dir)? {
            disk.create_dir(dir)?;
            disk.sync_dir(crate::files::parent(dir))?;
        }
        let mut files = Files::default();
        for (name, _) in disk.list(dir)? {
            if let Some(number) = parse_name(&name, JOURNAL_SUFFIX) {
                let file = disk.open(&dir.join(&name), Access::ReadWrite)?;
                files.note_length(number, file.len()?, file_bytes);
                files.numbered.insert(number, file);
            } else if let Some(number) = parse_name(&name, SPARE_SUFFIX) {
                files.spares.insert(number);
                files.next_spare = files.next_spare.max(number + 1);
            }
        }
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            file_bytes,
            device: Device::new(Arc::clone(&clock)),
            clock,
            syncs: None,
            beginning: JournalPosition::ZERO,
            files: Mutex::new(files),
        })
    }

    /// Counts in `syncs` how long it takes to sync groups, the writing not counted in.
    #[must_use]
    pub fn timing_syncs(self, syncs: Arc<Histogram>) -> Self {
        Self {
            syncs: Some(syncs),
            ..self
        }
    }

    /// Has an empty journal begin there: what comes before is needed no more, and gets no files.
    #[must_use]
    pub fn beginning_at(self, beginning: JournalPosition) -> Self {
        Self { beginning, ..self }
    }

    fn path(&self, number: u64, suffix: &str) -> PathBuf {
        self.dir.join(format!("{number:020}{suffix}"))
    }

    fn number(&self, at: JournalPosition) -> u64 {
        at.0 / self.file_bytes
    }

    fn file(&self, at: JournalPosition) -> io::Result<Arc<dyn DiskFile>> {
        let files = self.files.lock();
        let file = files.numbered.get(&self.number(at));
        file.cloned().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no journal file holds position {at}"),
            )
        })
    }

    /// Makes a file of `bytes` under a spare's name.
    fn make_spare(&self, bytes: u64) -> io::Result<(u64, Arc<dyn DiskFile>)> {
        let number = {
            let mut files = self.files.lock();
            files.next_spare += 1;
            files.next_spare - 1
        };
        let path = self.path(number, SPARE_SUFFIX);
        let file = self.disk.open(&path, Access::Create)?;
        match file.allocate(bytes) {
            Ok(()) => Ok((number, file)),
            Err(error) => {
                drop(file);
                self.disk.remove(&path)?;
                Err(error)
            }
        }
    }

    /// Makes a spare at least `bytes` large: it may be of another size, or have been left short.
    fn complete_spare(&self, number: u64, bytes: u64, claim: Claim) -> io::Result<()> {
        let path = self.path(number, SPARE_SUFFIX);
        let file = self.disk.open(&path, Access::ReadWrite)?;
        extend(&*file, bytes, claim).map(drop)
    }

    /// Makes a spare, or a new file, the file of that number, and at least `bytes` large.
    fn claim_file(&self, number: u64, bytes: u64, claim: Claim) -> io::Result<()> {
        if claim == Claim::Nothing {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.files.lock().named != Some(number) {
            self.name_file(number, bytes, claim)?;
            self.files.lock().named = Some(number);
        }
        self.disk.sync_dir(&self.dir)?;
        // By its new name, under which it is opened once more for direct writes.
        let path = self.path(number, JOURNAL_SUFFIX);
        let file = self.disk.open(&path, Access::ReadWrite)?;
        let length = extend(&*file, bytes, claim)?;
        let mut files = self.files.lock();
        files.named = None;
        files.note_length(number, length, self.file_bytes);
        files.numbered.insert(number, file);
        Ok(())
    }

    /// Gives a spare, or a new file, that number, and makes it at least `bytes` large before.
    fn name_file(&self, number: u64, bytes: u64, claim: Claim) -> io::Result<()> {
        let spare = self.files.lock().spares.pop_first();
        let spare = match spare {
            Some(spare) => {
                let completed = self.complete_spare(spare, bytes, claim);
                self.keep_spare_unless(completed, spare)?;
                spare
            }
            None => self.make_spare(bytes)?.0,
        };
        let path = self.path(number, JOURNAL_SUFFIX);
        let renamed = self.disk.rename(&self.path(spare, SPARE_SUFFIX), &path);
        self.keep_spare_unless(renamed, spare)
    }

    /// Makes the file of that number at least `bytes` large, if it is short.
    fn lengthen(&self, number: u64, bytes: u64, claim: Claim) -> io::Result<()> {
        let file = {
            let files = self.files.lock();
            let is_short = files.short.get(&number).is_some_and(|held| *held < bytes);
            files.numbered.get(&number).filter(|_| is_short).cloned()
        };
        if let Some(file) = file {
            let length = extend(&*file, bytes, claim)?;
            self.files
                .lock()
                .note_length(number, length, self.file_bytes);
        }
        Ok(())
    }

    /// Puts a spare back that could not become a file.
    fn keep_spare_unless<T>(&self, done: io::Result<T>, spare: u64) -> io::Result<T> {
        if done.is_err() {
            self.files.lock().spares.insert(spare);
        }
        done
    }

    /// Writes what need not be durable. Past the page cache where that costs less: a copy of a large group takes more of
    /// the processor than the write, unless the device is slow, when it is what takes the time.
    fn write_unsynced(&self, file: &dyn DiskFile, group: &[u8], offset: u64) -> io::Result<()> {
        if group.len() < DIRECT_BYTES_MIN || self.device.is_slow() {
            return file.write_at(group, offset);
        }
        self.device
            .timed(group.len(), || file.write_direct(group, offset))
    }

    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        let Some(syncs) = &self.syncs else {
            return file.sync_data();
        };
        let before = self.clock.monotonic();
        file.sync_data()?;
        syncs.time(self.clock.monotonic().saturating_sub(before));
        Ok(())
    }

    /// Syncs the files before `number` that need it.
    fn sync_before(&self, number: u64) -> io::Result<()> {
        loop {
            let next = {
                let files = self.files.lock();
                let first = files.unsynced.first().copied();
                first
                    .filter(|first| *first < number)
                    .map(|first| (first, files.numbered.get(&first).cloned()))
            };
            let Some((first, file)) = next else {
                return Ok(());
            };
            if let Some(file) = file {
                file.sync_data()?;
            }
            self.files.lock().unsynced.remove(&first);
        }
    }

    /// Removes the spares but for one, which the journal can go on in when the disk is full.
    fn give_back(&self) -> io::Result<()> {
        let surplus = {
            let mut files = self.files.lock();
            if let Some((number, ..)) = files.warming.take() {
                files.spares.insert(number);
            }
            let kept = files.spares.pop_first();
            let surplus = std::mem::take(&mut files.spares);
            files.spares.extend(kept);
            surplus
        };
        let mut removed = Ok(());
        for number in surplus {
            if let Err(error) = self.disk.remove(&self.path(number, SPARE_SUFFIX)) {
                self.files.lock().spares.insert(number);
                removed = Err(error);
            }
        }
        removed
    }

    /// Whether a new file should be made ready: the last claimed one is well in use, and nothing waits to follow it.
    fn wants_spare(&self, files: &Files) -> bool {
        let last = files.numbered.keys().next_back();
        files.spares.is_empty()
            && files.current.is_some_and(|(number, used)| {
                last == Some(&number) && used >= self.file_bytes / SPARE_AFTER_PART
            })
    }
}

impl JournalMedium for LocalJournal {
    fn fence(&self) -> io::Result<()> {
        let lock = self.disk.lock(&self.dir.join("OWNER"))?;
        let mut files = self.files.lock();
        if files.lock.is_none() {
            files.lock = Some(lock.ok_or(io::ErrorKind::ResourceBusy)?);
        }
        Ok(())
    }

    fn extent(&self) -> io::Result<JournalExtent> {
        let files = self.files.lock();
        let position = |number: u64| JournalPosition(number * self.file_bytes);
        let first = files.numbered.keys().next();
        let last = files.numbered.keys().next_back();
        Ok(JournalExtent {
            first: first.map_or(JournalPosition::ZERO, |first| position(*first)),
            end: last.map_or(JournalPosition::ZERO, |last| position(*last + 1)),
        })
    }

    fn room(&self, at: JournalPosition) -> u64 {
        self.file_bytes - at.0 % self.file_bytes
    }

    fn claim(&self, upto: JournalPosition, claim: Claim) -> io::Result<bool> {
        let last = self.number(JournalPosition(upto.0.saturating_sub(1)));
        let from = {
            let files = self.files.lock();
            let highest = files.numbered.keys().next_back();
            highest.map_or(self.number(self.beginning), |highest| {
                (highest + 1).min(last)
            })
        };
        for number in from..=last {
            let bytes = match claim {
                Claim::Ahead => self.file_bytes,
                Claim::Needed | Claim::Nothing => {
                    self.file_bytes.min(upto.0 - number * self.file_bytes)
                }
            };
            let is_there = self.files.lock().numbered.contains_key(&number);
            let claimed = if is_there {
                self.lengthen(number, bytes, claim)
            } else {
                self.claim_file(number, bytes, claim)
            };
            match claimed {
                Ok(()) => {}
                Err(error) if is_want_of_room(&error) => {
                    if is_out_of_files(&error) {
                        tracing::warn!(%error, "the journal needs a file and too many are open: trying again; raise the limit on open files");
                    }
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn append(&self, at: JournalPosition, group: &[u8], sync: bool) -> io::Result<()> {
        let number = self.number(at);
        let file = self.file(at)?;
        let offset = at.0 % self.file_bytes;
        if offset + group.len() as u64 > self.file_bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a group crosses the end of a journal file",
            ));
        }
        {
            let mut files = self.files.lock();
            files.current = Some((number, offset + group.len() as u64));
            if !sync {
                files.unsynced.insert(number);
            }
        }
        if !sync {
            return self.write_unsynced(&*file, group, offset);
        }
        self.sync_before(number)?;
        file.write_direct(group, offset)?;
        self.sync(&*file)?;
        self.files.lock().unsynced.remove(&number);
        Ok(())
    }

    fn read(&self, at: JournalPosition, buf: &mut [u8]) -> io::Result<usize> {
        let Ok(file) = self.file(at) else {
            return Ok(0);
        };
        let take = (buf.len() as u64).min(self.room(at)) as usize;
        file.read_at(&mut buf[..take], at.0 % self.file_bytes)
    }

    fn trim(&self, before: JournalPosition) -> io::Result<()> {
        // The file that ends at `before` stays: without any, the journal would not say where it ends.
        let keep_from = self.number(JournalPosition(before.0.saturating_sub(1)));
        let old: Vec<u64> = {
            let mut files = self.files.lock();
            files.unsynced = files.unsynced.split_off(&keep_from);
            files
                .numbered
                .range(..keep_from)
                .map(|(number, _)| *number)
                .collect()
        };
        for number in old {
            let path = self.path(number, JOURNAL_SUFFIX);
            let spare = {
                let mut files = self.files.lock();
                (files.spares.len() < SPARES_MAX).then(|| {
                    files.next_spare += 1;
                    files.next_spare - 1
                })
            };
            match spare {
                None => self.disk.remove(&path)?,
                Some(spare) => {
                    self.disk.rename(&path, &self.path(spare, SPARE_SUFFIX))?;
                    self.files.lock().spares.insert(spare);
                }
            }
            let mut files = self.files.lock();
            files.numbered.remove(&number);
            files.short.remove(&number);
        }
        Ok(())
    }

    /// Makes the file that will be needed next, and writes it once from end to end: into space that is merely allocated,
    /// synced writes are a third slower.
    fn prepare(&self, ample: bool) -> io::Result<bool> {
        if !ample {
            self.give_back()?;
            return Ok(false);
        }
        let warming = {
            let mut files = self.files.lock();
            match files.warming.take() {
                Some(warming) => Some(warming),
                None if self.wants_spare(&files) => None,
                None => return Ok(false),
            }
        };
        let (number, file, mut done) = match warming {
            Some(warming) => warming,
            None => match self.make_spare(self.file_bytes) {
                Ok((number, file)) => (number, file, 0),
                Err(error) if is_want_of_room(&error) => return Ok(false),
                Err(error) => return Err(error),
            },
        };
        let chunk = (self.file_bytes - done).min(WARM_CHUNK_BYTES as u64) as usize;
        let mut zeros = aligned_buffer(chunk);
        zeros.resize(chunk, 0);
        if let Err(error) = file.write_direct(&zeros, done) {
            self.files.lock().warming = Some((number, file, done));
            return Err(error);
        }
        done += chunk as u64;
        if done < self.file_bytes {
            self.files.lock().warming = Some((number, file, done));
            return Ok(true);
        }
        file.sync_data()?;
        self.files.lock().spares.insert(number);
        Ok(false)
    }
}

impl Files {
    /// Notes how large the file of that number is.
    fn note_length(&mut self, number: u64, length: u64, file_bytes: u64) {
        if length < file_bytes {
            self.short.insert(number, length);
        } else {
            self.short.remove(&number);
        }
    }
}

/// Makes a file at least `bytes` large, if that may be claimed. Returns how large it is.
fn extend(file: &dyn DiskFile, bytes: u64, claim: Claim) -> io::Result<u64> {
    let length = file.len()?;
    if length >= bytes {
        return Ok(length);
    }
    if claim == Claim::Nothing {
        return Err(io::ErrorKind::StorageFull.into());
    }
    match file.allocate(bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            // What it got of it, which may be all there was.
            file.set_len(length)?;
            Err(error)
        }
    }
}

const JOURNAL_SUFFIX: &str = ".journal";
const SPARE_SUFFIX: &str = ".spare";

/// The number in the name of a journal file or a spare.
fn parse_name(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// Whether `bytes` can be the size of a journal's files.
pub fn local_journal_file_size_is_valid(bytes: u64) -> bool {
    bytes > 0 && bytes.is_multiple_of(DIRECT_ALIGNMENT as u64)
}
