//! What readers see change.

use std::sync::atomic::Ordering;

use millstream_record::{Offset, TimestampMs};

use super::Partition;
use crate::policy::{Durability, Overflow, PartitionPolicy};
use crate::tail::TailBatch;

impl Partition {
    /// Shows a batch to readers.
    pub(crate) fn publish(&self, batch: TailBatch) {
        let wakes = {
            let mut visible = self.visible.lock();
            visible.epochs.note(self.leader_epoch.get(), batch.base);
            visible.high_watermark = batch.last.next();
            visible.appended.count(&batch);
            if !visible.dropped {
                visible.tail.push(batch);
            }
            std::mem::take(&mut visible.wakes)
        };
        wakes.iter().for_each(|wake| wake.fire());
    }

    /// Counts a batch that a memory partition has taken and not shown yet.
    pub(crate) fn take_in_memory(&self, batch: &TailBatch) {
        let bytes = batch.size_bytes();
        self.budget.add_memory(bytes);
        self.unshown_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Shows a batch that a memory partition has taken to readers, and makes room for it where that is the policy.
    pub(crate) fn publish_in_memory(&self, batch: TailBatch, policy: &PartitionPolicy) {
        self.unshown_bytes
            .fetch_sub(batch.size_bytes() as u64, Ordering::Relaxed);
        let mut visible = self.visible.lock();
        let before = visible.tail.bytes() + batch.size_bytes() as u64;
        if policy.overflow == Overflow::DropOldest {
            let over_all = self.budget.memory_partitions_full(0);
            let room = if over_all {
                visible.tail.bytes()
            } else {
                policy.memory_bytes
            };
            let dropped_to = visible
                .tail
                .shrink_to(room.saturating_sub(batch.size_bytes() as u64));
            let log_start = dropped_to.unwrap_or(batch.base);
            visible.log_start = visible.log_start.max(log_start);
        }
        visible.epochs.note(self.leader_epoch.get(), batch.base);
        visible.high_watermark = batch.last.next();
        visible.appended.count(&batch);
        let log_start = visible.log_start;
        visible.epochs.trim(log_start);
        if !visible.dropped {
            visible.tail.push(batch);
        }
        let freed = before - visible.tail.bytes();
        let wakes = std::mem::take(&mut visible.wakes);
        drop(visible);
        self.budget.remove_memory(freed as usize);
        wakes.iter().for_each(|wake| wake.fire());
    }

    /// Moves the log start up, for readers.
    pub(crate) fn publish_trim(&self, log_start: Offset) {
        let mut visible = self.visible.lock();
        if log_start <= visible.log_start {
            return;
        }
        visible.log_start = log_start;
        visible.epochs.trim(log_start);
        let before = visible.tail.bytes();
        visible.tail.trim(log_start);
        let freed = before - visible.tail.bytes();
        let wakes = std::mem::take(&mut visible.wakes);
        drop(visible);
        self.release(freed);
        wakes.iter().for_each(|wake| wake.fire());
    }

    /// Where retention would have the log of a memory partition start, if it takes anything.
    pub(crate) fn expired_in_memory(&self, now: TimestampMs) -> Option<Offset> {
        let policy = self.policy()?;
        self.visible.lock().tail.expired(&policy, now)
    }

    /// Ends it, for readers.
    pub(crate) fn publish_drop(&self) {
        let mut visible = self.visible.lock();
        visible.dropped = true;
        let freed = visible.tail.bytes();
        visible.tail.clear();
        let wakes = std::mem::take(&mut visible.wakes);
        drop(visible);
        self.release(freed);
        wakes.iter().for_each(|wake| wake.fire());
    }

    fn release(&self, bytes: u64) {
        if self.durability == Durability::Memory {
            self.budget.remove_memory(bytes as usize);
        }
    }

    /// Whether a memory partition of at most `bound_bytes` takes `more_bytes` without dropping anything.
    pub(crate) fn has_memory_for(&self, more_bytes: u64, bound_bytes: u64) -> bool {
        let unshown_bytes = self.unshown_bytes.load(Ordering::Relaxed);
        self.visible.lock().tail.bytes() + unshown_bytes + more_bytes <= bound_bytes
            && !self.budget.memory_partitions_full(more_bytes as usize)
    }
}
