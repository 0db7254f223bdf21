//! A journal in memory, without boundaries: for tests, and to show how little a medium has to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::journal::{Claim, JournalExtent, JournalMedium};
use crate::ids::JournalPosition;

/// A journal that lasts as long as some handle on it.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    shared: Arc<Shared>,
    /// Which owner this handle is; 0 before it has fenced the others.
    owner: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    content: Mutex<Content>,
    /// The last owner.
    owner: AtomicU64,
}

#[derive(Debug, Default)]
struct Content {
    first: u64,
    bytes: Vec<u8>,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another handle on the same journal, as another process would have it.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            owner: AtomicU64::new(0),
        }
    }
}

impl JournalMedium for MemoryJournal {
    fn fence(&self) -> io::Result<()> {
        let owner = self.shared.owner.fetch_add(1, Ordering::SeqCst) + 1;
        self.owner.store(owner, Ordering::SeqCst);
        Ok(())
    }

    fn extent(&self) -> io::Result<JournalExtent> {
        let content = self.shared.content.lock();
        Ok(JournalExtent {
            first: JournalPosition(content.first),
            end: JournalPosition(content.first + content.bytes.len() as u64),
        })
    }

    fn room(&self, _at: JournalPosition) -> u64 {
        u64::MAX
    }

    fn claim(&self, _upto: JournalPosition, _claim: Claim) -> io::Result<bool> {
        Ok(true)
    }

    fn append(&self, at: JournalPosition, group: &[u8], _sync: bool) -> io::Result<()> {
        if self.owner.load(Ordering::SeqCst) != self.shared.owner.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let mut content = self.shared.content.lock();
        let Some(start) = at.0.checked_sub(content.first) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (start, end) = (start as usize, start as usize + group.len());
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[start..end].copy_from_slice(group);
        Ok(())
    }

    fn read(&self, at: JournalPosition, buf: &mut [u8]) -> io::Result<usize> {
        let content = self.shared.content.lock();
        let start = at.0.checked_sub(content.first).map(|start| start as usize);
        let rest = start.and_then(|start| content.bytes.get(start..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn trim(&self, before: JournalPosition) -> io::Result<()> {
        let mut content = self.shared.content.lock();
        let gone = before.0.saturating_sub(content.first) as usize;
        let gone = gone.min(content.bytes.len());
        content.bytes.drain(..gone);
        content.first += gone as u64;
        Ok(())
    }

    fn prepare(&self, _ample: bool) -> io::Result<bool> {
        Ok(false)
    }
}
