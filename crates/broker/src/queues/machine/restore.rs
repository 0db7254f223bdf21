//! A queue that begins, and a queue made from what was written down.
//!
//! What is written down is what is finished, what is leased and what came back. Everything else is found by looking at
//! the log again from the low-water mark. Leases of connections have ended with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_record::{Offset, TimestampMs};
use smallvec::SmallVec;

use super::effect::Effects;
use super::flow::word_of;
use super::history::Span;
use super::ids_room::{IdsRoom, Places};
use super::receive::words_of_part;
use super::run::{Part, gather, offset_at};
use super::write::{LeaseImage, Write};
use super::{Partition, Queue};
use crate::queues::ids::{Incarnation, JobId, LeaseNumber, PartitionIndex};
use crate::queues::policy::QueuePolicy;

/// What a queue needs to begin or to go on.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it is told to do.
    pub policy: QueuePolicy,
    /// The topic's partitions, in order.
    pub partitions: Vec<PartitionBounds>,
    /// Which life of the queue begins.
    pub incarnation: Incarnation,
    /// Where chance comes from.
    pub seed: u64,
    /// Room for the ids that it remembers, which it shares with other queues.
    pub ids: Arc<IdsRoom>,
}

/// What there is to read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBounds {
    /// Where a new queue begins, or where the log starts when a queue goes on.
    pub start: Offset,
    /// The last stable offset.
    pub end: Offset,
}

impl Queue {
    /// A new queue, which reads each partition from its bounds' start on.
    pub fn create(setup: Setup, now: TimestampMs, effects: &mut Effects) -> Self {
        let mut queue = Self::empty(setup);
        for index in 0..queue.partitions.len() as PartitionIndex {
            queue.partitions[index as usize].write_low(&mut effects.writes);
            queue.whet(index);
        }
        queue.shorten(now, effects);
        queue.conclude(now, effects);
        queue
    }

    /// The queue as it was written down: `stored` holds the puts of its state, in the order of their keys. A partition
    /// that is not mentioned has been added since, and is read from its bounds' start on.
    pub fn restore(
        setup: Setup,
        stored: impl IntoIterator<Item = Write>,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> Self {
        let starts: Vec<Offset> = setup.partitions.iter().map(|bounds| bounds.start).collect();
        let mut queue = Self::empty(setup);
        let mut leases = Vec::new();
        for entry in stored {
            match entry {
                Write::Lease(image) => leases.push(image),
                other => queue.load(other),
            }
        }
        for partition in &mut queue.partitions {
            partition.loaded(&mut effects.writes);
        }
        queue.dedup.loaded(&mut effects.writes);
        queue.load_leases(leases, now, effects);
        queue.reinstate(now);
        queue.rest_again(now);
        for (index, start) in (0..).zip(starts) {
            queue.whet(index);
            queue.trimmed(index, start, now, effects);
        }
        queue.plan_to_forget_ids(now);
        queue.shorten(now, effects);
        queue.conclude(now, effects);
        queue
    }

    fn empty(setup: Setup) -> Self {
        let partitions = (0..)
            .zip(setup.partitions)
            .map(|(index, bounds)| Partition::starting_at(index, bounds.start, bounds.end));
        Self {
            policy: setup.policy,
            partitions: partitions.collect(),
            sums: super::Sums::default(),
            touched: Vec::new(),
            hungry: std::collections::VecDeque::new(),
            rotor: 0,
            round: 0,
            leases: super::Leases::default(),
            last_lease: LeaseNumber::before_first(setup.incarnation),
            resting: super::Slab::default(),
            dying: BTreeMap::new(),
            last_job: JobId(0),
            wheel: super::Wheel::default(),
            scheduled: 0,
            expiring: 0,
            waiting: super::Waiting::default(),
            active: None,
            bucket: super::Bucket::default(),
            dedup: super::Dedup::new(Places::none_yet(setup.ids)),
            paused: false,
            random: setup.seed,
            totals: super::Totals::default(),
            once: SmallVec::new(),
        }
    }

    fn load(&mut self, entry: Write) {
        match entry {
            Write::Queue(image) => self.paused = image.paused,
            Write::Ids(image) => self.dedup.load(&image),
            Write::Cursor { partition, low } => {
                if let Some(partition) = self.partitions.get_mut(partition as usize) {
                    let low = low.min(partition.end);
                    *partition = Partition::starting_at(partition.index, low, partition.end);
                }
            }
            Write::Block {
                partition,
                block,
                done,
            } => {
                if let Some(partition) = self.partitions.get_mut(partition as usize) {
                    partition.load_block(block, &done);
                }
            }
            Write::Finished { partition, chunk } => {
                if let Some(partition) = self.partitions.get_mut(partition as usize) {
                    partition.load_finished(chunk);
                }
            }
            Write::History {
                partition,
                start,
                span,
            } => {
                if let Some(partition) = self.partitions.get_mut(partition as usize) {
                    partition.history.load(start, span);
                }
            }
            Write::Lease(_)
            | Write::DropBlock { .. }
            | Write::DropFinished { .. }
            | Write::DropHistory { .. }
            | Write::DropLease { .. }
            | Write::DropIds { .. } => {}
        }
    }

    /// Takes leases over. The later piece of a lease counts, and the later lease.
    fn load_leases(
        &mut self,
        mut leases: Vec<LeaseImage>,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        leases.sort_by_key(|image| std::cmp::Reverse((image.number, image.piece)));
        for image in &mut leases {
            let held: SmallVec<[Part; 1]> = image
                .parts
                .iter()
                .filter_map(|part| self.still_held(part, image.number))
                .collect();
            if image.consumer.is_connection() {
                self.came_back(image, &held, now, effects);
                continue;
            }
            for part in &held {
                for (chunk, word, mask) in words_of_part(part) {
                    self.partitions[part.partition as usize].lease(chunk, word, mask);
                    self.touch(part.partition);
                }
            }
            image.parts = held;
        }
        // One that has nothing left is kept until its deadline, which takes it off the books.
        leases.retain(|image| !image.consumer.is_connection());
        for image in leases.into_iter().rev() {
            debug_assert!(image.number < self.last_lease.next(), "incarnations rise");
            self.hold(image, true);
        }
    }

    /// What a connection held when the server ended: it came back then, and is delivered to others as soon as it is looked
    /// at.
    fn came_back(
        &mut self,
        image: &LeaseImage,
        held: &[Part],
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        for part in held {
            for kin in self.kin(part, image.granted) {
                self.remember(&kin, image.number, now, effects);
            }
        }
        effects.writes.push(Write::DropLease {
            number: image.number,
            piece: image.piece,
        });
    }

    /// What of a part is neither finished, nor came back from this lease, nor is held by a later one.
    fn still_held(&self, part: &Part, number: LeaseNumber) -> Option<Part> {
        let partition = self.partitions.get(part.partition as usize)?;
        let mut held: SmallVec<[Part; 1]> = SmallVec::new();
        for (chunk, word, mask) in words_of_part(part) {
            let mut left = mask & !partition.known(chunk, word) & partition.within_end(chunk, word);
            if !partition.history.is_empty() {
                for bit in super::bits::ones(left) {
                    let offset = offset_at(chunk, word as u32 * 64 + bit);
                    let last = partition.history.at(offset).map(|span| span.lease);
                    if last.is_some_and(|last| last >= number) {
                        left &= !(1 << bit);
                    }
                }
            }
            if left != 0 {
                match held.first_mut() {
                    Some(first) => first.run.put(word, left),
                    None => gather(
                        &mut held,
                        (part.partition, part.priority),
                        (chunk, word, left),
                    ),
                }
            }
        }
        held.pop()
    }

    /// Records that came back and are not due yet go on resting.
    fn rest_again(&mut self, now: TimestampMs) {
        for index in 0..self.partitions.len() as PartitionIndex {
            let partition = &self.partitions[index as usize];
            let resting: Vec<(Offset, Span)> = partition
                .history
                .all()
                .filter(|(_, span)| span.due > now)
                .map(|(start, span)| (start, *span))
                .collect();
            for (start, span) in resting {
                for part in self.open_parts(index, start, &span) {
                    self.put_to_rest(part, span.due);
                }
            }
        }
    }

    /// The records of a span that are neither finished nor held.
    fn open_parts(&self, index: PartitionIndex, start: Offset, span: &Span) -> SmallVec<[Part; 1]> {
        let partition = &self.partitions[index as usize];
        let mut parts = SmallVec::new();
        let end = partition.end.min(start + i64::from(span.length));
        let mut at = start.max(partition.low);
        while at < end {
            let (chunk, word, mask) = word_of(at);
            if partition.known(chunk, word) & mask == 0 {
                gather(&mut parts, (index, span.priority), (chunk, word, mask));
            }
            at = at.next();
        }
        parts
    }
}
