//! The part of the state table that is in memory: changed keys, with `None` for a deleted one.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// Changes by key: a new value, or `None` where the key was deleted.
pub(super) type Entries = BTreeMap<Bytes, Option<Bytes>>;

/// Changes since a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    entries: Entries,
    bytes: usize,
}

impl Overlay {
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, Some(Bytes::copy_from_slice(value)));
    }

    /// Remembers that the key is gone: an older generation may have it.
    pub(super) fn delete(&mut self, key: &[u8]) {
        self.set(key, None);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.entries.get(key)
    }

    /// The entries whose keys start with `prefix`, from the key `from` on.
    pub(super) fn range(&self, prefix: &[u8], from: &[u8]) -> Entries {
        self.entries
            .range::<[u8], _>((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Option<Bytes>)> {
        self.entries.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn set(&mut self, key: &[u8], value: Option<Bytes>) {
        let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        self.bytes += size(&value);
        if let Some(old) = self.entries.get_mut(key) {
            self.bytes -= size(old);
            *old = value;
        } else {
            self.bytes += key.len();
            self.entries.insert(Bytes::copy_from_slice(key), value);
        }
    }
}
