//! Reading what can be read of a journal where the device has lost a part of it.

use std::collections::BTreeSet;
use std::io;

use millstream_env::{DIRECT_ALIGNMENT, is_unreadable};

use crate::ids::JournalPosition;
use crate::media::JournalMedium;

/// What is read at a time where larger pieces cannot be read.
const BLOCK_BYTES: u64 = DIRECT_ALIGNMENT as u64;

/// The blocks of a journal that cannot be read, by where they start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unreadable(BTreeSet<u64>);

impl Unreadable {
    /// Reads at `at` as [`JournalMedium::read`] does, with zeros in the place of blocks that cannot be read, which are
    /// noted.
    pub(crate) fn read(
        &mut self,
        medium: &dyn JournalMedium,
        at: JournalPosition,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        match medium.read(at, buf) {
            Err(error) if is_unreadable(&error) => {}
            read => return read,
        }
        let mut done = 0;
        while done < buf.len() {
            let here = at.advance(done as u64);
            let to_next_block = BLOCK_BYTES - here.0 % BLOCK_BYTES;
            let len = (buf.len() - done).min(to_next_block as usize);
            let block = &mut buf[done..done + len];
            match medium.read(here, block) {
                Ok(read) if read < len => return Ok(done + read),
                Ok(_) => {}
                Err(error) if is_unreadable(&error) => {
                    block.fill(0);
                    self.0.insert(here.0 - here.0 % BLOCK_BYTES);
                }
                Err(error) => return Err(error),
            }
            done += len;
        }
        Ok(done)
    }

    /// Adds what others have come across.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether a block is among them that reaches into so many bytes from `at` on.
    pub(crate) fn touches(&self, at: JournalPosition, bytes: u64) -> bool {
        self.within(at, bytes).next().is_some()
    }

    /// Whether those that reach into what lies between the two positions cannot be read now either.
    pub(crate) fn is_still_so(
        &self,
        medium: &dyn JournalMedium,
        from: JournalPosition,
        to: JournalPosition,
    ) -> io::Result<bool> {
        let mut block = [0; BLOCK_BYTES as usize];
        for at in self.within(from, to.0 - from.0) {
            match medium.read(JournalPosition(at), &mut block) {
                Ok(_) => return Ok(false),
                Err(error) if is_unreadable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether all of `other` are among them.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }

    /// Where the unreadable stretch ends that reaches into so many bytes from `at` on, if there is one.
    pub(crate) fn end_of(&self, at: JournalPosition, bytes: u64) -> Option<JournalPosition> {
        let mut end = self.within(at, bytes).next()?;
        while self.0.contains(&end) {
            end += BLOCK_BYTES;
        }
        Some(JournalPosition(end))
    }

    /// Those that lie in none of the `ranges`.
    pub(crate) fn outside<'a>(
        &'a self,
        ranges: impl Iterator<Item = (JournalPosition, JournalPosition)> + Clone + 'a,
    ) -> impl Iterator<Item = JournalPosition> + 'a {
        let blocks = self.0.iter().copied();
        let is_outside = move |block: &u64| {
            let touches = |(from, to): (JournalPosition, JournalPosition)| {
                *block < to.0 && from.0 < block + BLOCK_BYTES
            };
            !ranges.clone().any(touches)
        };
        blocks.filter(is_outside).map(JournalPosition)
    }

    /// Those that reach into so many bytes from `at` on.
    fn within(&self, at: JournalPosition, bytes: u64) -> impl Iterator<Item = u64> {
        let first = at.0 - at.0 % BLOCK_BYTES;
        self.0.range(first..at.0 + bytes).copied()
    }
}
