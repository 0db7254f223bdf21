//! Ids that were met recently: a record whose id was met before, within the window, is a duplicate.
//!
//! The window is measured between the records' timestamps, so that looking at the same records again after a restart
//! finds the same duplicates. Ids are kept in the groups in which they were met, one a scan: a group is one entry of the
//! state table, and goes when the last of its ids is older than the window.

use std::collections::{HashMap, VecDeque};

use millstream_limits::QUEUE_DEDUP_IDS_MAX;
use millstream_record::{Offset, TimestampMs};

use super::write::{IdsImage, SeenId, Write};
use crate::queues::ids::PartitionIndex;

#[derive(Clone, Copy, Debug)]
struct Seen {
    partition: PartitionIndex,
    /// The group that it is forgotten with.
    group: u32,
    offset: Offset,
    timestamp: TimestampMs,
}

#[derive(Debug)]
struct Group {
    number: u32,
    partition: PartitionIndex,
    from: Offset,
    newest: TimestampMs,
    ids: Vec<u128>,
}

#[derive(Debug, Default)]
pub(crate) struct Dedup {
    seen: HashMap<u128, Seen>,
    /// In the order in which they were met.
    groups: VecDeque<Group>,
    /// The number of the group that is being met.
    next_group: u32,
    /// What the scan under way has met so far.
    meeting: Vec<SeenId>,
}

impl Dedup {
    /// Whether a record repeats the id of an earlier one. If not, its id is remembered.
    pub(crate) fn is_duplicate(
        &mut self,
        partition: PartitionIndex,
        seen: SeenId,
        window_ms: u64,
    ) -> bool {
        if let Some(earlier) = self.seen.get(&seen.id) {
            if (earlier.partition, earlier.offset) == (partition, seen.offset) {
                return false;
            }
            let end = earlier.timestamp.saturating_add(window_ms as i64);
            if seen.timestamp < end {
                return true;
            }
        }
        self.remember(partition, seen);
        self.meeting.push(seen);
        false
    }

    /// A scan is over. Says how many ids had to be forgotten early for lack of room.
    pub(crate) fn close_group(
        &mut self,
        partition: PartitionIndex,
        writes: &mut Vec<Write>,
    ) -> u64 {
        let ids = std::mem::take(&mut self.meeting);
        let Some(first) = ids.first() else { return 0 };
        let image = IdsImage {
            partition,
            from: first.offset,
            ids,
        };
        self.add_group(&image);
        writes.push(Write::Ids(image));
        let mut forgotten = 0;
        while self.seen.len() > QUEUE_DEDUP_IDS_MAX && self.groups.len() > 1 {
            let before = self.seen.len();
            self.drop_first(writes);
            forgotten += (before - self.seen.len()) as u64;
        }
        forgotten
    }

    /// Takes over a group that was written down.
    pub(crate) fn load(&mut self, image: &IdsImage) {
        for seen in &image.ids {
            self.remember(image.partition, *seen);
        }
        self.add_group(image);
    }

    /// Groups that were loaded come in the order of their keys; from now on the oldest is first.
    pub(crate) fn loaded(&mut self) {
        let groups = self.groups.make_contiguous();
        groups.sort_by_key(|group| group.newest);
    }

    /// Forgets groups that cannot matter to records of `horizon` or later.
    pub(crate) fn forget(&mut self, horizon: TimestampMs, window_ms: u64, writes: &mut Vec<Write>) {
        while let Some(group) = self.groups.front()
            && group.newest.saturating_add(window_ms as i64) <= horizon
        {
            self.drop_first(writes);
        }
    }

    /// When the oldest group is older than the window.
    pub(crate) fn next_expiry(&self, window_ms: u64) -> Option<TimestampMs> {
        let oldest = self.groups.front()?;
        Some(oldest.newest.saturating_add(window_ms as i64))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, writes: &mut Vec<Write>) {
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

    fn remember(&mut self, partition: PartitionIndex, seen: SeenId) {
        self.seen.insert(
            seen.id,
            Seen {
                partition,
                group: self.next_group,
                offset: seen.offset,
                timestamp: seen.timestamp,
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
            // Beyond the window the id may have come again, and then belongs to a later group.
            if self
                .seen
                .get(id)
                .is_some_and(|seen| seen.group == group.number)
            {
                self.seen.remove(id);
            }
        }
        writes.push(Write::DropIds {
            partition: group.partition,
            from: group.from,
        });
    }
}
