//! redb's storage on the disk of [`millstream_env`], so that the simulated disk works under it too.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use millstream_env::DiskFile;
use parking_lot::Mutex;
use redb::StorageBackend;

/// A file that redb works on. The data directory's lock keeps others out, so this one takes no locks.
pub(super) struct FileBackend(pub(super) Arc<dyn DiskFile>);

impl fmt::Debug for FileBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileBackend")
    }
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact(&*self.0, out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}

/// A file that redb believes it writes: changes stay in memory. Opening a table after a crash repairs it, and whoever
/// only looks must leave the file as it was.
pub(super) struct ShadowBackend {
    file: Arc<dyn DiskFile>,
    shadow: Mutex<Shadow>,
}

/// What differs from the file.
struct Shadow {
    len: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK_BYTES as usize]>>,
}

const BLOCK_BYTES: u64 = 4096;

impl ShadowBackend {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len()?;
        let blocks = BTreeMap::new();
        Ok(Self {
            file,
            shadow: Mutex::new(Shadow { len, blocks }),
        })
    }

    /// The block at `number` as the file has it, zeros where the file ends.
    fn original(&self, number: u64) -> io::Result<Box<[u8; BLOCK_BYTES as usize]>> {
        let mut block = Box::new([0; BLOCK_BYTES as usize]);
        self.file.read_at(&mut block[..], number * BLOCK_BYTES)?;
        Ok(block)
    }
}

/// Splits the `len` bytes at `offset` by blocks: block number, range within the block.
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let end = offset + len as u64;
    (offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)).map(move |number| {
        let start = number * BLOCK_BYTES;
        let from = offset.max(start) - start;
        let upto = end.min(start + BLOCK_BYTES) - start;
        (number, from as usize..upto as usize)
    })
}

impl fmt::Debug for ShadowBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShadowBackend")
    }
}

impl StorageBackend for ShadowBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.shadow.lock().len)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let shadow = self.shadow.lock();
        if offset + out.len() as u64 > shadow.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, range) in blocks(offset, out.len()) {
            let (part, rest) = out.split_at_mut(range.len());
            match shadow.blocks.get(&number) {
                Some(block) => part.copy_from_slice(&block[range]),
                None => part.copy_from_slice(&self.original(number)?[range]),
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.shadow.lock().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut shadow = self.shadow.lock();
        for (number, range) in blocks(offset, data.len()) {
            let (part, rest) = data.split_at(range.len());
            let block = match shadow.blocks.entry(number) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(self.original(number)?)
                }
            };
            block[range].copy_from_slice(part);
            data = rest;
        }
        Ok(())
    }
}

fn read_exact(file: &dyn DiskFile, out: &mut [u8], offset: u64) -> io::Result<()> {
    if file.read_at(out, offset)? == out.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
