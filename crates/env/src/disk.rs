//! What the storage engine asks of a disk, and what it may rely on.
//!
//! The promises are those of a POSIX file system and no stronger:
//!
//! - a write is durable once [`DiskFile::sync_data`] has returned `Ok` after it; before that a crash may keep all of it,
//!   some sectors of it, or nothing, and in any order with other writes;
//! - a created, renamed or removed name is durable once [`Disk::sync_dir`] has returned `Ok` for its directory;
//! - after a failed `sync_data` nothing written since the last good one can be relied on, and asking again proves
//!   nothing: the failure has to be treated as a crash.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    ReadWrite,
    /// A new file, to read and write; fails with `AlreadyExists`.
    CreateNew,
    /// A file to read and write, made if it is missing.
    Create,
}

/// What a directory entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// The room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What this process can still claim.
    pub available_bytes: u64,
    /// What there is in all.
    pub total_bytes: u64,
}

/// Directories and names. All paths are given whole.
pub trait Disk: Send + Sync {
    /// Opens or makes a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name in one step, replacing a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name that is as good as the first. Fails with `AlreadyExists` if the name is taken, and
    /// somehow else where files cannot have several names.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Handles stay usable; the space returns with the last of them.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, EntryKind)>>;

    /// Makes a directory and what is missing above it, which is durable then. Making one that exists is no error.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The length of the file at `path`, which is not opened for that.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Whether something has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// How much room the file system that holds `path` has; `path` exists.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;

    /// Takes the lock file at `path`, made if missing, until the returned guard is dropped or the process ends.
    /// `None` when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>>;
}

/// An open file. Offsets and lengths are in bytes.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` through the page cache.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` around the page cache where the file system can. Address, length and offset are multiples
    /// of [`crate::DIRECT_ALIGNMENT`]. No more durable than [`DiskFile::write_at`] until the next sync.
    fn write_direct(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable, and the file's length with it.
    fn sync_data(&self) -> io::Result<()>;

    /// Claims space for the first `len` bytes and makes the file at least so long. `StorageFull` where there is none.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// The file's length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Holds a lock file; dropping it lets go.
pub struct DiskLock {
    _guard: Box<dyn Send + Sync>,
}

impl DiskLock {
    /// A lock that lasts as long as `guard`.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self {
            _guard: Box::new(guard),
        }
    }
}

impl std::fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskLock")
    }
}

/// Whether a read has failed because the device has lost what it is asked for, as it does when a sector goes bad. What lies
/// beside that may be readable.
pub fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Whether a file could not be opened because too many are: others have to be closed first.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let of_the_process = Errno::MFILE.raw_os_error();
    let of_the_system = Errno::NFILE.raw_os_error();
    matches!(error.raw_os_error(), Some(errno) if errno == of_the_process || errno == of_the_system)
}

/// The directory that `path` lies in.
pub fn parent(path: &Path) -> &Path {
    let parent = path.parent();
    parent
        .filter(|parent| *parent != Path::new(""))
        .unwrap_or(Path::new("."))
}
