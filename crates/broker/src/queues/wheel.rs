//! A hierarchical timing wheel: what is due when, for millions of timers.
//!
//! Eleven levels of 64 slots cover every millisecond there is. A timer lies on the level of the highest 6-bit digit in
//! which its due time differs from the wheel's time, in the slot that this digit names: so all timers of a slot on level
//! 0 are due in the same millisecond, and everything on a level is ahead of the wheel's time. When the time reaches a
//! slot of a higher level, its timers move down. Inserting and cancelling take constant time, finding the next slot
//! takes a look at one word a level; a level takes memory only while something lies on it, so a quiet wheel is small.
//! Timers that are due in the same millisecond lie in the same slot from the beginning to the end, in the order in which
//! they were set.
//!
//! A pure structure: time is handed in.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use millstream_record::TimestampMs;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = 11;

/// Timers are kept in pages of this many, so that a growing wheel never copies what it holds, and a quiet one is small.
const PAGE: usize = 64;

/// Names a timer until it has fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(NonZeroU32);

/// Timers with something of type `T` to do when they are due.
#[derive(Debug)]
pub struct Wheel<T> {
    /// Nothing that is due earlier is in the wheel.
    elapsed: u64,
    levels: [Option<Box<Level>>; LEVELS],
    pages: Vec<Box<[Node<T>]>>,
    /// The first of the nodes that are free, linked by `next`.
    free: Option<TimerId>,
    len: usize,
}

#[derive(Debug)]
struct Level {
    /// A bit for each slot that holds something.
    occupied: u64,
    heads: [Option<TimerId>; SLOTS],
    tails: [Option<TimerId>; SLOTS],
}

#[derive(Debug)]
struct Node<T> {
    due: u64,
    previous: Option<TimerId>,
    next: Option<TimerId>,
    /// None while the node is free.
    payload: Option<T>,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self {
            elapsed: 0,
            levels: Default::default(),
            pages: Vec::new(),
            free: None,
            len: 0,
        }
    }
}

impl<T> Wheel<T> {
    /// How many timers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many timers there is memory for.
    pub fn capacity(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// The memory that the timers take, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let levels = self.levels.iter().flatten().count() * size_of::<Level>();
        levels
            + self.pages.len() * PAGE * size_of::<Node<T>>()
            + self.pages.capacity() * size_of::<Box<[Node<T>]>>()
    }

    /// Sets a timer. One that is due in the past fires next.
    pub fn insert(&mut self, due: TimestampMs, payload: T) -> TimerId {
        let id = self.take_free();
        let due = ms(due).max(self.elapsed);
        let node = self.node_mut(id);
        node.due = due;
        node.payload = Some(payload);
        self.link(id);
        self.len += 1;
        id
    }

    /// Takes a timer out before it fires. `id` must not have fired or been cancelled.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.node(id).payload.as_ref()?;
        self.unlink(id);
        Some(self.release(id))
    }

    /// Takes out the next timer that is due at `now`, with the time it was due at. Timers of the same millisecond come
    /// in the order in which they were set.
    pub fn pop_due(&mut self, now: TimestampMs) -> Option<(TimestampMs, T)> {
        let now = ms(now);
        loop {
            let Some((level, slot, start)) = self.next_slot().filter(|(_, _, start)| *start <= now)
            else {
                self.elapsed = self.elapsed.max(now);
                return None;
            };
            self.elapsed = start;
            if level == 0 {
                let id = self.head(0, slot)?;
                self.unlink(id);
                return Some((TimestampMs(start as i64), self.release(id)));
            }
            self.move_down(level, slot);
        }
    }

    /// When to look again: no timer is due earlier. It may turn out to be too early, at most once for each level.
    pub fn next_deadline(&self) -> Option<TimestampMs> {
        self.next_slot()
            .map(|(_, _, start)| TimestampMs(i64::try_from(start).unwrap_or(i64::MAX)))
    }

    /// Cancels every timer that `condition` holds for, and gives back the memory that is free at the end. It is asked once
    /// for each timer.
    pub fn cancel_if(&mut self, mut condition: impl FnMut(&T) -> bool) {
        let nodes = self.capacity() as u32;
        for id in (1..=nodes).filter_map(NonZeroU32::new).map(TimerId) {
            if self.is_empty() {
                return;
            }
            if self.node(id).payload.as_ref().is_some_and(&mut condition) {
                self.cancel(id);
            }
        }
        self.give_back_pages();
    }

    /// Gives back the pages behind the last that holds something.
    fn give_back_pages(&mut self) {
        let mut pages = self.pages.iter();
        let used = pages.rposition(|page| page.iter().any(|node| node.payload.is_some()));
        let used = used.map_or(0, |at| at + 1);
        if used == self.pages.len() {
            return;
        }
        self.pages.truncate(used);
        self.pages.shrink_to_fit();
        // What is free is linked anew, the first to the front: so the last pages are needed least.
        self.free = None;
        let nodes = self.capacity() as u32;
        for id in (1..=nodes).rev().filter_map(NonZeroU32::new).map(TimerId) {
            if self.node(id).payload.is_none() {
                self.node_mut(id).next = self.free.replace(id);
            }
        }
    }

    /// The slot that comes first, with its level and the time at which it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        for (level, slots) in self.levels.iter().enumerate() {
            let Some(slots) = slots else { continue };
            let slot = slots.occupied.trailing_zeros() as usize;
            let shift = DIGIT_BITS * level as u32;
            let above = self
                .elapsed
                .checked_shr(shift + DIGIT_BITS)
                .and_then(|high| high.checked_shl(shift + DIGIT_BITS))
                .unwrap_or(0);
            return Some((level, slot, above | (slot as u64) << shift));
        }
        None
    }

    fn move_down(&mut self, level: usize, slot: usize) {
        while let Some(id) = self.head(level, slot) {
            self.unlink_from(id, level, slot);
            self.link(id);
        }
    }

    /// Where a timer that is due at `due` lies.
    fn place(&self, due: u64) -> (usize, usize) {
        let differing = (self.elapsed ^ due) | 1;
        let level = (differing.ilog2() / DIGIT_BITS) as usize;
        let slot = due >> (DIGIT_BITS * level as u32) & (SLOTS as u64 - 1);
        (level, slot as usize)
    }

    fn head(&self, level: usize, slot: usize) -> Option<TimerId> {
        self.levels[level]
            .as_ref()
            .and_then(|level| level.heads[slot])
    }

    fn link(&mut self, id: TimerId) {
        let (level, slot) = self.place(self.node(id).due);
        let slots = self.levels[level].get_or_insert_with(|| {
            Box::new(Level {
                occupied: 0,
                heads: [None; SLOTS],
                tails: [None; SLOTS],
            })
        });
        let previous = slots.tails[slot].replace(id);
        slots.occupied |= 1 << slot;
        match previous {
            Some(previous) => self.node_mut(previous).next = Some(id),
            None => slots.heads[slot] = Some(id),
        }
        let node = self.node_mut(id);
        node.previous = previous;
        node.next = None;
    }

    fn unlink(&mut self, id: TimerId) {
        let (level, slot) = self.place(self.node(id).due);
        self.unlink_from(id, level, slot);
    }

    fn unlink_from(&mut self, id: TimerId, level: usize, slot: usize) {
        let (previous, next) = (self.node(id).previous, self.node(id).next);
        if let Some(next) = next {
            self.node_mut(next).previous = previous;
        }
        if let Some(previous) = previous {
            self.node_mut(previous).next = next;
        }
        let Some(slots) = &mut self.levels[level] else {
            return;
        };
        if previous.is_none() {
            slots.heads[slot] = next;
        }
        if next.is_none() {
            slots.tails[slot] = previous;
        }
        if previous.is_none() && next.is_none() {
            slots.occupied &= !(1 << slot);
            if slots.occupied == 0 {
                self.levels[level] = None;
            }
        }
    }

    fn take_free(&mut self) -> TimerId {
        if self.free.is_none() {
            self.add_page();
        }
        let id = self.free.expect("a page has just been added");
        self.free = self.node(id).next;
        id
    }

    fn add_page(&mut self) {
        let first = (self.pages.len() * PAGE) as u32 + 1;
        let page = (0..PAGE as u32).map(|index| Node {
            due: 0,
            previous: None,
            next: (index + 1 < PAGE as u32)
                .then(|| NonZeroU32::new(first + index + 1).map(TimerId))
                .flatten(),
            payload: None,
        });
        self.pages.push(page.collect());
        self.free = NonZeroU32::new(first).map(TimerId);
    }

    fn release(&mut self, id: TimerId) -> T {
        let free = self.free.replace(id);
        let node = self.node_mut(id);
        node.previous = None;
        node.next = free;
        let payload = node.payload.take();
        self.len -= 1;
        if self.len == 0 && self.pages.len() > 1 {
            self.pages = Vec::new();
            self.free = None;
        }
        payload.expect("a timer that is linked has something to do")
    }

    fn node(&self, id: TimerId) -> &Node<T> {
        let index = id.0.get() as usize - 1;
        &self.pages[index / PAGE][index % PAGE]
    }

    fn node_mut(&mut self, id: TimerId) -> &mut Node<T> {
        let index = id.0.get() as usize - 1;
        &mut self.pages[index / PAGE][index % PAGE]
    }
}

/// Time before 1970 is not told apart.
fn ms(time: TimestampMs) -> u64 {
    u64::try_from(time.get()).unwrap_or(0)
}
