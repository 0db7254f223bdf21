//! Ids that were met recently: a record whose id was met before, within the window, is a duplicate.
//!
//! The window is measured between the records' timestamps, and a record that was found to be new stays so: after a
//! restart, or a change of policy, what is open is looked at again, and by then a later record may have its id. So it is
//! known how far each partition was looked at, and where that was forgotten with the ids, all that is known is further
//! away than the window. Of records with the same id the latest is what others are compared with.
//!
//! Ids are kept in the groups in which they were met, one a scan, or several if there are very many: a group is one entry
//! of the state table, and goes when the last of its ids is older than the window.
//!
//! Every id of a group has a place in the room that all queues share. If there is none left for the queue, its oldest groups
//! are forgotten early; if it has none, what is new is not remembered.

use std::collections::{BTreeMap, HashMap, VecDeque};

use millstream_record::{Offset, TimestampMs};

use super::ids_room::Places;
use super::later;
use super::write::{IdsImage, SeenId, Write};
use crate::queues::ids::PartitionIndex;

/// What a group holds at most: with 32 bytes each its entry fits a commit also where journal files are as small as they get.
pub(super) const GROUP_IDS_MAX: usize = 1 << 12;

#[derive(Clone, Copy, Debug)]
struct Seen {
    partition: PartitionIndex,
    /// The group that it is forgotten with.
    group: u32,
    timestamp: TimestampMs,
}

impl Seen {
    /// Whether a record that is met after this one with the same id is within the window. Partitions are not looked at in
    /// step, so that one of another partition may be the older of the two.
    fn is_repeated_by(&self, partition: PartitionIndex, record: &SeenId, window_ms: u64) -> bool {
        let distance_ms = self.timestamp.get().abs_diff(record.timestamp.get());
        let comes_before = partition == self.partition && record.timestamp < self.timestamp;
        comes_before || distance_ms < window_ms
    }
}

#[derive(Debug)]
struct Group {
    number: u32,
    partition: PartitionIndex,
    from: Offset,
    newest: TimestampMs,
    ids: Vec<u128>,
}

#[derive(Debug)]
pub(crate) struct Dedup {
    seen: HashMap<u128, Seen>,
    /// In the order in which they were met.
    groups: VecDeque<Group>,
    /// The number of the group that is being met.
    next_group: u32,
    /// What the scan under way has met so far.
    meeting: Vec<SeenId>,
    /// The last record of each partition whose id was met. What is open up to there was met before.
    met: BTreeMap<PartitionIndex, Offset>,
    /// One for each id of a group, and of the one being met.
    places: Places,
    /// Ids that were forgotten early, or never remembered, since somebody asked.
    forgotten: u64,
}

impl Dedup {
    pub(crate) fn new(places: Places) -> Self {
        Self {
            seen: HashMap::new(),
            groups: VecDeque::new(),
            next_group: 0,
            meeting: Vec::new(),
            met: BTreeMap::new(),
            places,
            forgotten: 0,
        }
    }

    /// Whether an open record repeats the id of one that was met before it. If not, its id is remembered if there is room.
    pub(crate) fn is_duplicate(
        &mut self,
        partition: PartitionIndex,
        record: SeenId,
        window_ms: u64,
        writes: &mut Vec<Write>,
    ) -> bool {
        let last_met = self.met.get(&partition);
        if last_met.is_some_and(|last| record.offset <= *last) {
            return false;
        }
        let known = self.seen.get(&record.id);
        if known.is_some_and(|known| known.is_repeated_by(partition, &record, window_ms)) {
            return true;
        }
        if self.takes_place(writes) {
            self.remember(partition, record);
            self.meeting.push(record);
            if self.meeting.len() == GROUP_IDS_MAX {
                self.close_group(partition, writes);
            }
        } else {
            self.meet(partition, record.offset);
            self.forgotten += 1;
        }
        false
    }

    /// A scan is over, or has met as many ids as one group holds.
    pub(crate) fn close_group(&mut self, partition: PartitionIndex, writes: &mut Vec<Write>) {
        let ids = std::mem::take(&mut self.meeting);
        let Some(first) = ids.first() else { return };
        let image = IdsImage {
            partition,
            from: first.offset,
            ids,
        };
        self.add_group(&image);
        writes.push(Write::Ids(image));
    }

    /// How many ids had to go early, or could not be remembered, for lack of room since this was asked last.
    pub(crate) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    /// Takes over a group that was written down.
    pub(crate) fn load(&mut self, image: &IdsImage) {
        self.places.take_anyway(image.ids.len());
        for seen in &image.ids {
            self.remember(image.partition, *seen);
        }
        self.add_group(image);
    }

    /// Groups that were loaded come in the order of their keys; from now on the oldest is first. There may be more than
    /// there is room for, as others took theirs first.
    pub(crate) fn loaded(&mut self, writes: &mut Vec<Write>) {
        let groups = self.groups.make_contiguous();
        groups.sort_by_key(|group| group.newest);
        while self.places.are_too_many() && self.forgets_first(writes) {}
    }

    /// Forgets groups that cannot matter to records of `horizon` or later.
    pub(crate) fn forget(&mut self, horizon: TimestampMs, window_ms: u64, writes: &mut Vec<Write>) {
        while let Some(group) = self.groups.front()
            && later(group.newest, window_ms) <= horizon
        {
            self.drop_first(writes);
        }
    }

    /// When the oldest group is older than the window.
    pub(crate) fn next_expiry(&self, window_ms: u64) -> Option<TimestampMs> {
        let oldest = self.groups.front()?;
        Some(later(oldest.newest, window_ms))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, writes: &mut Vec<Write>) {
        self.met.clear();
        while !self.groups.is_empty() {
            self.drop_first(writes);
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let groups: usize = self
            .groups
            .iter()
            .map(|group| group.ids.capacity() * 16)
            .sum();
        self.seen.capacity() * (size_of::<(u128, Seen)>() + 1)
            + self.groups.capacity() * size_of::<Group>()
            + groups
    }

    /// Takes a place for one more id. Whether there is one.
    fn takes_place(&mut self, writes: &mut Vec<Write>) -> bool {
        if self.places.take() {
            return true;
        }
        if !self.forgets_first(writes) {
            return false;
        }
        if !self.places.take() {
            // There are still too many: two groups for one id, so that they become fewer without all going at once.
            self.forgets_first(writes);
            self.places.take_anyway(1);
        }
        true
    }

    /// Forgets the oldest group before its time. Whether there is one.
    fn forgets_first(&mut self, writes: &mut Vec<Write>) -> bool {
        let before = self.seen.len();
        let is_there = !self.groups.is_empty();
        self.drop_first(writes);
        self.forgotten += (before - self.seen.len()) as u64;
        is_there
    }

    fn meet(&mut self, partition: PartitionIndex, offset: Offset) {
        let last_met = self.met.entry(partition).or_insert(offset);
        *last_met = offset.max(*last_met);
    }

    fn remember(&mut self, partition: PartitionIndex, record: SeenId) {
        self.meet(partition, record.offset);
        let known = self.seen.get(&record.id);
        if known.is_some_and(|known| record.timestamp < known.timestamp) {
            return;
        }
        self.seen.insert(
            record.id,
            Seen {
                partition,
                group: self.next_group,
                timestamp: record.timestamp,
            },
        );
    }

    fn add_group(&mut self, image: &IdsImage) {
        let newest = image.ids.iter().map(|seen| seen.timestamp).max();
        self.groups.push_back(Group {
            number: self.next_group,
            partition: image.partition,
            from: image.from,
            newest: newest.unwrap_or(TimestampMs::NONE),
            ids: image.ids.iter().map(|seen| seen.id).collect(),
        });
        self.next_group = self.next_group.wrapping_add(1);
    }

    fn drop_first(&mut self, writes: &mut Vec<Write>) {
        let Some(group) = self.groups.pop_front() else {
            return;
        };
        for id in &group.ids {
            // Beyond the window the id may have come again, and then belongs to another group.
            if self
                .seen
                .get(id)
                .is_some_and(|seen| seen.group == group.number)
            {
                self.seen.remove(id);
            }
        }
        self.places.give_back(group.ids.len());
        self.shrink_if_sparse();
        writes.push(Write::DropIds {
            partition: group.partition,
            from: group.from,
        });
    }

    /// Gives memory back when most ids have gone, as others may have their places now.
    fn shrink_if_sparse(&mut self) {
        if self.seen.capacity() > 4 * self.seen.len() {
            self.seen.shrink_to(2 * self.seen.len());
        }
        if self.groups.capacity() > 4 * self.groups.len() {
            self.groups.shrink_to(2 * self.groups.len());
        }
    }
}
