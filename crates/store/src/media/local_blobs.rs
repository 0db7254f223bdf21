//! Blobs as files of one directory.
//!
//! A blob is written under a name that ends in `.unfinished`, synced, and then renamed; what a crash leaves unfinished is
//! swept away when the directory is opened.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_env::{Access, Disk, DiskFile, EntryKind, is_aligned, is_unreadable};

use super::blobs::{Blob, BlobMedium, BlobWriter};

const UNFINISHED: &str = ".unfinished";

/// Blobs in one directory.
pub struct LocalBlobs {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl LocalBlobs {
    /// Opens the blobs in `dir`, which is made if missing.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<Self> {
        if !disk.exists(dir)? {
            disk.create_dir(dir)?;
            disk.sync_dir(crate::files::parent(dir))?;
        }
        for (name, kind) in disk.list(dir)? {
            if kind == EntryKind::File && name.ends_with(UNFINISHED) {
                disk.remove(&dir.join(name))?;
            }
        }
        Ok(Self::open_unchanged(disk, dir))
    }

    /// The blobs in `dir`, with whatever else a crash has left there.
    pub fn open_unchanged(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
        }
    }
}

impl BlobMedium for LocalBlobs {
    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>> {
        let path = self.dir.join(name);
        if self.disk.exists(&path)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let unfinished = self.dir.join(format!("{name}{UNFINISHED}"));
        let file = self.disk.open(&unfinished, Access::CreateNew)?;
        Ok(Box::new(LocalWriter {
            disk: Arc::clone(&self.disk),
            file: Some(file),
            unfinished,
            path,
            len: 0,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Blob>> {
        let file = self.disk.open(&self.dir.join(name), Access::Read)?;
        let len = file.len()?;
        Ok(Arc::new(LocalBlob { file, len }))
    }

    fn list(&self) -> io::Result<Vec<(String, Option<u64>)>> {
        let mut found = Vec::new();
        for (name, kind) in self.disk.list(&self.dir)? {
            if kind == EntryKind::File && !name.ends_with(UNFINISHED) {
                let len = match self.disk.len(&self.dir.join(&name)) {
                    Ok(len) => Some(len),
                    Err(error) if is_unreadable(&error) => {
                        tracing::error!(%name, %error, "what the file system knows of a pack cannot be read");
                        None
                    }
                    Err(error) => return Err(error),
                };
                found.push((name, len));
            }
        }
        Ok(found)
    }

    fn delete(&self, names: &[String]) -> io::Result<()> {
        let mut removed = Ok(());
        for name in names {
            match self.disk.remove(&self.dir.join(name)) {
                // The others need not stay because this one does.
                Err(error) if error.kind() != io::ErrorKind::NotFound => removed = Err(error),
                _ => {}
            }
        }
        removed.and(self.disk.sync_dir(&self.dir))
    }

    fn available_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.space(&self.dir)?.available_bytes)
    }
}

struct LocalWriter {
    disk: Arc<dyn Disk>,
    /// `None` once finished.
    file: Option<Arc<dyn DiskFile>>,
    unfinished: PathBuf,
    path: PathBuf,
    len: u64,
}

impl BlobWriter for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        if is_aligned(bytes, self.len) {
            file.write_direct(bytes, self.len)?;
        } else {
            file.write_at(bytes, self.len)?;
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        file.sync_data()?;
        self.disk.rename(&self.unfinished, &self.path)?;
        self.file = None;
        self.disk.sync_dir(crate::files::parent(&self.path))
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = self.disk.remove(&self.unfinished)
        {
            tracing::warn!(path = %self.unfinished.display(), %error, "an unfinished file could not be removed");
        }
    }
}

struct LocalBlob {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Blob for LocalBlob {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.len
    }
}
