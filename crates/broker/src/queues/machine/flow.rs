//! What events share: moving records between states, and everything that follows from it.

use millstream_limits::QUEUE_SCHEDULED_MAX;
use millstream_record::{Offset, TimestampMs};

use super::bits::ones;
use super::effect::{DeathReason, Effects, ScanRequest};
use super::keys::Admitted;
use super::partition::Partition;
use super::run::{Part, Run, bit_of, chunk_of, offset_at};
use super::{Queue, Sums, Timer};
use crate::queues::ids::PartitionIndex;

/// A word of a chunk, and which of its offsets are meant.
pub(crate) type Word = (i64, usize, u64);

/// The word that holds one offset.
pub(crate) fn word_of(offset: Offset) -> Word {
    let bit = bit_of(offset);
    (chunk_of(offset), bit as usize / 64, 1 << (bit % 64))
}

/// Why records are over. Each has its count in [`super::Totals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Acknowledged,
    Buried,
    Discarded,
    Expired,
    Overflowed,
    Purged,
    Duplicate,
    Filtered,
    Lost,
    Damaged,
    Skipped,
}

impl Queue {
    /// A partition that is about to change.
    pub(super) fn touch(&mut self, index: PartitionIndex) -> Option<&mut Partition> {
        let partition = self.partitions.get_mut(index as usize)?;
        if !partition.touched {
            partition.touched = true;
            self.touched.push(index);
        }
        Some(partition)
    }

    /// The end of every event: serves who waits, asks for more to look at, says what is to be written.
    pub(super) fn conclude(&mut self, now: TimestampMs, effects: &mut Effects) {
        self.deliver(now, effects);
        self.sweep_if_worth_it();
        self.ask_for_scans(effects);
        self.give_up_hurried(effects);
        for index in std::mem::take(&mut self.touched) {
            if let Some(partition) = self.partitions.get_mut(index as usize) {
                partition.touched = false;
                partition.flush(&mut effects.writes);
            }
        }
    }

    /// Brings the sums up to date with the partitions that were touched.
    pub(super) fn sum_up(&mut self) {
        for index in &self.touched {
            let partition = &mut self.partitions[*index as usize];
            self.sums.subtract(&partition.summed);
            partition.summed = Sums::of(partition);
            self.sums.add(&partition.summed);
        }
    }

    /// Finishes records, and admits what waited for their keys. Says how many were open.
    pub(super) fn finish(
        &mut self,
        index: PartitionIndex,
        word: Word,
        fate: Fate,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u32 {
        let Some(partition) = self.touch(index) else {
            return 0;
        };
        let newly = partition.finish(word.0, word.1, word.2);
        if !partition.history.is_empty() {
            partition.forget_history((word.0, word.1, newly), &mut effects.writes);
        }
        let count = newly.count_ones();
        *self.total(fate) += u64::from(count);
        if self.policy.keys.is_some() {
            self.leave_keys(index, (word.0, word.1, newly), now, effects);
        }
        count
    }

    /// Records may be delivered; those whose time to live is over will not be.
    pub(super) fn make_ready(
        &mut self,
        index: PartitionIndex,
        (chunk, word, mask): Word,
        priority: u8,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let Some(partition) = self.touch(index) else {
            return;
        };
        let open = mask & !partition.done(chunk, word);
        let overdue = open & partition.overdue(chunk, word);
        if open & !overdue != 0 {
            partition.make_ready(chunk, word, open & !overdue, priority);
        }
        if overdue != 0 {
            self.end_life(index, (chunk, word, overdue), now, effects);
        }
    }

    /// Ends records whose time to live is over and that nobody holds.
    pub(super) fn end_life(
        &mut self,
        index: PartitionIndex,
        word: Word,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        if self.policy.dead_letter_expired {
            let part = Part {
                partition: index,
                priority: 0,
                run: Run::of_word(word.0, word.1, word.2),
            };
            self.totals.expired += u64::from(word.2.count_ones());
            self.condemn(part, DeathReason::Expired, None, now, effects);
        } else {
            self.finish(index, word, Fate::Expired, now, effects);
        }
    }

    /// Parks a record until a time.
    pub(super) fn delay(
        &mut self,
        index: PartitionIndex,
        offset: Offset,
        priority: u8,
        due: TimestampMs,
    ) {
        let (chunk, word, mask) = word_of(offset);
        if let Some(partition) = self.touch(index) {
            partition.park(chunk, word, mask);
        }
        self.scheduled += 1;
        let timer = Timer::Due {
            partition: index,
            priority,
            offset,
        };
        self.wheel.insert(due, timer);
    }

    /// Parks records of one part until a time, together.
    pub(super) fn put_to_rest(&mut self, part: Part, due: TimestampMs) {
        if let Some(partition) = self.touch(part.partition) {
            for (word, mask) in part.run.words() {
                partition.park(part.run.chunk(), word, mask);
            }
        }
        let slot = self.resting.insert(part);
        self.wheel.insert(due, Timer::Resting(slot));
    }

    /// Records are finished: their keys let the next ones pass. What expires on the way lets others pass in turn.
    fn leave_keys(
        &mut self,
        index: PartitionIndex,
        word: Word,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let mut finished = vec![word];
        while let Some((chunk, word, mask)) = finished.pop() {
            for bit in ones(mask) {
                let offset = offset_at(chunk, word as u32 * 64 + bit);
                if let Some(next) = self.leave_key(index, offset, now) {
                    finished.extend(self.admit(index, next, now, effects));
                }
            }
        }
    }

    fn leave_key(
        &mut self,
        index: PartitionIndex,
        offset: Offset,
        now: TimestampMs,
    ) -> Option<Admitted> {
        let policy = self.policy.keys?;
        self.touch(index)?.keys.leave(offset, policy, now)
    }

    /// The log was cut: the keys of what was lost let the next ones pass.
    pub(super) fn leave_keys_below(
        &mut self,
        index: PartitionIndex,
        start: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        for offset in self.partitions[index as usize].keys.below(start) {
            self.leave_keys(index, word_of(offset), now, effects);
        }
    }

    /// A record got its key's place. If it expires there and then, it is handed back as finished.
    fn admit(
        &mut self,
        index: PartitionIndex,
        next: Admitted,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> Option<Word> {
        let word = word_of(next.offset);
        let may_expire = !self.policy.dead_letter_expired;
        let partition = self.touch(index)?;
        if partition.parked_word(word.0, word.1) & word.2 == 0 {
            // It is finished by the same event, and gives its place back in a moment.
            return None;
        }
        if let Some(at) = next.at {
            self.delay(index, next.offset, next.priority, at);
            return None;
        }
        let is_overdue = partition.overdue(word.0, word.1) & word.2 != 0;
        if is_overdue && may_expire {
            let newly = partition.finish(word.0, word.1, word.2);
            self.totals.expired += u64::from(newly.count_ones());
            return Some(word);
        }
        self.make_ready(index, word, next.priority, now, effects);
        None
    }

    /// Asks for as much to look at as the window has room for.
    fn ask_for_scans(&mut self, effects: &mut Effects) {
        self.sum_up();
        let window = self.policy.looks_ahead();
        // However full the window is with other partitions' records, each has a share of its own.
        let share = (window / self.partitions.len().max(1)).max(1);
        for _ in 0..self.hungry.len() {
            let Some(index) = self.hungry.pop_front() else {
                return;
            };
            let partition = &mut self.partitions[index as usize];
            let room = window.saturating_sub(self.sums.ahead);
            let room = room.max(share.saturating_sub(partition.ahead()));
            if partition.scan >= partition.end {
                partition.hungry = false;
            } else if room == 0 || self.scheduled >= QUEUE_SCHEDULED_MAX {
                self.hungry.push_back(index);
            } else {
                partition.hungry = false;
                partition.scanning = true;
                effects.scans.push(ScanRequest {
                    partition: index,
                    from: partition.scan,
                    records: room,
                    look: self.policy.look(),
                    round: self.round,
                });
            }
        }
    }

    /// Whether what is added now will be looked at before anything is received.
    pub(super) fn has_room_to_look(&self) -> bool {
        self.sums.ahead < self.policy.looks_ahead() && self.scheduled < QUEUE_SCHEDULED_MAX
    }

    /// A partition may have something to look at.
    pub(super) fn whet(&mut self, index: PartitionIndex) {
        let partition = &mut self.partitions[index as usize];
        if partition.scan < partition.end && !partition.scanning && !partition.hungry {
            partition.hungry = true;
            self.hungry.push_back(index);
        }
    }

    fn total(&mut self, fate: Fate) -> &mut u64 {
        let totals = &mut self.totals;
        match fate {
            Fate::Acknowledged => &mut totals.acknowledged,
            Fate::Buried => &mut totals.dead_lettered,
            Fate::Discarded => &mut totals.discarded,
            Fate::Expired => &mut totals.expired,
            Fate::Overflowed => &mut totals.overflowed,
            Fate::Purged => &mut totals.purged,
            Fate::Duplicate => &mut totals.duplicates,
            Fate::Filtered => &mut totals.filtered,
            Fate::Lost => &mut totals.lost,
            Fate::Damaged => &mut totals.damaged,
            Fate::Skipped => &mut totals.skipped,
        }
    }
}

impl Sums {
    fn of(partition: &Partition) -> Self {
        Self {
            ready: partition.ready.map(u64::from),
            ahead: partition.ahead(),
            leased: partition.leased,
            dying: partition.dying,
            parked: partition.parked,
        }
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.ready.iter_mut().zip(other.ready) {
            *mine += theirs;
        }
        self.ahead += other.ahead;
        self.leased += other.leased;
        self.dying += other.dying;
        self.parked += other.parked;
    }

    fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.ready.iter_mut().zip(other.ready) {
            *mine -= theirs;
        }
        self.ahead -= other.ahead;
        self.leased -= other.leased;
        self.dying -= other.dying;
        self.parked -= other.parked;
    }
}
