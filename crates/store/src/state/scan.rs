//! An ordered walk over what the overlay and the base hold together.

use std::collections::btree_map;
use std::iter::Peekable;

use bytes::Bytes;

use super::StateError;
use super::base::BaseRange;
use super::overlay::Entries;

/// Keys with a common prefix and their values, in order, as they were when the scan began. The overlay's part is already
/// in memory; the base's part is read from the disk as the scan goes on. After an error it ends.
pub struct Scan {
    overlay: Peekable<btree_map::IntoIter<Bytes, Option<Bytes>>>,
    base: Option<BaseRange>,
    /// The base's next entry, read ahead for the comparison.
    base_next: Option<(Bytes, Bytes)>,
    prefix: Bytes,
}

impl Scan {
    pub(super) fn new(prefix: &[u8], overlay: Entries, base: Option<BaseRange>) -> Self {
        Self {
            overlay: overlay.into_iter().peekable(),
            base,
            base_next: None,
            prefix: Bytes::copy_from_slice(prefix),
        }
    }

    /// Reads the base's next entry unless it is there already.
    fn fill(&mut self) -> Result<(), StateError> {
        if self.base_next.is_some() {
            return Ok(());
        }
        let Some(base) = &mut self.base else {
            return Ok(());
        };
        let entry = base.next().transpose().map_err(Box::new)?;
        self.base_next = entry
            .map(|(key, value)| {
                (
                    Bytes::copy_from_slice(key.value()),
                    Bytes::copy_from_slice(value.value()),
                )
            })
            .filter(|(key, _)| key.starts_with(&self.prefix));
        if self.base_next.is_none() {
            self.base = None;
        }
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<(Bytes, Bytes), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Err(error) = self.fill() {
                self.base = None;
                self.overlay = Entries::new().into_iter().peekable();
                return Some(Err(error));
            }
            let base_key = self.base_next.as_ref().map(|(key, _)| key);
            let changed = self
                .overlay
                .next_if(|(key, _)| base_key.is_none_or(|base_key| key <= base_key));
            match changed {
                None => return self.base_next.take().map(Ok),
                Some((key, value)) => {
                    if base_key == Some(&key) {
                        self.base_next = None;
                    }
                    if let Some(value) = value {
                        return Some(Ok((key, value)));
                    }
                }
            }
        }
    }
}
