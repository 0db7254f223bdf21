//! A set of offsets within one chunk.
//!
//! The chunk's 65,536 offsets are 64 blocks of 1,024. A block that holds all or none of its offsets is one bit of a word;
//! only a mixed block has a bitmap of its own, 128 bytes. That is what roaring bitmaps do below 64 Ki, with one form
//! instead of three: an empty or a full set takes 40 bytes, one offset 128 more, the worst mixture 8 KiB. All work is
//! done on words of 64 offsets.

/// Offsets of a chunk.
pub(crate) const CHUNK: u32 = 1 << 16;
/// Blocks of a chunk.
pub(crate) const BLOCKS: usize = 64;
/// Offsets of a block: also the unit in which what is finished is written down.
pub(crate) const BLOCK: u32 = 1 << 10;
/// Words of a chunk.
pub(crate) const WORDS: usize = 1_024;

/// Words of a block.
pub(crate) const BLOCK_WORDS: usize = 16;
/// A leaf vector with room for more than this is given back when it is empty.
const KEPT_LEAVES: usize = 4;

/// The offsets of one block, the lowest in the lowest bit of the first word.
pub(crate) type BlockBits = [u64; BLOCK_WORDS];

/// A set of a chunk's offsets, each named by its distance from the chunk's first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    /// Blocks with all their offsets in the set.
    full: u64,
    /// Blocks with some of them, each with a leaf, in order.
    mixed: u64,
    leaves: Vec<BlockBits>,
}

impl Bits {
    /// The first `count` offsets.
    pub(crate) fn first(count: u32) -> Self {
        let mut bits = Self::default();
        bits.insert_range(0, count);
        bits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.full == 0 && self.mixed == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full == u64::MAX
    }

    pub(crate) fn contains(&self, bit: u32) -> bool {
        self.word(bit as usize / 64) >> (bit % 64) & 1 == 1
    }

    /// The offsets `64 * word ..` as a mask.
    pub(crate) fn word(&self, word: usize) -> u64 {
        let block = word / BLOCK_WORDS;
        match self.leaf(block) {
            Some(leaf) => self.leaves[leaf][word % BLOCK_WORDS],
            None => self.uniform(block),
        }
    }

    pub(crate) fn block(&self, block: usize) -> BlockBits {
        match self.leaf(block) {
            Some(leaf) => self.leaves[leaf],
            None => [self.uniform(block); BLOCK_WORDS],
        }
    }

    pub(crate) fn insert_word(&mut self, word: usize, mask: u64) {
        self.change(word, |bits| bits | mask);
    }

    pub(crate) fn remove_word(&mut self, word: usize, mask: u64) {
        self.change(word, |bits| bits & !mask);
    }

    /// Adds `from..to`.
    pub(crate) fn insert_range(&mut self, from: u32, to: u32) {
        for (word, mask) in words_of(from, to) {
            self.insert_word(word, mask);
        }
    }

    /// The masks that hold something, from the word `from` on.
    pub(crate) fn words_from(&self, from: usize) -> impl Iterator<Item = (usize, u64)> + '_ {
        let mut next = from;
        std::iter::from_fn(move || {
            while let Some(word) = self.next_word(next) {
                next = word + 1;
                let mask = self.word(word);
                if mask != 0 {
                    return Some((word, mask));
                }
            }
            None
        })
    }

    /// The first offset at or after `bit` that is not in the set.
    pub(crate) fn first_absent(&self, bit: u32) -> Option<u32> {
        let mut word = bit as usize / 64;
        let mut ignored = (1_u64 << (bit % 64)) - 1;
        while word < WORDS {
            if word.is_multiple_of(BLOCK_WORDS) && self.full >> (word / BLOCK_WORDS) & 1 == 1 {
                word += BLOCK_WORDS;
                ignored = 0;
                continue;
            }
            let absent = !(self.word(word) | ignored);
            if absent != 0 {
                return Some(word as u32 * 64 + absent.trailing_zeros());
            }
            ignored = 0;
            word += 1;
        }
        None
    }

    /// Whether all of `from..to` is in the set.
    pub(crate) fn contains_range(&self, from: u32, to: u32) -> bool {
        self.first_absent(from).is_none_or(|absent| absent >= to)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.leaves.capacity() * size_of::<BlockBits>()
    }

    /// The next word, `from` or later, of a block that is not empty.
    fn next_word(&self, from: usize) -> Option<usize> {
        if from >= WORDS {
            return None;
        }
        let block = from / BLOCK_WORDS;
        let ahead = (self.full | self.mixed) & (u64::MAX << block);
        match ahead.trailing_zeros() as usize {
            BLOCKS => None,
            found if found == block => Some(from),
            found => Some(found * BLOCK_WORDS),
        }
    }

    fn uniform(&self, block: usize) -> u64 {
        if self.full >> block & 1 == 1 {
            u64::MAX
        } else {
            0
        }
    }

    /// Where a mixed block's leaf is.
    fn leaf(&self, block: usize) -> Option<usize> {
        (self.mixed >> block & 1 == 1)
            .then(|| (self.mixed & ((1 << block) - 1)).count_ones() as usize)
    }

    fn change(&mut self, word: usize, change: impl FnOnce(u64) -> u64) {
        let block = word / BLOCK_WORDS;
        if let Some(leaf) = self.leaf(block) {
            let bits = &mut self.leaves[leaf];
            let changed = change(bits[word % BLOCK_WORDS]);
            bits[word % BLOCK_WORDS] = changed;
            let is_uniform = changed == 0 || changed == u64::MAX;
            if is_uniform && bits.iter().all(|other| *other == changed) {
                self.drop_leaf(block, leaf, changed);
            }
            return;
        }
        let uniform = self.uniform(block);
        let changed = change(uniform);
        if changed != uniform {
            let mut bits = [uniform; BLOCK_WORDS];
            bits[word % BLOCK_WORDS] = changed;
            self.full &= !(1 << block);
            self.mixed |= 1 << block;
            let leaf = (self.mixed & ((1 << block) - 1)).count_ones() as usize;
            self.leaves.insert(leaf, bits);
        }
    }

    fn drop_leaf(&mut self, block: usize, leaf: usize, uniform: u64) {
        self.leaves.remove(leaf);
        self.mixed &= !(1 << block);
        if uniform != 0 {
            self.full |= 1 << block;
        }
        if self.leaves.is_empty() && self.leaves.capacity() > KEPT_LEAVES {
            self.leaves = Vec::new();
        }
    }
}

/// The words that `from..to` covers, each with the part that is covered.
pub(crate) fn words_of(from: u32, to: u32) -> impl Iterator<Item = (usize, u64)> {
    let last = to.div_ceil(64);
    (from / 64..last).map(move |word| {
        let start = word * 64;
        let below = from.saturating_sub(start);
        let above = (start + 64).saturating_sub(to);
        (word as usize, (u64::MAX << below) & (u64::MAX >> above))
    })
}

/// The offsets of a mask.
pub(crate) fn ones(mut mask: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        if bit == 64 {
            return None;
        }
        mask &= mask - 1;
        Some(bit)
    })
}

/// The stretches of neighbours in a mask: from where to where.
pub(crate) fn stretches(mut mask: u64) -> impl Iterator<Item = (u32, u32)> {
    std::iter::from_fn(move || {
        let from = mask.trailing_zeros();
        if from == 64 {
            return None;
        }
        let to = from + (!(mask >> from)).trailing_zeros();
        mask = mask.checked_shr(to).unwrap_or(0) << (to % 64);
        Some((from, to))
    })
}

/// The lowest `count` offsets of a mask.
pub(crate) fn lowest(mask: u64, count: u32) -> u64 {
    if mask.count_ones() <= count {
        return mask;
    }
    let mut rest = mask;
    for _ in 0..count {
        rest &= rest - 1;
    }
    mask & !rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(
            changes in proptest::collection::vec((any::<bool>(), 0..CHUNK, 0..5_000_u32), 0..60),
            probes in proptest::collection::vec(0..CHUNK, 20),
        ) {
            let mut bits = Bits::default();
            let mut model = BTreeSet::new();
            for (insert, from, length) in changes {
                let to = CHUNK.min(from + length);
                if insert {
                    bits.insert_range(from, to);
                    model.extend(from..to);
                } else {
                    words_of(from, to).for_each(|(word, mask)| bits.remove_word(word, mask));
                    model.retain(|bit| !(from..to).contains(bit));
                }
            }
            let found: Vec<u32> = bits
                .words_from(0)
                .flat_map(|(word, mask)| ones(mask).map(move |bit| word as u32 * 64 + bit))
                .collect();
            prop_assert_eq!(found, model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(bits.is_empty(), model.is_empty());
            for probe in probes {
                prop_assert_eq!(bits.contains(probe), model.contains(&probe));
                let absent = (probe..CHUNK).find(|bit| !model.contains(bit));
                prop_assert_eq!(bits.first_absent(probe), absent);
            }
            let mut copy = Bits::default();
            for block in 0..BLOCKS {
                for (index, mask) in bits.block(block).into_iter().enumerate() {
                    copy.insert_word(block * BLOCK_WORDS + index, mask);
                }
            }
            prop_assert_eq!(copy, bits, "one set has one form");
        }

        #[test]
        fn stretches_are_what_a_mask_consists_of(dense: u64, sparse: u64) {
            for mask in [dense, dense & sparse, dense | sparse, 0, u64::MAX, u64::MAX << 63] {
                let covered = stretches(mask).flat_map(|(from, to)| from..to);
                prop_assert_eq!(covered.collect::<Vec<_>>(), ones(mask).collect::<Vec<_>>());
                let ends = stretches(mask).map(|(_, to)| to).filter(|to| *to < 64);
                prop_assert!(ends.into_iter().all(|to| mask & (1 << to) == 0));
            }
        }

        #[test]
        fn lowest_takes_that_many(mask: u64, count in 0..70_u32) {
            let taken = lowest(mask, count);
            prop_assert_eq!(taken.count_ones(), mask.count_ones().min(count));
            prop_assert_eq!(taken & !mask, 0);
            prop_assert!(ones(taken).last() <= ones(mask & !taken).next() || taken == mask);
        }
    }

    #[test]
    fn full_and_empty_take_nothing() {
        let mut bits = Bits::first(CHUNK);
        assert!(bits.is_full());
        assert!(bits.heap_bytes() <= KEPT_LEAVES * 128);
        for (word, mask) in words_of(0, CHUNK) {
            bits.remove_word(word, mask);
        }
        assert!(bits.is_empty());
        assert!(bits.heap_bytes() <= KEPT_LEAVES * 128);
    }
}
