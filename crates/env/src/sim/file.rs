//! What a simulated file holds now, and what it may hold after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::io::Errno;

use super::Keep;
use crate::rng::SeededRng;

/// What is written whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;

type Sector = [u8; SECTOR_BYTES as usize];

const ZEROS: Sector = [0; SECTOR_BYTES as usize];

/// A file's content, by sectors; one that is missing is zeros.
#[derive(Debug, Default)]
pub(super) struct FileContent {
    sectors: BTreeMap<u64, Box<Sector>>,
    len: u64,
    allocated: u64,
    /// The durable content of sectors that have been written since they were last synced.
    unsynced: BTreeMap<u64, Option<Box<Sector>>>,
    /// The durable content of sectors that a failed sync has lost: they read as written until a crash.
    lost: BTreeMap<u64, Option<Box<Sector>>>,
    durable_len: u64,
    /// Sectors that cannot be read before they have been written anew.
    unreadable: BTreeSet<u64>,
    /// What the file system knows of it cannot be read: it cannot be opened, nor its length be told.
    pub(super) forgotten: bool,
    /// How often it is open.
    pub(super) handles: u64,
}

impl FileContent {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.len.max(self.allocated).next_multiple_of(SECTOR_BYTES)
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = self.len.min(offset + buf.len() as u64);
        let sectors = offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES).max(offset / SECTOR_BYTES);
        if self.unreadable.range(sectors).next().is_some() {
            return Err(Errno::IO.into());
        }
        let count = end.saturating_sub(offset) as usize;
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let (index, skip) = (at / SECTOR_BYTES, (at % SECTOR_BYTES) as usize);
            let take = (SECTOR_BYTES as usize - skip).min(count - done);
            let sector = self.sectors.get(&index).map_or(&ZEROS, |sector| &**sector);
            buf[done..done + take].copy_from_slice(&sector[skip..skip + take]);
            done += take;
        }
        Ok(count)
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (index, skip) = (at / SECTOR_BYTES, (at % SECTOR_BYTES) as usize);
            let take = (SECTOR_BYTES as usize - skip).min(bytes.len() - done);
            self.touch(index);
            self.unreadable.remove(&index);
            let sector = self.sectors.entry(index).or_insert_with(|| Box::new(ZEROS));
            sector[skip..skip + take].copy_from_slice(&bytes[done..done + take]);
            done += take;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub(super) fn allocate(&mut self, len: u64) {
        self.allocated = self.allocated.max(len);
        self.len = self.len.max(len);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.allocated = self.allocated.min(len);
            let first_gone = len.div_ceil(SECTOR_BYTES);
            let gone: Vec<u64> = self
                .sectors
                .range(first_gone..)
                .map(|(index, _)| *index)
                .collect();
            for index in gone {
                self.touch(index);
                self.sectors.remove(&index);
            }
            let cut = (len % SECTOR_BYTES) as usize;
            if cut > 0 {
                let index = len / SECTOR_BYTES;
                self.touch(index);
                if let Some(sector) = self.sectors.get_mut(&index) {
                    sector[cut..].fill(0);
                }
            }
        }
        self.len = len;
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.len;
    }

    /// Writes back some of the sectors; the rest count as written back and are not.
    pub(super) fn fail_sync(&mut self, rng: &SeededRng) {
        for (index, durable) in std::mem::take(&mut self.unsynced) {
            if rng.one_in(2) {
                self.lost.insert(index, durable);
            }
        }
        if rng.one_in(2) {
            self.durable_len = self.len;
        }
    }

    /// What is left after the power has gone.
    pub(super) fn crash(&mut self, rng: &SeededRng, keep: Keep) {
        for (index, durable) in std::mem::take(&mut self.lost) {
            self.put_back(index, durable);
        }
        for (index, durable) in std::mem::take(&mut self.unsynced) {
            if !keep.keeps(rng) {
                self.put_back(index, durable);
            }
        }
        if self.len != self.durable_len && !keep.keeps(rng) {
            self.set_len(self.durable_len);
        }
        self.sync();
    }

    /// Turns a bit over as if it had always been so.
    pub(super) fn flip(&mut self, at: u64, bit: u32) {
        let (index, skip) = (at / SECTOR_BYTES, (at % SECTOR_BYTES) as usize);
        let sector = self.sectors.entry(index).or_insert_with(|| Box::new(ZEROS));
        sector[skip] ^= 1 << bit;
    }

    /// Has the sectors from `from` up to `to` fail when they are read.
    pub(super) fn lose(&mut self, from: u64, to: u64) {
        self.unreadable
            .extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
    }

    /// Has all sectors be readable again.
    pub(super) fn find(&mut self) {
        self.unreadable.clear();
    }

    /// Remembers what of a sector is durable before it changes.
    fn touch(&mut self, index: u64) {
        if !self.unsynced.contains_key(&index) {
            let durable = match self.lost.remove(&index) {
                Some(lost) => lost,
                None => self.sectors.get(&index).cloned(),
            };
            self.unsynced.insert(index, durable);
        }
    }

    fn put_back(&mut self, index: u64, durable: Option<Box<Sector>>) {
        match durable {
            Some(sector) => self.sectors.insert(index, sector),
            None => self.sectors.remove(&index),
        };
    }
}
