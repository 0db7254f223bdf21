//! What is refused before anything changes.

use smallvec::SmallVec;

use super::{Resolved, Target};
use crate::error::CommitError;
use crate::ids::PartitionId;
use crate::policy::Overflow;
use crate::ticket::CommitNumber;

/// What appends are refused with for want of room on the disk.
pub(crate) struct Refusals {
    /// Those that need the disk.
    pub(crate) disk: Option<CommitError>,
    /// Those to memory partitions that would have to wait for the journal, and hold memory as long.
    pub(crate) journal: Option<CommitError>,
}

impl Refusals {
    pub(super) fn check(self, commit: &Resolved, durable: CommitNumber) -> Result<(), CommitError> {
        let targets = || commit.appends.iter().flat_map(|append| &append.targets);
        if let Some(refusal) = self.disk
            && targets().any(|target| target.copy.is_none())
        {
            return Err(refusal);
        }
        let Some(refusal) = self.journal else {
            return Ok(());
        };
        let waits = commit.appends.iter().any(|resolved| {
            let count = resolved.append.header.offset_count();
            let mut targets = resolved.targets.iter();
            targets.any(|target| {
                let sequence = target.partition.sequence.lock();
                sequence.last_queued > durable || sequence.next_offset + count > sequence.reserved
            })
        });
        if waits { Err(refusal) } else { Ok(()) }
    }
}

/// Everything about a commit that can be refused before anything changes.
pub(super) fn check_partitions(commit: &Resolved) -> Result<(), CommitError> {
    let mut appended: SmallVec<[(PartitionId, i64); 4]> = SmallVec::new();
    for resolved in &commit.appends {
        let header = &resolved.append.header;
        for target in &resolved.targets {
            check_target(target, u64::from(header.size_bytes))?;
            appended.push((target.partition.id(), header.offset_count()));
        }
    }
    for (partition, log_start) in &commit.trims {
        let sequence = partition.sequence.lock();
        if sequence.dropped {
            return Err(CommitError::UnknownPartition(partition.id()));
        }
        let more = appended.iter().filter(|(id, _)| *id == partition.id());
        let log_end = sequence.next_offset + more.map(|(_, count)| count).sum::<i64>();
        if *log_start > log_end {
            return Err(CommitError::TrimBeyondEnd {
                partition: partition.id(),
                offset: *log_start,
                log_end,
            });
        }
    }
    for partition in &commit.drops {
        if partition.sequence.lock().dropped {
            return Err(CommitError::UnknownPartition(partition.id()));
        }
    }
    Ok(())
}

fn check_target(target: &Target, batch_bytes: u64) -> Result<(), CommitError> {
    let partition = &target.partition;
    let sequence = partition.sequence.lock();
    if sequence.dropped {
        return Err(CommitError::UnknownPartition(partition.id()));
    }
    if target.copy.is_none() {
        return Ok(());
    }
    let policy = sequence.policy.unwrap_or_default();
    let bound_bytes = policy.memory_bytes;
    let refuses = policy.overflow == Overflow::Refuse;
    if batch_bytes > bound_bytes {
        return Err(CommitError::TooLarge {
            bytes: batch_bytes,
            max_bytes: bound_bytes,
        });
    }
    if refuses && !partition.has_memory_for(batch_bytes, bound_bytes) {
        return Err(CommitError::MemoryFull {
            partition: partition.id(),
            bound_bytes,
        });
    }
    Ok(())
}
