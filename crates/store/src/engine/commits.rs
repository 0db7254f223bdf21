//! Taking commits: what they name is looked up, and what is wrong with them by themselves is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use millstream_limits::STATE_KEY_BYTES_MAX;
use millstream_record::Offset;
use smallvec::SmallVec;

use super::Engine;
use crate::commit::{Append, Commit, Mark, PartitionOpen, Sequenced, StateChanges};
use crate::epochs::Epochs;
use crate::error::CommitError;
use crate::ids::PartitionId;
use crate::journal::entry::{AppendFrame, Frame};
use crate::partition::{Partition, PartitionOrigin};
use crate::sequencer::{Prepared, Requirement, Resolved, ResolvedAppend, Target};
use crate::state::keys;

impl Engine {
    pub(crate) fn commit(&self, commit: Commit) -> Result<Sequenced, CommitError> {
        let prepared = self.prepare(commit, 0)?;
        self.commit_prepared(prepared, |_| {})
    }

    pub(crate) fn prepare(
        &self,
        commit: Commit,
        state_bytes_max: usize,
    ) -> Result<Prepared, CommitError> {
        self.check_failure()?;
        self.check_size(&commit, state_bytes_max)?;
        check_keys(&commit.puts, &commit.deletes, &commit.appends)?;
        self.resolve(commit).map(Prepared)
    }

    pub(crate) fn commit_prepared(
        &self,
        prepared: Prepared,
        then: impl FnOnce(&mut StateChanges),
    ) -> Result<Sequenced, CommitError> {
        self.check_failure()?;
        let refusals = self.refusals();
        self.sequencer.sequence(prepared.0, refusals, |commit| {
            self.install(commit);
            let mut changes = StateChanges::default();
            then(&mut changes);
            debug_assert!(check_keys(&changes.puts, &changes.deletes, &[]).is_ok());
            commit.puts.append(&mut changes.puts);
            commit.deletes.append(&mut changes.deletes);
        })
    }

    /// Puts opened partitions where they are found, and takes dropped ones away.
    fn install(&self, commit: &Resolved) {
        if commit.opens.is_empty() && commit.drops.is_empty() {
            return;
        }
        let mut partitions = self.partitions.write();
        for partition in &commit.opens {
            partitions.insert(partition.id(), Arc::clone(partition));
        }
        let mut dropped = self.dropped.lock();
        for partition in &commit.drops {
            partitions.remove(&partition.id());
            dropped.insert(partition.id(), Some(Arc::clone(partition)));
        }
    }

    fn check_failure(&self) -> Result<(), CommitError> {
        match self.progress.failure() {
            Some(failure) => Err(CommitError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    fn check_size(&self, commit: &Commit, more: usize) -> Result<(), CommitError> {
        let bytes = journal_bytes(commit) + more as u64;
        if bytes > self.commit_bytes_max {
            return Err(CommitError::TooLarge {
                bytes,
                max_bytes: self.commit_bytes_max,
            });
        }
        Ok(())
    }

    fn resolve(&self, commit: Commit) -> Result<Resolved, CommitError> {
        let opens = commit
            .opens
            .iter()
            .map(|open| self.make_partition(open))
            .collect::<Result<Vec<_>, _>>()?;
        let find = |id: PartitionId| {
            let opened = opens.iter().find(|partition| partition.id() == id).cloned();
            opened
                .or_else(|| self.partition(id))
                .ok_or(CommitError::UnknownPartition(id))
        };
        let mut appends = commit
            .appends
            .into_iter()
            .enumerate()
            .map(|(at, append)| resolve_append(at, append, find))
            .collect::<Result<SmallVec<_>, _>>()?;
        let trims = commit
            .trims
            .iter()
            .map(|trim| Ok((find(trim.partition)?, trim.log_start)))
            .collect::<Result<Vec<_>, CommitError>>()?;
        let drops = commit
            .drops
            .iter()
            .map(|id| find(*id))
            .collect::<Result<Vec<_>, _>>()?;
        let of_appends = appends
            .iter_mut()
            .flat_map(|resolved: &mut ResolvedAppend| {
                std::mem::take(&mut resolved.append.requires)
            });
        let requires = of_appends
            .chain(commit.requires)
            .map(|require| Requirement::look(find(require.partition)?, require, &self.state))
            .collect::<Result<Vec<_>, CommitError>>()?;
        Ok(Resolved {
            requires,
            wall: self.now(),
            opens,
            appends,
            trims,
            drops,
            puts: commit.puts,
            deletes: commit.deletes,
            promise: commit.promise,
        })
    }

    fn make_partition(&self, open: &PartitionOpen) -> Result<Arc<Partition>, CommitError> {
        let reserved = open.id.0 < self.next_partition.load(Ordering::Relaxed);
        if !reserved || self.partitions.read().contains_key(&open.id) {
            return Err(CommitError::PartitionExists(open.id));
        }
        let origin = PartitionOrigin {
            id: open.id,
            durability: open.durability,
            leader_epoch: Arc::clone(&self.epoch),
            log_start: Offset::ZERO,
            next_offset: Offset::ZERO,
            settled: Offset::ZERO,
            epochs: Epochs::default(),
            policy: Some(open.policy),
        };
        let partition = Partition::new(origin, Arc::clone(&self.packs), Arc::clone(&self.budget));
        Ok(Arc::new(partition))
    }
}

fn resolve_append(
    at: usize,
    append: Append,
    find: impl Fn(PartitionId) -> Result<Arc<Partition>, CommitError>,
) -> Result<ResolvedAppend, CommitError> {
    debug_assert!(!append.targets.is_empty(), "a batch goes somewhere");
    debug_assert!(
        append.after.is_none_or(|after| after < at),
        "what it follows comes before it"
    );
    let marked = append.marks.iter().map(|mark| mark.target);
    debug_assert!(
        marked
            .max()
            .is_none_or(|target| target < append.targets.len()),
        "marks are of its targets"
    );
    debug_assert_eq!(append.batch.len(), append.header.size_bytes as usize);
    let targets = append
        .targets
        .iter()
        .map(|id| Ok(Target::new(find(*id)?, &append.batch)))
        .collect::<Result<_, CommitError>>()?;
    Ok(ResolvedAppend { append, targets })
}

/// What a commit takes in the journal at most.
fn journal_bytes(commit: &Commit) -> u64 {
    let frame = Frame {
        opens: Vec::new(),
        appends: commit
            .appends
            .iter()
            .map(|append| AppendFrame {
                batch_bytes: append.header.size_bytes,
                last_offset_delta: 0,
                max_timestamp: append.header.max_timestamp,
                targets: append
                    .targets
                    .iter()
                    .map(|id| (*id, Offset::ZERO))
                    .collect(),
                foreign_producer: false,
            })
            .collect(),
        ..Frame::default()
    };
    let pair = |(key, value): &(Bytes, Bytes)| 8 + key.len() + value.len();
    let marks = commit.appends.iter().flat_map(|append| &append.marks);
    let mark = |mark: &Mark| 8 + mark.key.len() + mark.value.len() + Mark::OFFSET_BYTES;
    let rest = commit.puts.iter().map(pair).sum::<usize>()
        + marks.map(mark).sum::<usize>()
        + commit
            .deletes
            .iter()
            .map(|key| 4 + key.len())
            .sum::<usize>()
        + 12 * (commit.opens.len() + commit.trims.len() + commit.drops.len());
    (frame.entry_bytes() + rest) as u64
}

fn check_keys(
    puts: &[(Bytes, Bytes)],
    deletes: &[Bytes],
    appends: &[Append],
) -> Result<(), CommitError> {
    let puts = puts.iter().map(|(key, _)| key);
    let whole = puts
        .chain(deletes)
        .all(|key| is_key(key, STATE_KEY_BYTES_MAX));
    let mut marks = appends.iter().flat_map(|append| &append.marks);
    if whole && marks.all(|mark| is_key(&mark.key, STATE_KEY_BYTES_MAX - Mark::OFFSET_BYTES)) {
        return Ok(());
    }
    Err(CommitError::BadKey {
        max_bytes: STATE_KEY_BYTES_MAX,
    })
}

fn is_key(key: &[u8], max_bytes: usize) -> bool {
    !key.is_empty() && key.len() <= max_bytes && !keys::is_reserved(key)
}
