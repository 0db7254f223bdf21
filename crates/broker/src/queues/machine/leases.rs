//! The leases: what was delivered to whom, and until when.

use std::collections::{BTreeSet, HashMap};

use millstream_record::TimestampMs;
use smallvec::SmallVec;

use super::run::Part;
use super::slab::Slab;
use super::write::LeaseImage;
use crate::queues::ids::{ConsumerId, LeaseNumber, Receipt};
use crate::queues::wheel::TimerId;

/// One delivery, or the piece of it that was extended by itself.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) number: LeaseNumber,
    pub(crate) piece: u32,
    pub(crate) consumer: ConsumerId,
    pub(crate) granted: TimestampMs,
    pub(crate) deadline: TimestampMs,
    pub(crate) timer: TimerId,
    /// Whether the consumer may have got any of it.
    pub(crate) handed: bool,
    /// Records that are still held.
    pub(crate) left: u32,
    pub(crate) parts: SmallVec<[Part; 1]>,
    /// The next piece of the same lease.
    next_piece: Option<u32>,
}

/// What is still to be said about a record that came out of a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) number: LeaseNumber,
    pub(crate) granted: TimestampMs,
    pub(crate) priority: u8,
}

impl Lease {
    /// What is written down of it, as it is now.
    pub(crate) fn image(&self) -> LeaseImage {
        let parts = self.parts.iter().filter(|part| !part.run.is_empty());
        LeaseImage {
            number: self.number,
            piece: self.piece,
            consumer: self.consumer,
            granted: self.granted,
            deadline: self.deadline,
            parts: parts.cloned().collect(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    slots: Slab<Lease>,
    /// The last piece of each lease.
    by_number: HashMap<LeaseNumber, u32>,
    by_consumer: BTreeSet<(ConsumerId, u32)>,
}

impl Leases {
    /// Where the next lease will be.
    pub(crate) fn next_slot(&self) -> u32 {
        self.slots.next_index()
    }

    /// Adds a lease, or a piece of one, with a timer for [`Self::next_slot`].
    pub(crate) fn insert(&mut self, image: LeaseImage, timer: TimerId, handed: bool) {
        let left = image.parts.iter().map(|part| part.run.count()).sum();
        let (number, consumer) = (image.number, image.consumer);
        let next_piece = self.by_number.get(&number).copied();
        let slot = self.slots.insert(Lease {
            number,
            piece: image.piece,
            consumer,
            granted: image.granted,
            deadline: image.deadline,
            timer,
            handed,
            left,
            parts: image.parts,
            next_piece,
        });
        self.by_number.insert(number, slot);
        self.by_consumer.insert((consumer, slot));
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Lease> {
        self.slots.get(slot)
    }

    /// The consumer gets it from now on. Whether it is there still.
    pub(crate) fn hand(&mut self, number: LeaseNumber) -> bool {
        let pieces = self.pieces(number);
        for slot in &pieces {
            if let Some(lease) = self.slots.get_mut(*slot) {
                lease.handed = true;
            }
        }
        !pieces.is_empty()
    }

    /// Takes a record out of its lease. Says which piece it was in, and what it was held by.
    pub(crate) fn take(&mut self, receipt: &Receipt) -> Option<(u32, Holding)> {
        let (slot, index) = self.find(receipt)?;
        let lease = self.slots.get_mut(slot)?;
        let part = &mut lease.parts[index];
        part.run.remove(receipt.offset);
        lease.left -= 1;
        Some((
            slot,
            Holding {
                number: lease.number,
                granted: lease.granted,
                priority: part.priority,
            },
        ))
    }

    /// Whether a record is held under this receipt.
    pub(crate) fn holds(&self, receipt: &Receipt) -> bool {
        self.find(receipt).is_some()
    }

    /// The piece and the part of it that hold a record.
    fn find(&self, receipt: &Receipt) -> Option<(u32, usize)> {
        let mut slot = self.by_number.get(&receipt.lease).copied();
        while let Some(at) = slot {
            let lease = self.slots.get(at)?;
            let holds = |part: &Part| {
                part.partition == receipt.partition && part.run.contains(receipt.offset)
            };
            if let Some(index) = lease.parts.iter().position(holds) {
                return Some((at, index));
            }
            slot = lease.next_piece;
        }
        None
    }

    /// The number of a further piece of a lease.
    pub(crate) fn next_piece(&self, number: LeaseNumber) -> u32 {
        let pieces = self.pieces(number).into_iter();
        let last = pieces
            .filter_map(|slot| Some(self.slots.get(slot)?.piece))
            .max();
        last.map_or(0, |last| last + 1)
    }

    /// Takes a piece out.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Lease> {
        let lease = self.slots.remove(slot)?;
        self.by_consumer.remove(&(lease.consumer, slot));
        self.unchain(slot, &lease);
        Some(lease)
    }

    fn unchain(&mut self, slot: u32, lease: &Lease) {
        let Some(mut at) = self.by_number.get(&lease.number).copied() else {
            return;
        };
        if at == slot {
            match lease.next_piece {
                Some(next) => self.by_number.insert(lease.number, next),
                None => self.by_number.remove(&lease.number),
            };
            return;
        }
        while let Some(other) = self.slots.get_mut(at) {
            match other.next_piece {
                Some(next) if next == slot => {
                    other.next_piece = lease.next_piece;
                    return;
                }
                Some(next) => at = next,
                None => return,
            }
        }
    }

    /// The pieces that a consumer holds.
    pub(crate) fn of(&self, consumer: ConsumerId) -> Vec<u32> {
        self.by_consumer
            .range((consumer, 0)..=(consumer, u32::MAX))
            .map(|(_, slot)| *slot)
            .collect()
    }

    /// Whether a consumer holds anything.
    pub(crate) fn are_held_by(&self, consumer: ConsumerId) -> bool {
        let mut held = self.by_consumer.range((consumer, 0)..=(consumer, u32::MAX));
        held.next().is_some()
    }

    /// Who holds something that was delivered last.
    pub(crate) fn last_holder(&self) -> Option<ConsumerId> {
        let held = self.slots.iter().filter(|lease| lease.left > 0);
        held.max_by_key(|lease| lease.number)
            .map(|lease| lease.consumer)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The pieces of a lease.
    pub(crate) fn pieces(&self, number: LeaseNumber) -> SmallVec<[u32; 1]> {
        let mut pieces = SmallVec::new();
        let mut slot = self.by_number.get(&number).copied();
        while let Some(at) = slot {
            pieces.push(at);
            slot = self.slots.get(at).and_then(|lease| lease.next_piece);
        }
        pieces
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let parts: usize = self
            .slots
            .iter()
            .map(|lease| parts_heap_bytes(&lease.parts))
            .sum();
        let number = size_of::<(LeaseNumber, u32)>() + 1;
        let consumer = size_of::<(ConsumerId, u32)>() * 3 / 2;
        self.slots.heap_bytes()
            + parts
            + self.by_number.capacity() * number
            + self.by_consumer.len() * consumer
    }
}

/// What parts take beyond their first.
pub(crate) fn parts_heap_bytes(parts: &SmallVec<[Part; 1]>) -> usize {
    let spilled = if parts.spilled() {
        parts.capacity() * size_of::<Part>()
    } else {
        0
    };
    spilled
        + parts
            .iter()
            .map(|part| part.run.heap_bytes())
            .sum::<usize>()
}
