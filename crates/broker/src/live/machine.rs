//! One subscriber: its buffer, its credit, its policy, and where it stands in each partition.
//!
//! Pure: events come in as calls, and what is to happen comes out as [`Step`]s and [`Effect`]s. A partition is in one of
//! three states. *Behind*: the subscriber reads the log itself, and what is offered is not for it yet. *Joined*: what its
//! hub offers goes to the buffer. *Fallen* (only with [`SlowPolicy::Block`]): the buffer was full; what it holds is
//! delivered first, then the partition is behind.
//!
//! What was read from the log is delivered before what is in the buffer. That keeps the order within each partition: it
//! joins only when all it has read lies in `replayed`, and falls only when all it was offered lies in `buffer`, which is
//! emptied before it reads again. So that busy partitions do not starve those that are behind, and the other way
//! round, after each reading so many buffered records have their turn as were read.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use millstream_limits::LIVE_STEP_RECORDS;
use millstream_record::Offset;

use super::error::Disconnected;
use super::message::{LiveItem, LiveMessage, Lost, Source};
use super::spec::SlowPolicy;

/// What a lost range takes in a buffer.
const LOST_BYTES: usize = 64;

/// The subscriber.
#[derive(Debug)]
pub(super) struct Machine {
    policy: SlowPolicy,
    records_max: usize,
    bytes_max: usize,
    /// What it may have at present of the memory that all subscribers share.
    share_bytes: usize,
    credit: u64,
    /// Read from the log, and to be delivered first.
    replayed: VecDeque<Entry>,
    /// Offered by hubs. What is dropped in between leaves its slot empty; the first one never is.
    buffer: VecDeque<Slot>,
    empty_slots: usize,
    buffer_bytes: usize,
    /// Dropped after everything in the buffer.
    dropped: u64,
    /// Where in the buffer the last record of each key is; only to keep the latest.
    latest: HashMap<(Source, Bytes), u64>,
    next_number: u64,
    sources: BTreeMap<Source, Place>,
    behind: BTreeSet<Source>,
    fallen: Vec<Source>,
    /// Takes no offers until the buffer is empty.
    choked: bool,
    /// Buffered records that have their turn before the log is read again.
    owed: usize,
    /// The last one that was behind and had its turn.
    turn: Source,
    end: Option<Disconnected>,
}

/// Where the subscriber is in a partition: the first record it does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Behind(Offset),
    Joined(Offset),
    Fallen(Offset),
}

impl Place {
    pub(super) fn next(self) -> Offset {
        let (Self::Behind(next) | Self::Joined(next) | Self::Fallen(next)) = self;
        next
    }
}

/// Something to deliver.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Message(Arc<LiveMessage>),
    Lost(Lost),
}

#[derive(Debug)]
struct Slot {
    /// Rising along the buffer.
    number: u64,
    /// None once it was dropped.
    entry: Option<Entry>,
    /// Dropped between what is before it and it, itself included.
    dropped_before: u64,
}

/// What the driver has to do for the reader.
#[derive(Debug)]
pub(super) enum Step {
    /// Give it this.
    Deliver(LiveItem),
    /// Read the log of this partition from there.
    Read(Source, Offset),
    /// Wait for an event.
    Wait,
}

/// What an event has changed for others.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effect {
    /// The reader has something to do.
    pub(super) wake: bool,
    /// So many records were dropped.
    pub(super) dropped: u64,
}

/// What became of something offered.
enum Offered {
    Taken,
    Refused,
    Ended,
}

impl Machine {
    pub(super) fn new(
        policy: SlowPolicy,
        records_max: usize,
        bytes_max: usize,
        credit: u64,
    ) -> Self {
        Self {
            policy,
            records_max,
            bytes_max,
            share_bytes: usize::MAX,
            credit,
            replayed: VecDeque::new(),
            buffer: VecDeque::new(),
            empty_slots: 0,
            buffer_bytes: 0,
            dropped: 0,
            latest: HashMap::new(),
            next_number: 0,
            sources: BTreeMap::new(),
            behind: BTreeSet::new(),
            fallen: Vec::new(),
            choked: false,
            owed: 0,
            turn: 0,
            end: None,
        }
    }

    /// What the reader does next.
    pub(super) fn step(&mut self) -> Step {
        if self.credit > 0 {
            if let Some(entry) = self.replayed.pop_front() {
                return self.deliver(entry);
            }
            if self.owed == 0
                && let Some(read) = self.next_behind()
            {
                return read;
            }
            if let Some(item) = self.take_buffered() {
                return item;
            }
            self.owed = 0;
            self.recover();
            if let Some(read) = self.next_behind() {
                return read;
            }
        }
        match &self.end {
            Some(reason) => Step::Deliver(LiveItem::Disconnected(reason.clone())),
            None => Step::Wait,
        }
    }

    /// Allows so many more records.
    pub(super) fn add_credit(&mut self, records: u64) -> Effect {
        self.credit = self.credit.saturating_add(records);
        self.effect(0)
    }

    /// Bounds what the buffer may hold for now, beside its own bound.
    pub(super) fn let_have(&mut self, share_bytes: usize) {
        self.share_bytes = share_bytes;
    }

    /// How many records may be read from the log at a time: those that are read can be delivered, and so do not stay.
    pub(super) fn step_records(&self) -> usize {
        usize::try_from(self.credit)
            .map_or(LIVE_STEP_RECORDS, |credit| credit.min(LIVE_STEP_RECORDS))
    }

    /// Lets what is buffered have its turn before the log is read. Returns whether there is something.
    pub(super) fn put_off_reading(&mut self) -> bool {
        self.owed = self.buffer.len();
        self.owed > 0
    }

    /// Adds a partition, to be read from `next`.
    pub(super) fn add(&mut self, source: Source, next: Offset) -> Effect {
        if self.end.is_none() && !self.sources.contains_key(&source) {
            self.sources.insert(source, Place::Behind(next));
            self.behind.insert(source);
        }
        self.effect(0)
    }

    /// Forgets a partition, which is gone. What is buffered of it is still delivered.
    pub(super) fn remove(&mut self, source: Source) {
        self.sources.remove(&source);
        self.behind.remove(&source);
        self.fallen.retain(|&fallen| fallen != source);
    }

    /// What is delivered before everything else.
    pub(super) fn begin_with(&mut self, entries: Vec<Entry>) -> Effect {
        self.replayed.extend(entries);
        self.effect(0)
    }

    /// What was read from the log of a partition that is behind, and where it goes on.
    pub(super) fn replayed(&mut self, source: Source, entries: Vec<Entry>, next: Offset) {
        if let Some(place @ Place::Behind(_)) = self.sources.get_mut(&source) {
            *place = Place::Behind(next);
            self.owed = entries.len();
            self.replayed.extend(entries);
        }
    }

    /// A partition that was behind has caught up with its hub, with `entries` that the hub still had.
    pub(super) fn joined(&mut self, source: Source, entries: Vec<Entry>, next: Offset) {
        if let Some(place @ Place::Behind(_)) = self.sources.get_mut(&source) {
            *place = Place::Joined(next);
            self.behind.remove(&source);
            self.owed = self.owed.max(entries.len());
            self.replayed.extend(entries);
        }
    }

    /// Its hub offers records of a partition, in order, and knows all up to `end`.
    pub(super) fn offer(
        &mut self,
        source: Source,
        messages: &[Arc<LiveMessage>],
        end: Offset,
        wanted: impl Fn(&LiveMessage) -> bool,
    ) -> Effect {
        let mut dropped = 0;
        let Some(next) = self.listens(source) else {
            return Effect::default();
        };
        for message in messages {
            if message.offset < next || !wanted(message) {
                continue;
            }
            match self.push(source, Entry::Message(Arc::clone(message)), &mut dropped) {
                Offered::Taken => {}
                Offered::Refused => {
                    self.fall(source, message.offset);
                    return self.effect(dropped);
                }
                Offered::Ended => return self.effect(dropped),
            }
        }
        self.sources.insert(source, Place::Joined(next.max(end)));
        self.effect(dropped)
    }

    /// Its hub found records of a partition gone.
    pub(super) fn offer_lost(&mut self, source: Source, mut lost: Lost) -> Effect {
        let mut dropped = 0;
        let Some(next) = self.listens(source).filter(|&next| next < lost.to) else {
            return Effect::default();
        };
        lost.from = lost.from.max(next);
        let (from, to) = (lost.from, lost.to);
        match self.push(source, Entry::Lost(lost), &mut dropped) {
            Offered::Taken => drop(self.sources.insert(source, Place::Joined(to))),
            Offered::Refused => self.fall(source, from),
            Offered::Ended => {}
        }
        self.effect(dropped)
    }

    /// Nothing more comes. What is buffered is still delivered as far as credit goes, and then the reason.
    pub(super) fn end(&mut self, reason: Disconnected) -> Effect {
        self.end.get_or_insert(reason);
        self.behind.clear();
        self.effect(0)
    }

    /// Whether all that it has was delivered or told: then the reader has seen everything before each [`Place`], or did not
    /// want it.
    pub(super) fn is_drained(&self) -> bool {
        self.replayed.is_empty() && self.buffer.is_empty() && self.dropped == 0
    }

    /// Where it is in a partition.
    pub(super) fn place(&self, source: Source) -> Option<Place> {
        self.sources.get(&source).copied()
    }

    /// How many partitions it is to.
    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    fn effect(&self, dropped: u64) -> Effect {
        let has_some = !self.replayed.is_empty()
            || !self.buffer.is_empty()
            || self.dropped > 0
            || !self.behind.is_empty()
            || !self.fallen.is_empty();
        Effect {
            wake: self.end.is_some() || (self.credit > 0 && has_some),
            dropped,
        }
    }

    /// The first record of `source` that it would take from a hub, if it would take any.
    fn listens(&self, source: Source) -> Option<Offset> {
        match self.sources.get(&source) {
            Some(&Place::Joined(next)) if self.end.is_none() => Some(next),
            _ => None,
        }
    }

    fn fall(&mut self, source: Source, next: Offset) {
        self.choked = true;
        self.sources.insert(source, Place::Fallen(next));
        self.fallen.push(source);
    }

    /// With the buffer empty, what has fallen may be read again.
    fn recover(&mut self) {
        self.choked = false;
        for source in self.fallen.drain(..) {
            if let Some(place @ Place::Fallen(_)) = self.sources.get_mut(&source) {
                let Place::Fallen(next) = *place else {
                    continue;
                };
                *place = Place::Behind(next);
                if self.end.is_none() {
                    self.behind.insert(source);
                }
            }
        }
    }

    fn next_behind(&mut self) -> Option<Step> {
        let after = self.behind.range(self.turn.saturating_add(1)..).next();
        let source = *after.or_else(|| self.behind.first())?;
        self.turn = source;
        match self.sources.get(&source) {
            Some(&Place::Behind(next)) => Some(Step::Read(source, next)),
            _ => None,
        }
    }

    fn deliver(&mut self, entry: Entry) -> Step {
        Step::Deliver(match entry {
            Entry::Message(message) => {
                if self.credit != u64::MAX {
                    self.credit -= 1;
                }
                LiveItem::Record(message)
            }
            Entry::Lost(lost) => LiveItem::Lost(lost),
        })
    }

    fn take_buffered(&mut self) -> Option<Step> {
        let before = match self.buffer.front_mut() {
            Some(front) => &mut front.dropped_before,
            None => &mut self.dropped,
        };
        if *before > 0 {
            let count = std::mem::take(before);
            return Some(Step::Deliver(LiveItem::Dropped { count }));
        }
        let entry = self.buffer.pop_front()?.entry?;
        self.unaccount(&entry);
        self.pass_empty_slots();
        self.owed = self.owed.saturating_sub(1);
        Some(self.deliver(entry))
    }

    /// Puts `entry` at the buffer's end, as far as the policy lets it.
    fn push(&mut self, source: Source, entry: Entry, dropped: &mut u64) -> Offered {
        if self.choked {
            return Offered::Refused;
        }
        *dropped += self.drop_superseded(source, &entry);
        while !self.fits(&entry) {
            match self.policy {
                SlowPolicy::Block => return Offered::Refused,
                SlowPolicy::Disconnect => {
                    self.end = Some(Disconnected::TooSlow);
                    self.behind.clear();
                    return Offered::Ended;
                }
                SlowPolicy::DropOldest | SlowPolicy::KeepLatest if !self.buffer.is_empty() => {
                    *dropped += self.drop_at(0);
                }
                SlowPolicy::DropNewest | SlowPolicy::DropOldest | SlowPolicy::KeepLatest => {
                    self.dropped += entry.records();
                    *dropped += entry.records();
                    return Offered::Taken;
                }
            }
        }
        if let Some(key) = self.key_of(source, &entry) {
            self.latest.insert(key, self.next_number);
        }
        self.buffer_bytes += entry.size_bytes();
        self.buffer.push_back(Slot {
            number: self.next_number,
            entry: Some(entry),
            dropped_before: std::mem::take(&mut self.dropped),
        });
        self.next_number += 1;
        Offered::Taken
    }

    fn fits(&self, entry: &Entry) -> bool {
        // A record that is alone may be larger than the buffer, and is taken in any case by a reader who may have it at once.
        if self.buffer.is_empty() {
            return self.credit > 0 || entry.size_bytes() <= self.share_bytes;
        }
        let bytes_max = self.bytes_max.min(self.share_bytes);
        self.buffer.len() - self.empty_slots < self.records_max
            && self.buffer_bytes + entry.size_bytes() <= bytes_max
    }

    /// Drops the record that `entry` is a later version of, if that is the policy.
    fn drop_superseded(&mut self, source: Source, entry: &Entry) -> u64 {
        let Some(key) = self.key_of(source, entry) else {
            return 0;
        };
        let Some(&number) = self.latest.get(&key) else {
            return 0;
        };
        let found = self
            .buffer
            .binary_search_by_key(&number, |slot| slot.number);
        found.map_or(0, |index| self.drop_at(index))
    }

    /// Drops what is at `index` of the buffer, and leaves a note there. Returns how many records that was.
    fn drop_at(&mut self, index: usize) -> u64 {
        let slot = self.buffer.get_mut(index);
        let Some((slot, entry)) =
            slot.and_then(|slot| slot.entry.take().map(|entry| (slot, entry)))
        else {
            return 0;
        };
        let records = entry.records();
        slot.dropped_before += records;
        self.empty_slots += 1;
        self.unaccount(&entry);
        self.pass_empty_slots();
        // To close each gap at once would move half of the buffer for it.
        if self.empty_slots > self.buffer.len() / 2 {
            self.close_gaps();
        }
        records
    }

    /// Moves the notes of empty slots at the front to what is behind them.
    fn pass_empty_slots(&mut self) {
        while self.buffer.front().is_some_and(|slot| slot.entry.is_none()) {
            let Some(slot) = self.buffer.pop_front() else {
                return;
            };
            self.empty_slots -= 1;
            let note = match self.buffer.front_mut() {
                Some(after) => &mut after.dropped_before,
                None => &mut self.dropped,
            };
            *note += slot.dropped_before;
        }
    }

    /// Does so with all of them.
    fn close_gaps(&mut self) {
        let mut dropped = 0;
        self.buffer.retain_mut(|slot| {
            slot.dropped_before += std::mem::take(&mut dropped);
            if slot.entry.is_none() {
                dropped = slot.dropped_before;
            }
            slot.entry.is_some()
        });
        self.dropped += dropped;
        self.empty_slots = 0;
    }

    fn unaccount(&mut self, entry: &Entry) {
        self.buffer_bytes -= entry.size_bytes();
        if let Entry::Message(message) = entry
            && let Some(key) = self.key_of(message.source, entry)
        {
            self.latest.remove(&key);
        }
    }

    /// What is counted as one, to keep the latest of.
    fn key_of(&self, source: Source, entry: &Entry) -> Option<(Source, Bytes)> {
        match entry {
            Entry::Message(message) if self.policy == SlowPolicy::KeepLatest => {
                Some((source, message.key.clone()?))
            }
            _ => None,
        }
    }
}

impl Entry {
    /// How many records are missing without it.
    fn records(&self) -> u64 {
        match self {
            Self::Message(_) => 1,
            Self::Lost(lost) => (lost.to - lost.from) as u64,
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.size_bytes(),
            Self::Lost(_) => LOST_BYTES,
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
