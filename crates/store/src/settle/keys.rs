//! The latest offset of each key, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use millstream_record::Offset;
use siphasher::sip128::SipHasher13;

/// The latest offset of each key that was put in.
///
/// A key is known by a keyed 128-bit hash, so that memory does not depend on how long keys are, and nobody who does not
/// know the hash's key can make two keys meet.
pub(super) struct LatestOffsets {
    hasher: SipHasher13,
    offsets: HashMap<[u64; 2], Offset, BuildHasherDefault<Passthrough>>,
    keys_max: usize,
}

impl LatestOffsets {
    /// An empty map that is full with `keys_max` keys and hashes with `hash_key`, which is random.
    pub(super) fn new(hash_key: (u64, u64), keys_max: usize) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(hash_key.0, hash_key.1),
            offsets: HashMap::default(),
            keys_max,
        }
    }

    /// Notes that `key` was written at `offset`, later than anything noted before.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) {
        self.offsets.insert(self.hash(key), offset);
    }

    /// Where `key` was last written.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        self.offsets.get(&self.hash(key)).copied()
    }

    /// Whether it has taken as much as it should.
    pub(super) fn is_full(&self) -> bool {
        self.offsets.len() >= self.keys_max
    }

    /// Forgets all keys and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let hash = self.hasher.hash(key);
        [hash.h1, hash.h2]
    }
}

/// Takes the first half of a hash for the hash of the hash.
#[derive(Default)]
struct Passthrough(u64);

impl Hasher for Passthrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // An array of numbers arrives as its bytes, after its length for types that need one.
        if let Some((first, _)) = bytes.split_first_chunk::<8>() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}
