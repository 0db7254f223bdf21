//! Immutable named blobs: where packs live.

use std::io;
use std::sync::Arc;

/// Holds blobs by name. A blob is there whole and durable, or not at all, and never changes.
///
/// Names are made of `a-z`, `0-9`, `-` and `.`.
pub trait BlobMedium: Send + Sync {
    /// Starts a new blob, which exists once the writer has finished. Fails with `AlreadyExists` if the name is taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>>;

    /// Opens a blob for reading; it stays readable through this handle after it has been deleted.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Blob>>;

    /// Names and sizes in bytes of all finished blobs, sorted by name. No size where what says it cannot be read.
    fn list(&self) -> io::Result<Vec<(String, Option<u64>)>>;

    /// Removes blobs, for good when this returns. One that is not there is no error.
    fn delete(&self, names: &[String]) -> io::Result<()>;

    /// Bytes that new blobs can still take.
    fn available_bytes(&self) -> io::Result<u64>;
}

/// A blob being written. Dropping it unfinished leaves nothing behind.
pub trait BlobWriter: Send {
    /// Adds `bytes` at the end. Local disks want big chunks from [`millstream_env::aligned_buffer`], all but the last
    /// of them a multiple of [`millstream_env::DIRECT_ALIGNMENT`] long; other sizes work and are slower.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the blob durable and visible.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A finished blob.
pub trait Blob: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Its size in bytes.
    fn len(&self) -> u64;

    /// Whether it holds nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
