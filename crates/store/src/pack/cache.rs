//! Open packs, as many as the bounds allow: the least recently used ones are closed.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_limits::{PACK_FOOTER_CACHE_BYTES, PACKS_OPEN_MAX};
use parking_lot::Mutex;

use super::PackError;
use super::reader::PackReader;
use crate::ids::PackId;

#[derive(Default)]
pub(super) struct PackCache {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    packs: HashMap<PackId, Entry>,
    footer_bytes: usize,
    /// Counts uses, to tell which is the oldest.
    uses: u64,
}

struct Entry {
    reader: Arc<PackReader>,
    used: u64,
}

impl PackCache {
    /// The open pack, opened by `open` if it was not. It is kept open only if it is `wanted` once it is open: it may have
    /// been forgotten while it was being opened.
    pub(super) fn get(
        &self,
        id: PackId,
        open: impl FnOnce() -> Result<PackReader, PackError>,
        wanted: impl FnOnce() -> bool,
    ) -> Result<Arc<PackReader>, PackError> {
        if let Some(reader) = self.open.lock().touch(id) {
            return Ok(reader);
        }
        // Not under the lock: others need not wait for the disk. Two may open the same pack; one of them is kept.
        let reader = Arc::new(open()?);
        self.open.lock().insert(id, Arc::clone(&reader));
        // After it is in, or it could be forgotten between the look and that.
        if !wanted() {
            self.forget(id);
        }
        Ok(reader)
    }

    /// Closes a pack that is no longer needed. Who still reads it holds it open.
    pub(super) fn forget(&self, id: PackId) {
        self.open.lock().remove(id);
    }
}

impl Open {
    fn touch(&mut self, id: PackId) -> Option<Arc<PackReader>> {
        self.uses += 1;
        let entry = self.packs.get_mut(&id)?;
        entry.used = self.uses;
        Some(Arc::clone(&entry.reader))
    }

    fn insert(&mut self, id: PackId, reader: Arc<PackReader>) {
        self.remove(id);
        self.uses += 1;
        self.footer_bytes += reader.footer_bytes();
        let used = self.uses;
        self.packs.insert(id, Entry { reader, used });
        while self.packs.len() > PACKS_OPEN_MAX
            || self.footer_bytes > PACK_FOOTER_CACHE_BYTES && self.packs.len() > 1
        {
            let oldest = self.packs.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, id: PackId) {
        if let Some(entry) = self.packs.remove(&id) {
            self.footer_bytes -= entry.reader.footer_bytes();
        }
    }
}
