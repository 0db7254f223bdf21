//! Committing, reading and deleting offsets.

use std::sync::Arc;

use millstream_catalog::TopicId;
use millstream_limits::OFFSET_METADATA_CHARACTERS_MAX;
use millstream_record::{LeaderEpoch, Offset, TimestampMs};
use millstream_store::Stay;

use super::cell::Cell;
use super::{Groups, settle};
use crate::groups::error::GroupError;
use crate::groups::ids::{Generation, GroupId};
use crate::groups::offsets::{CommittedOffset, OffsetKey};
use crate::groups::record::offset;
use crate::groups::request::MemberRef;

/// Offsets to be kept for a group, all at once.
#[derive(Clone, Debug)]
pub struct OffsetCommit {
    /// In whose name: with [`Generation::NONE`] and no id, a reader outside the group's membership.
    pub member: MemberRef,
    /// How long to keep them, if the client says so itself (only clients before Kafka 2.1 do).
    pub retention_ms: Option<u64>,
    /// The offsets.
    pub partitions: Vec<PartitionCommit>,
}

/// The offset of one partition.
#[derive(Clone, Debug)]
pub struct PartitionCommit {
    /// Which partition. That it exists is the caller's to see to.
    pub at: OffsetKey,
    /// The next record to read.
    pub offset: Offset,
    /// The epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the reader wants to remember with it.
    pub metadata: Arc<str>,
}

impl Groups {
    /// Keeps offsets; returns when they are durable. One result for each, in order.
    ///
    /// A group that does not exist is made, for a reader outside it: it then has offsets and no members. For a member
    /// it is [`GroupError::GroupNotFound`].
    pub async fn commit_offsets(
        &self,
        group: &GroupId,
        commit: OffsetCommit,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.check_open()?;
        let (results, durable) = {
            let cell = match self.get(group) {
                Some(cell) => cell,
                None if commit.member.generation <= Generation::NONE => {
                    self.check_disk(Stay::Lasting)?;
                    self.get_or_create(group)?
                }
                None => return Err(GroupError::GroupNotFound),
            };
            let now = self.wall_now();
            let mut cell = cell.lock();
            let mut places = commit.partitions.iter().map(|partition| partition.at);
            let is_known = places.all(|at| cell.offsets.contains_key(&at));
            self.check_disk(if is_known {
                Stay::Passing
            } else {
                Stay::Lasting
            })?;
            cell.machine.admit_commit(&commit.member, self.now())?;
            let mut results = Vec::with_capacity(commit.partitions.len());
            let mut kept = Vec::with_capacity(commit.partitions.len());
            for partition in commit.partitions {
                let characters = partition.metadata.encode_utf16();
                let fits = characters.count() <= OFFSET_METADATA_CHARACTERS_MAX;
                results.push(if fits {
                    Ok(())
                } else {
                    Err(GroupError::OffsetMetadataTooLarge)
                });
                if fits {
                    kept.push((partition.at, committed(partition, commit.retention_ms, now)));
                }
            }
            if !kept.is_empty() {
                let puts = kept
                    .iter()
                    .map(|(at, kept)| (offset::key(group, *at), offset::encode(kept)))
                    .collect();
                cell.commit(&self.slot, puts, Vec::new())?;
                cell.offsets.extend(kept);
            }
            (results, cell.durable())
        };
        settle(durable).await?;
        Ok(results)
    }

    /// The offsets a group has in `partitions`, in that order; `None` where it has none.
    pub async fn offsets(
        &self,
        group: &GroupId,
        partitions: &[OffsetKey],
    ) -> Result<Vec<Option<CommittedOffset>>, GroupError> {
        self.read(group, |cell| {
            partitions
                .iter()
                .map(|at| cell.offsets.get(at).cloned())
                .collect()
        })
        .await
        .map(|read| read.unwrap_or_else(|| vec![None; partitions.len()]))
    }

    /// How far every group is, in the order of their ids, and of topic ids and partitions: for those who watch, so what is
    /// read may not be durable yet.
    pub fn positions(&self) -> Vec<(GroupId, Vec<(OffsetKey, Offset)>)> {
        let read = |cell: Arc<parking_lot::Mutex<Cell>>| {
            let cell = cell.lock();
            let offsets = cell.offsets.iter();
            let positions = offsets.map(|(at, committed)| (*at, committed.offset));
            (cell.id.clone(), positions.collect())
        };
        let mut all: Vec<_> = self.all().into_iter().map(read).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Every offset a group has, in the order of topic ids and partitions.
    pub async fn all_offsets(
        &self,
        group: &GroupId,
    ) -> Result<Vec<(OffsetKey, CommittedOffset)>, GroupError> {
        self.read(group, |cell| {
            cell.offsets
                .iter()
                .map(|(at, committed)| (*at, committed.clone()))
                .collect()
        })
        .await
        .map(Option::unwrap_or_default)
    }

    /// Reads a group's offsets, and returns when what was read is durable: a reader that starts from an offset must not
    /// find an earlier one after a crash.
    async fn read<T>(
        &self,
        group: &GroupId,
        read: impl FnOnce(&Cell) -> T,
    ) -> Result<Option<T>, GroupError> {
        self.check_open()?;
        let (answer, durable) = match self.get(group) {
            None => return Ok(None),
            Some(cell) => {
                let cell = cell.lock();
                (read(&cell), cell.durable())
            }
        };
        settle(durable).await?;
        Ok(Some(answer))
    }

    /// Deletes a group's offsets in some partitions of topics, given with their names; one result for each topic.
    ///
    /// Topics that the group's members read are refused, and so is everything where it cannot be known what they read.
    pub async fn delete_offsets(
        &self,
        group: &GroupId,
        topics: &[(TopicId, &str, Vec<u32>)],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.check_open()?;
        let (results, durable) = {
            let cell = self.get(group).ok_or(GroupError::GroupNotFound)?;
            let mut cell = cell.lock();
            cell.machine.check_offsets_deletable()?;
            let mut results = Vec::with_capacity(topics.len());
            let mut deleted = Vec::new();
            for (topic, name, partitions) in topics {
                let is_read = cell.machine.is_subscribed(name);
                results.push(if is_read {
                    Err(GroupError::SubscribedToTopic)
                } else {
                    Ok(())
                });
                if !is_read {
                    let named = partitions.iter().map(|&partition| OffsetKey {
                        topic: *topic,
                        partition,
                    });
                    deleted.extend(named.filter(|at| cell.offsets.contains_key(at)));
                }
            }
            cell.forget(&self.slot, &deleted)?;
            (results, cell.durable())
        };
        settle(durable).await?;
        Ok(results)
    }

    /// Deletes the offsets of a topic that is gone, in all groups.
    pub(crate) async fn forget_topic(&self, topic: TopicId) -> Result<(), GroupError> {
        let mut last = None;
        for cell in self.all() {
            let mut cell = cell.lock();
            let from = OffsetKey {
                topic,
                partition: 0,
            };
            let to = OffsetKey {
                topic,
                partition: u32::MAX,
            };
            let deleted: Vec<OffsetKey> =
                cell.offsets.range(from..=to).map(|(at, _)| *at).collect();
            if !deleted.is_empty() {
                cell.forget(&self.slot, &deleted)?;
                last = cell.durable();
            }
        }
        settle(last).await
    }
}

fn committed(
    partition: PartitionCommit,
    retention_ms: Option<u64>,
    now: TimestampMs,
) -> CommittedOffset {
    CommittedOffset {
        offset: partition.offset,
        leader_epoch: partition.leader_epoch,
        metadata: partition.metadata,
        committed: now,
        expires: retention_ms.map(|retention_ms| {
            now.saturating_add(i64::try_from(retention_ms).unwrap_or(i64::MAX))
        }),
    }
}
