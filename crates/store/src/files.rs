//! Small file operations that several parts share: all through the env's disk.

use std::io;
use std::path::Path;

pub(crate) use millstream_env::parent;
use millstream_env::{Access, Disk};

/// How much is copied at a time.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// Copies a file, replacing one that is at `target`, and syncs the copy. The caller syncs the directory.
pub(crate) fn copy(disk: &dyn Disk, source: &Path, target: &Path) -> io::Result<u64> {
    let from = disk.open(source, Access::Read)?;
    let to = disk.open(target, Access::Create)?;
    to.set_len(0)?;
    let mut buffer = vec![0; COPY_CHUNK_BYTES];
    let mut at = 0;
    loop {
        let read = from.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        to.write_at(&buffer[..read], at)?;
        at += read as u64;
    }
    to.sync_data()?;
    Ok(at)
}

/// The same; `false`: the copy shares nothing with the file.
pub(crate) fn copy_apart(disk: &dyn Disk, source: &Path, target: &Path) -> io::Result<bool> {
    copy(disk, source, target).map(|_| false)
}

/// Gives a file that never changes a second name at `target`, or copies it where the file system cannot. Returns whether
/// the two are one file.
pub(crate) fn link_or_copy(disk: &dyn Disk, source: &Path, target: &Path) -> io::Result<bool> {
    if disk.link(source, target).is_ok() {
        return Ok(true);
    }
    copy_apart(disk, source, target)
}

/// Reads a whole file of at most `max_bytes`.
pub(crate) fn read(disk: &dyn Disk, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let len = file.len()?;
    if len > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is larger than {max_bytes} bytes", path.display()),
        ));
    }
    let mut content = vec![0; len as usize];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

/// Makes `content` the file at `path`: whole or not at all, and durable when this returns.
pub(crate) fn write_whole(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let file = disk.open(&unfinished, Access::Create)?;
    file.set_len(0)?;
    file.write_at(content, 0)?;
    file.sync_data()?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(parent(path))
}
