//! What there is to count.

use super::Queue;
use crate::queues::ids::PartitionIndex;

/// What happened to records since the queue was loaded. Nothing is ever dropped without one of these counting it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Deliveries, each attempt for itself.
    pub delivered: u64,
    /// Deliveries after the first of their record.
    pub redelivered: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Given back by a consumer.
    pub nacked: u64,
    /// Came back because their lease ran out.
    pub timed_out: u64,
    /// Appended to the dead letters.
    pub dead_lettered: u64,
    /// Failed for good, and the queue has no dead letters.
    pub discarded: u64,
    /// Their time to live ended.
    pub expired: u64,
    /// Dropped because the queue was too long.
    pub overflowed: u64,
    /// Purged.
    pub purged: u64,
    /// Repeated the id of an earlier record.
    pub duplicates: u64,
    /// The filter does not want them.
    pub filtered: u64,
    /// Retention or a deletion took them out of the log before they were finished.
    pub lost: u64,
    /// What is stored of them is damaged, so that they cannot be delivered.
    pub damaged: u64,
    /// Offsets without a record: gaps, control batches, aborted transactions.
    pub skipped: u64,
    /// Ids that were forgotten before their window was over, for lack of room.
    pub ids_forgotten: u64,
}

/// How much there is in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Not finished: the sum of all below.
    pub open: u64,
    /// Ready for delivery.
    pub ready: u64,
    /// Delivered, and the lease has not ended.
    pub leased: u64,
    /// Delayed, resting between attempts, or on their way to the dead letters.
    pub parked: u64,
    /// Behind others of their key.
    pub behind_key: u64,
    /// Not looked at yet.
    pub waiting: u64,
}

impl Queue {
    /// What happened so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// How much there is, in one partition or in all.
    pub fn depth(&self, partition: Option<PartitionIndex>) -> Depth {
        let mut depth = Depth::default();
        let wanted = |index| partition.is_none_or(|only| only == index);
        for partition in self.partitions.iter().filter(|one| wanted(one.index)) {
            let ready: u64 = partition.ready.iter().map(|count| u64::from(*count)).sum();
            let behind_key = partition.keys.waiting() as u64;
            let open = partition.open();
            depth.open += open;
            depth.ready += ready;
            // They are held like leases.
            depth.leased += partition.leased - partition.dying;
            depth.parked += partition.parked - behind_key + partition.dying;
            depth.behind_key += behind_key;
            depth.waiting += open - ready - partition.leased - partition.parked;
        }
        depth
    }

    /// Requests that wait for records.
    pub fn waiting_requests(&self) -> usize {
        self.waiting.total()
    }

    /// Leases that have not ended.
    pub fn leases(&self) -> usize {
        self.leases.len()
    }
}
