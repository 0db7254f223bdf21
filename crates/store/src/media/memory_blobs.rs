//! Blobs in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Blob, BlobMedium, BlobWriter};

/// Blobs that live as long as this value and its clones.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobs {
    blobs: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl MemoryBlobs {
    /// What a blob holds.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.blobs.lock().get(name).cloned()
    }

    /// Puts `content` in the place of whatever has that name: how a test damages a blob.
    pub fn put(&self, name: &str, content: impl Into<Bytes>) {
        self.blobs.lock().insert(name.to_owned(), content.into());
    }
}

impl BlobMedium for MemoryBlobs {
    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>> {
        if self.blobs.lock().contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Box::new(MemoryBlobWriter {
            blobs: self.clone(),
            name: name.to_owned(),
            content: Vec::new(),
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Blob>> {
        let content = self.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryBlob(content)))
    }

    fn list(&self) -> io::Result<Vec<(String, Option<u64>)>> {
        let blobs = self.blobs.lock();
        Ok(blobs
            .iter()
            .map(|(name, content)| (name.clone(), Some(content.len() as u64)))
            .collect())
    }

    fn delete(&self, names: &[String]) -> io::Result<()> {
        let mut blobs = self.blobs.lock();
        for name in names {
            blobs.remove(name);
        }
        Ok(())
    }

    fn available_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

struct MemoryBlobWriter {
    blobs: MemoryBlobs,
    name: String,
    content: Vec<u8>,
}

impl BlobWriter for MemoryBlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let mut blobs = self.blobs.blobs.lock();
        if blobs.contains_key(&self.name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        blobs.insert(self.name, self.content.into());
        Ok(())
    }
}

struct MemoryBlob(Bytes);

impl Blob for MemoryBlob {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}
