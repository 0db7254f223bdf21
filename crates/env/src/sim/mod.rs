//! A disk in memory that loses what a real one may lose.
//!
//! [`SimDisk`] is the machine's disk; [`SimDisk::mount`] gives a [`crate::Disk`] on it that works until the power goes.
//! It keeps to the promises of [`crate::Disk`] and [`crate::DiskFile`] and to nothing beyond them: when the power goes, every sector (512
//! bytes) written since the last sync of its file is kept or lost as the seed decides, and of the names changed since
//! their directory was synced only the earlier ones may be kept. Reads, writes, syncs and changes of names fail when told to, a failed sync
//! loses some of what it should have made durable for good, space runs out, bits flip, sectors are lost. Everything follows from the seed.

mod file;
mod names;
mod power;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::disk::{Access, Disk, DiskFile, DiskLock, DiskSpace, EntryKind};
use crate::rng::SeededRng;
use file::{FileContent, SECTOR_BYTES};
use names::{Change, Names, Node};
use power::Power;

/// Names a file whatever it is called.
type FileId = u64;

/// What a simulated disk does wrong. Odds are one in so many operations; 0 is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A write fails, having written some of its sectors.
    pub write_error_one_in: u64,
    /// A sync fails. Of a file, some of what was to be synced is lost for good.
    pub sync_error_one_in: u64,
    /// A change of names fails, and has not happened.
    pub change_error_one_in: u64,
    /// A read of a file, or a look at names, lengths or space, fails.
    pub read_error_one_in: u64,
    /// A sync or a change of names fails for want of room, though the disk is not full: some file systems need room for
    /// that too.
    pub full_one_in: u64,
    /// A file cannot be opened, because too many are.
    pub out_of_files_one_in: u64,
    /// Syncs of files say that all is well and do nothing.
    pub fsync_is_a_lie: bool,
}

/// A simulated machine's disk.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    rng: SeededRng,
    capacity_bytes: u64,
    faults: Faults,
    power: Power,
    names: Names,
    files: BTreeMap<FileId, FileContent>,
    next_file: FileId,
    locks: HashSet<PathBuf>,
}

impl SimDisk {
    /// An empty disk of `capacity_bytes` whose doings follow from `seed`.
    pub fn new(seed: u64, capacity_bytes: u64) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                rng: SeededRng::new(seed),
                capacity_bytes,
                faults: Faults::default(),
                power: Power::default(),
                names: Names::default(),
                files: BTreeMap::new(),
                next_file: 1,
                locks: HashSet::new(),
            })),
        }
    }

    /// The disk as a process sees it that is started now.
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(Mount {
            inner: Arc::clone(&self.inner),
            boot: self.inner.lock().power.boot(),
        })
    }

    /// What goes wrong from now on. Returns what went wrong before.
    pub fn set_faults(&self, faults: Faults) -> Faults {
        std::mem::replace(&mut self.inner.lock().faults, faults)
    }

    /// How large the disk is from now on.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.inner.lock().capacity_bytes = capacity_bytes;
    }

    /// Has everything stop in the middle of the operation after the next `operations` that change something. Whether the
    /// power went, or just the process, is said by what follows: [`SimDisk::restart`] or [`SimDisk::kill`].
    pub fn fail_power_after(&self, operations: u64) {
        self.inner.lock().power.fail_after(operations);
    }

    /// Whether the power has gone.
    pub fn is_off(&self) -> bool {
        self.inner.lock().power.is_off()
    }

    /// Bytes that are taken.
    pub fn used_bytes(&self) -> u64 {
        self.inner.lock().used_bytes()
    }

    /// How many changes there have been: the same for every run of a seed.
    pub fn changes(&self) -> u64 {
        self.inner.lock().power.changes()
    }

    /// Ends every process that has the disk mounted. What they wrote stays, as the system would write it back in time:
    /// it is no more durable than before.
    pub fn kill(&self) {
        let mut inner = self.inner.lock();
        inner.power.restart();
        inner.locks.clear();
        for file in inner.files.values_mut() {
            file.handles = 0;
        }
    }

    /// Cuts the power if it is still on, decides what of the unsynced writes has been kept, and switches on again. Every
    /// mount and file from before fails from now on.
    pub fn restart(&self) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.power.restart();
        inner.names.crash(&inner.rng);
        let named = inner.names.files();
        inner.files.retain(|id, _| named.contains(id));
        // Most crashes are of the process alone, or of a device that wrote nothing or everything.
        let keep = Keep::any(&inner.rng);
        for file in inner.files.values_mut() {
            file.crash(&inner.rng, keep);
            file.handles = 0;
        }
        inner.locks.clear();
    }

    /// Turns one bit of the file at `path` over, somewhere from `from` up to `to`, for good. Returns where; `None` if the
    /// file has nothing there.
    pub fn flip_bit(&self, path: &Path, from: u64, to: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        let id = inner.names.file(path).ok()?;
        let to = to.min(inner.files[&id].len());
        if from >= to {
            return None;
        }
        let at = from + inner.rng.below(to - from);
        let bit = inner.rng.below(8) as u32;
        inner.files.get_mut(&id)?.flip(at, bit);
        Some(at)
    }

    /// Loses the sectors of the file at `path` that lie from `from` up to `to`: they cannot be read any more until they are
    /// written anew.
    pub fn lose_sectors(&self, path: &Path, from: u64, to: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let id = inner.names.file(path)?;
        inner.content(id)?.lose(from, to);
        Ok(())
    }

    /// Makes all sectors of the file at `path` readable again, as they were.
    pub fn find_sectors(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let id = inner.names.file(path)?;
        inner.content(id)?.find();
        Ok(())
    }

    /// Loses what the file system knows of the file at `path` beside its name: it cannot be opened any more.
    pub fn lose_file(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let id = inner.names.file(path)?;
        inner.content(id)?.forgotten = true;
        Ok(())
    }

    /// The files in `dir` and their lengths.
    pub fn files(&self, dir: &Path) -> Vec<(PathBuf, u64)> {
        let inner = self.inner.lock();
        inner
            .names
            .files_in(dir)
            .map(|(path, id)| (path.to_owned(), inner.files[&id].len()))
            .collect()
    }
}

/// What a crash does to unsynced sectors.
#[derive(Debug, Clone, Copy)]
enum Keep {
    All,
    None,
    /// Each on its own, with this chance in 256.
    Some(u64),
}

impl Keep {
    fn any(rng: &SeededRng) -> Self {
        match rng.below(6) {
            0 => Self::All,
            1 => Self::None,
            2 => Self::Some(250),
            3 => Self::Some(8),
            _ => Self::Some(128),
        }
    }

    fn keeps(self, rng: &SeededRng) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(chance) => rng.below(256) < chance,
        }
    }
}

impl Inner {
    /// Bytes of the files that have a name or are open. The others are kept for a crash to bring back.
    fn used_bytes(&self) -> u64 {
        let named = self.names.files();
        self.files
            .iter()
            .filter(|(id, file)| named.contains(*id) || file.handles > 0)
            .map(|(_, file)| file.allocated_bytes())
            .sum()
    }

    fn content(&mut self, id: FileId) -> io::Result<&mut FileContent> {
        self.files
            .get_mut(&id)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Looks for a file that is to be opened.
    fn look_for(&mut self, path: &Path) -> io::Result<FileId> {
        if self.happens(self.faults.out_of_files_one_in) {
            return Err(Errno::MFILE.into());
        }
        self.look(|inner| inner.names.file(path))
    }

    /// A file that can be opened.
    fn known(&mut self, id: FileId) -> io::Result<&FileContent> {
        let content = self.content(id)?;
        if content.forgotten {
            return Err(Errno::IO.into());
        }
        Ok(content)
    }

    /// Makes a file at least `len` long, if there is room.
    fn claim(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let more = len
            .next_multiple_of(SECTOR_BYTES)
            .saturating_sub(self.content(id)?.allocated_bytes());
        if more > 0 && self.used_bytes() + more > self.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn write(&mut self, id: FileId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let cut = self.power.use_up();
        self.claim(id, offset + bytes.len() as u64)?;
        let error = self.happens(self.faults.write_error_one_in);
        let whole = if cut || error {
            let sectors = bytes.len() as u64 / SECTOR_BYTES;
            (self.rng.below(sectors + 1) * SECTOR_BYTES) as usize
        } else {
            bytes.len()
        };
        self.content(id)?.write(&bytes[..whole], offset);
        if cut {
            return Err(power::off());
        }
        if error {
            return Err(io::Error::other("simulated write error"));
        }
        Ok(())
    }

    fn sync(&mut self, id: FileId) -> io::Result<()> {
        if self.power.use_up() {
            return Err(power::off());
        }
        if self.faults.fsync_is_a_lie {
            return Ok(());
        }
        let failed = self.fail_sync();
        let Some(file) = self.files.get_mut(&id) else {
            return Ok(());
        };
        if failed.is_err() {
            file.fail_sync(&self.rng);
            return failed;
        }
        file.sync();
        Ok(())
    }

    fn fail_sync(&self) -> io::Result<()> {
        self.fail_for_want_of_room()?;
        if self.happens(self.faults.sync_error_one_in) {
            return Err(io::Error::other("simulated sync error"));
        }
        Ok(())
    }

    fn fail_for_want_of_room(&self) -> io::Result<()> {
        if self.happens(self.faults.full_one_in) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn happens(&self, one_in: u64) -> bool {
        one_in > 0 && self.rng.one_in(one_in)
    }

    /// A look at what is there, which may fail.
    fn look<T>(&mut self, look: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.happens(self.faults.read_error_one_in) {
            return Err(io::Error::other("simulated read error"));
        }
        look(self)
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.fail_for_want_of_room()?;
        if self.happens(self.faults.change_error_one_in) {
            return Err(io::Error::other("simulated error of a change of names"));
        }
        // A change of names happens whole or not at all, but nobody may learn which.
        let cut = self.power.use_up();
        self.names.apply(change);
        if cut { Err(power::off()) } else { Ok(()) }
    }
}

/// The disk from one start to the next.
struct Mount {
    inner: Arc<Mutex<Inner>>,
    boot: u64,
}

impl Mount {
    fn on<T>(&self, operation: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner.lock();
        inner.power.check(self.boot)?;
        operation(&mut inner)
    }
}

impl Disk for Mount {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.on(|inner| match inner.look_for(path) {
            Ok(_) if access == Access::CreateNew => Err(io::ErrorKind::AlreadyExists.into()),
            Ok(id) => inner.known(id).map(|_| id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if matches!(access, Access::Read | Access::ReadWrite) {
                    return Err(error);
                }
                inner.names.check_parent(path)?;
                let id = inner.next_file;
                inner.next_file += 1;
                inner.files.insert(id, FileContent::default());
                inner.change(Change::Link(path.to_owned(), Node::File(id)))?;
                Ok(id)
            }
            Err(error) => Err(error),
        })?;
        self.on(|inner| {
            inner.content(id)?.handles += 1;
            Ok(())
        })?;
        Ok(Arc::new(OpenFile {
            inner: Arc::clone(&self.inner),
            boot: self.boot,
            id,
            writable: access != Access::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on(|inner| {
            inner.names.file(from)?;
            inner.names.check_parent(to)?;
            inner.change(Change::Rename(from.to_owned(), to.to_owned()))
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on(|inner| {
            let file = inner.names.file(from)?;
            inner.names.check_parent(to)?;
            if inner.names.exists(to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            inner.change(Change::Link(to.to_owned(), Node::File(file)))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.on(|inner| {
            inner.names.file(path)?;
            inner.change(Change::Unlink(path.to_owned()))
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        self.on(|inner| inner.look(|inner| inner.names.list(dir)))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.on(|inner| {
            let missing: Vec<PathBuf> = dir
                .ancestors()
                .filter(|dir| !dir.as_os_str().is_empty())
                .take_while(|dir| !inner.names.exists(dir))
                .map(Path::to_owned)
                .collect();
            for dir in missing.into_iter().rev() {
                inner.change(Change::Link(dir, Node::Directory))?;
            }
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.on(|inner| {
            if !inner.names.list(dir)?.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            inner.change(Change::Unlink(dir.to_owned()))
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.on(|inner| {
            if inner.power.use_up() {
                return Err(power::off());
            }
            inner.fail_sync()?;
            inner.names.sync(dir);
            Ok(())
        })
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.on(|inner| {
            inner.look(|inner| {
                let id = inner.names.file(path)?;
                Ok(inner.known(id)?.len())
            })
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.on(|inner| inner.look(|inner| Ok(inner.names.exists(path))))
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        let space = |inner: &mut Inner| {
            Ok(DiskSpace {
                available_bytes: inner.capacity_bytes.saturating_sub(inner.used_bytes()),
                total_bytes: inner.capacity_bytes,
            })
        };
        self.on(|inner| inner.look(space))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        self.open(path, Access::Create)?;
        let taken = self.on(|inner| Ok(inner.locks.insert(path.to_owned())))?;
        Ok(taken.then(|| {
            DiskLock::new(HeldLock {
                inner: Arc::clone(&self.inner),
                boot: self.boot,
                path: path.to_owned(),
            })
        }))
    }
}

struct HeldLock {
    inner: Arc<Mutex<Inner>>,
    boot: u64,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let mut inner = self.inner.lock();
        // After a restart somebody else may hold it.
        if inner.power.boot() == self.boot {
            inner.locks.remove(&self.path);
        }
    }
}

struct OpenFile {
    inner: Arc<Mutex<Inner>>,
    boot: u64,
    id: FileId,
    writable: bool,
}

impl OpenFile {
    fn on<T>(&self, operation: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner.lock();
        inner.power.check(self.boot)?;
        operation(&mut inner)
    }

    fn write<T>(&self, operation: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.on(operation)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut inner = self.inner.lock();
        if inner.power.boot() == self.boot
            && let Some(file) = inner.files.get_mut(&self.id)
        {
            file.handles -= 1;
        }
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.on(|inner| inner.look(|inner| inner.content(self.id)?.read(buf, offset)))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(|inner| inner.write(self.id, bytes, offset))
    }

    fn write_direct(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(
            crate::is_aligned(bytes, offset),
            "a direct write has to be aligned"
        );
        self.write(|inner| inner.write(self.id, bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.on(|inner| inner.sync(self.id))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.write(|inner| {
            if inner.power.use_up() {
                return Err(power::off());
            }
            inner.claim(self.id, len)?;
            inner.content(self.id)?.allocate(len);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.on(|inner| inner.look(|inner| Ok(inner.content(self.id)?.len())))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(|inner| {
            if inner.power.use_up() {
                return Err(power::off());
            }
            inner.claim(self.id, len)?;
            inner.content(self.id)?.set_len(len);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
