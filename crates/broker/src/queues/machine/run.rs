//! Offsets that share a fate: one delivery, one delay, one way to the dead letters.

use millstream_record::Offset;
use smallvec::SmallVec;

use super::bits::{CHUNK, ones};
use crate::queues::ids::PartitionIndex;

/// A run ends before a hole of more words than this: a run of its own for what follows takes less memory.
const HOLE_WORDS_MAX: usize = 8;

/// A set of offsets of one chunk, close to each other: a bitmap of as many words as they span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    chunk: i64,
    first_word: u16,
    words: SmallVec<[u64; 3]>,
}

/// A run, where it is, and how urgent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The partition the offsets are in.
    pub partition: PartitionIndex,
    /// The records' priority.
    pub priority: u8,
    /// The offsets.
    pub run: Run,
}

/// Which chunk an offset is in.
pub(crate) const fn chunk_of(offset: Offset) -> i64 {
    offset.get().div_euclid(CHUNK as i64)
}

/// Where in its chunk an offset is.
pub(crate) const fn bit_of(offset: Offset) -> u32 {
    offset.get().rem_euclid(CHUNK as i64) as u32
}

/// The offset at a place in a chunk.
pub(crate) const fn offset_at(chunk: i64, bit: u32) -> Offset {
    Offset(chunk * CHUNK as i64 + bit as i64)
}

/// The parts of `from..to` that lie in each chunk: the chunk, and from where to where in it.
pub(crate) fn chunks_of(from: Offset, to: Offset) -> impl Iterator<Item = (i64, u32, u32)> {
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let chunk = chunk_of(at);
        let end = to.min(offset_at(chunk + 1, 0));
        let part = (chunk, bit_of(at), (end - offset_at(chunk, 0)) as u32);
        at = end;
        Some(part)
    })
}

impl Run {
    /// The offsets of one word of a chunk.
    pub(crate) fn of_word(chunk: i64, word: usize, mask: u64) -> Self {
        Self {
            chunk,
            first_word: word as u16,
            words: SmallVec::from_slice(&[mask]),
        }
    }

    /// The run that was taken apart with [`Self::chunk`] and [`Self::words`]. None if it does not fit a chunk.
    pub(crate) fn from_words(chunk: i64, first_word: u16, words: &[u64]) -> Option<Self> {
        let fits = usize::from(first_word) + words.len() <= super::bits::WORDS;
        (fits && !words.is_empty()).then(|| Self {
            chunk,
            first_word,
            words: SmallVec::from_slice(words),
        })
    }

    pub(crate) fn chunk(&self) -> i64 {
        self.chunk
    }

    /// The first word and the bitmap.
    pub(crate) fn bitmap(&self) -> (u16, &[u64]) {
        (self.first_word, &self.words)
    }

    /// The words that hold something.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let first = usize::from(self.first_word);
        let words = self.words.iter().enumerate();
        words
            .map(move |(index, mask)| (first + index, *mask))
            .filter(|(_, mask)| *mask != 0)
    }

    /// The offsets in order.
    pub fn offsets(&self) -> impl Iterator<Item = Offset> + '_ {
        let chunk = self.chunk;
        self.words().flat_map(move |(word, mask)| {
            ones(mask).map(move |bit| offset_at(chunk, word as u32 * 64 + bit))
        })
    }

    /// The first and the last offset.
    pub(crate) fn ends(&self) -> Option<(Offset, Offset)> {
        let (first, low) = self.words().next()?;
        let (last, high) = self.words().last()?;
        let first = first as u32 * 64 + low.trailing_zeros();
        let last = last as u32 * 64 + 63 - high.leading_zeros();
        Some((offset_at(self.chunk, first), offset_at(self.chunk, last)))
    }

    /// How many offsets.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether `offset` is among them.
    pub fn contains(&self, offset: Offset) -> bool {
        self.place(offset)
            .is_some_and(|(index, mask)| self.words[index] & mask != 0)
    }

    /// Takes an offset out. Whether it was in.
    pub(crate) fn remove(&mut self, offset: Offset) -> bool {
        let Some((index, mask)) = self.place(offset) else {
            return false;
        };
        let was_in = self.words[index] & mask != 0;
        self.words[index] &= !mask;
        was_in
    }

    /// Adds a word of the chunk if it is near enough. Whether it was.
    pub(crate) fn add(&mut self, chunk: i64, word: usize, mask: u64) -> bool {
        let first = usize::from(self.first_word);
        let end = first + self.words.len();
        let is_near = word + HOLE_WORDS_MAX >= first && word <= end + HOLE_WORDS_MAX;
        if chunk != self.chunk || !is_near {
            return false;
        }
        self.put(word, mask);
        true
    }

    /// Adds a word of the same chunk, however far away.
    pub(crate) fn put(&mut self, word: usize, mask: u64) {
        let first = usize::from(self.first_word);
        if word < first {
            self.words
                .insert_many(0, std::iter::repeat_n(0, first - word));
            self.first_word = word as u16;
        } else if word >= first + self.words.len() {
            self.words.resize(word - first + 1, 0);
        }
        self.words[word - usize::from(self.first_word)] |= mask;
    }

    /// Takes offsets of a word out.
    pub(crate) fn take_out(&mut self, word: usize, mask: u64) {
        let index = word.checked_sub(self.first_word.into());
        if let Some(bits) = index.and_then(|index| self.words.get_mut(index)) {
            *bits &= !mask;
        }
    }

    /// Takes the offsets before `before` out, as a run of their own.
    pub(crate) fn split_before(&mut self, before: Offset) -> Self {
        let mut split = self.clone();
        let bits = (before.get().saturating_sub(offset_at(self.chunk, 0).get()))
            .clamp(0, CHUNK.into()) as u32;
        let masks = split.words.iter_mut().zip(&mut self.words);
        for (word, (taken, left)) in (u32::from(self.first_word)..).zip(masks) {
            let keep = bits.saturating_sub(word * 64);
            let mask = if keep >= 64 {
                u64::MAX
            } else {
                (1 << keep) - 1
            };
            *taken &= mask;
            *left &= !mask;
        }
        split
    }

    /// Adds all of another run of the same chunk.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (word, mask) in other.words() {
            self.put(word, mask);
        }
    }

    /// What the run takes beyond itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        if self.words.spilled() {
            self.words.capacity() * 8
        } else {
            0
        }
    }

    fn place(&self, offset: Offset) -> Option<(usize, u64)> {
        let bit = bit_of(offset);
        let index = (bit as usize / 64).checked_sub(self.first_word.into())?;
        (chunk_of(offset) == self.chunk && index < self.words.len())
            .then(|| (index, 1 << (bit % 64)))
    }
}

/// Adds a word to the last of `parts` that it goes together with, or as a part of its own.
pub(crate) fn gather<A: smallvec::Array<Item = Part>>(
    parts: &mut SmallVec<A>,
    (partition, priority): (PartitionIndex, u8),
    (chunk, word, mask): (i64, usize, u64),
) {
    if let Some(last) = parts.last_mut()
        && last.partition == partition
        && last.priority == priority
        && last.run.add(chunk, word, mask)
    {
        return;
    }
    parts.push(Part {
        partition,
        priority,
        run: Run::of_word(chunk, word, mask),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_grows_both_ways_until_the_hole_is_too_wide() {
        let mut run = Run::of_word(1, 20, 1);
        assert!(run.add(1, 28, 0b100) && run.add(1, 12, 0b10));
        assert!(!run.add(1, 38, 1) && !run.add(1, 3, 1) && !run.add(2, 20, 1));
        let base = 1 << 16;
        let expected = [12 * 64 + 1, 20 * 64, 28 * 64 + 2].map(|bit| Offset(base + bit));
        assert_eq!(run.offsets().collect::<Vec<_>>(), expected);
        assert!(run.contains(expected[1]) && run.remove(expected[1]));
        assert!(!run.remove(expected[1]) && !run.contains(Offset(20 * 64)));
        assert_eq!(run.count(), 2);
    }

    #[test]
    fn a_run_is_split_at_an_offset() {
        let offsets = [64_i64, 127, 128, 700, 1_023].map(|bit| Offset(i64::from(CHUNK) + bit));
        let mut run = Run::of_word(1, 1, 0);
        for offset in offsets {
            let bit = bit_of(offset);
            run.put(bit as usize / 64, 1 << (bit % 64));
        }
        let ends = [Offset(0), Offset(i64::MIN), Offset(i64::MAX)];
        for at in offsets.into_iter().chain(ends) {
            let mut right = run.clone();
            let left = right.split_before(at);
            assert!(left.offsets().all(|offset| offset < at), "{at}");
            assert!(right.offsets().all(|offset| offset >= at), "{at}");
            assert_eq!(left.count() + right.count(), 5, "{at}");
        }
    }

    #[test]
    fn a_range_is_cut_at_chunks() {
        let cut: Vec<_> = chunks_of(Offset(65_000), Offset(131_073)).collect();
        assert_eq!(cut, [(0, 65_000, CHUNK), (1, 0, CHUNK), (2, 0, 1)]);
        assert_eq!(chunks_of(Offset(5), Offset(5)).count(), 0);
    }
}
