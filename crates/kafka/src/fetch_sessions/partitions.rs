//! The partitions of one session, in the order in which they are read.

use std::collections::{BTreeMap, HashMap};

use millstream_kafka_wire::messages::fetch::PartitionData;

use super::{PartitionRef, Position};

/// A session's partitions. One that had records goes to the end, so that those behind it get their share of a response
/// that is full before all are served.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    places: HashMap<PartitionRef, u64>,
    in_order: BTreeMap<u64, Cached>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    partition: PartitionRef,
    position: Position,
    /// What the consumer knows; -1 for nothing, so that the next response tells it.
    high_watermark: i64,
    log_start: i64,
}

const UNTOLD: i64 = -1;

impl Partitions {
    /// The partitions of a full request and what its response tells of them.
    pub(super) fn new(wanted: &[(PartitionRef, Position)], told: &[PartitionData]) -> Partitions {
        let mut partitions = Partitions::default();
        for ((partition, position), data) in wanted.iter().zip(told) {
            partitions.set(partition.clone(), *position);
            partitions.tell(partition, data);
        }
        partitions
    }

    /// Adds a partition, or changes where it is read.
    pub(super) fn set(&mut self, partition: PartitionRef, position: Position) {
        if let Some(cached) = self
            .places
            .get(&partition)
            .and_then(|place| self.in_order.get_mut(place))
        {
            cached.position = position;
            return;
        }
        self.append(Cached {
            partition,
            position,
            high_watermark: UNTOLD,
            log_start: UNTOLD,
        });
    }

    /// Takes a partition out, if it is there.
    pub(super) fn remove(&mut self, partition: &PartitionRef) {
        if let Some(place) = self.places.remove(partition) {
            self.in_order.remove(&place);
        }
    }

    /// All partitions with their positions, in order.
    pub(super) fn wanted(&self) -> Vec<(PartitionRef, Position)> {
        let all = self.in_order.values();
        all.map(|cached| (cached.partition.clone(), cached.position))
            .collect()
    }

    /// Whether a response has to carry `data`; it is then what the consumer knows.
    pub(super) fn tell(&mut self, partition: &PartitionRef, data: &PartitionData) -> bool {
        let Some(&place) = self.places.get(partition) else {
            return true;
        };
        let Some(cached) = self.in_order.get_mut(&place) else {
            return true;
        };
        if data.error_code.is_error() {
            cached.high_watermark = UNTOLD;
            return true;
        }
        let has_records = data
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty());
        let changed = cached.high_watermark != data.high_watermark
            || cached.log_start != data.log_start_offset;
        cached.high_watermark = data.high_watermark;
        cached.log_start = data.log_start_offset;
        if has_records && let Some(served) = self.in_order.remove(&place) {
            self.append(served);
        }
        has_records || changed || data.diverging_epoch.epoch >= 0
    }

    fn append(&mut self, cached: Cached) {
        self.places
            .insert(cached.partition.clone(), self.next_place);
        self.in_order.insert(self.next_place, cached);
        self.next_place += 1;
    }
}
