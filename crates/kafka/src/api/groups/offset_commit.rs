//! OffsetCommit: how far a group has read.

use std::sync::Arc;

use millstream_broker::groups::{GroupError, GroupId, OffsetCommit, OffsetKey, PartitionCommit};
use millstream_broker::topics::TopicHandle;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use millstream_kafka_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};
use millstream_record::{LeaderEpoch, Offset};

use super::code;
use super::membership::member_ref;
use crate::api::resolve;
use crate::dispatch::Call;
use crate::errors::group_code;

/// From this version on topics are named by their ids.
const TOPIC_ID_FROM: i16 = 10;

/// From this version on a client knows that a group may not exist.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;

/// Keeps the offsets of the partitions that exist, all at once. A partition that does not gets its own error; what is
/// wrong with the group or the member is told for every other one.
pub(crate) async fn offset_commit(
    call: Arc<Call>,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut topics: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    let mut partitions = Vec::new();
    for topic in &request.topics {
        topics.push(take_topic(&call, topic, &mut partitions));
    }
    let committed = if partitions.is_empty() {
        Ok(Vec::new())
    } else {
        commit(&call, &request, partitions).await
    };
    let mut results = match committed {
        Ok(results) => results
            .into_iter()
            .map(code)
            .collect::<Vec<_>>()
            .into_iter(),
        Err(error) => {
            refuse(&mut topics, refusal(error, call.version));
            return OffsetCommitResponse {
                topics,
                ..Default::default()
            };
        }
    };
    let taken = topics
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
        .filter(|one| one.error_code == ErrorCode::NONE);
    for partition in taken {
        partition.error_code = results.next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    OffsetCommitResponse {
        topics,
        ..Default::default()
    }
}

/// Adds what is to be kept of one topic to `partitions`, and answers for what cannot be. The rest has no error yet.
fn take_topic(
    call: &Call,
    topic: &OffsetCommitRequestTopic,
    partitions: &mut Vec<PartitionCommit>,
) -> OffsetCommitResponseTopic {
    let broker = &call.server.broker;
    let found = if call.version >= TOPIC_ID_FROM {
        resolve::topic_by_id(broker, topic.topic_id)
    } else {
        resolve::topic_by_name(broker, &topic.name)
    };
    let answers = topic.partitions.iter().map(|partition| {
        let taken = found
            .as_ref()
            .map_err(|code| *code)
            .and_then(|found| take_partition(found, partition));
        let error_code = match taken {
            Ok(taken) => {
                partitions.push(taken);
                ErrorCode::NONE
            }
            Err(code) => code,
        };
        OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code,
        }
    });
    OffsetCommitResponseTopic {
        partitions: answers.collect(),
        name: topic.name.clone(),
        topic_id: topic.topic_id,
    }
}

fn take_partition(
    topic: &Arc<TopicHandle>,
    partition: &OffsetCommitRequestPartition,
) -> Result<PartitionCommit, ErrorCode> {
    resolve::partition(topic, partition.partition_index)?;
    Ok(PartitionCommit {
        at: OffsetKey {
            topic: topic.id(),
            partition: partition.partition_index.unsigned_abs(),
        },
        offset: Offset(partition.committed_offset),
        leader_epoch: Some(LeaderEpoch(partition.committed_leader_epoch))
            .filter(|epoch| *epoch > LeaderEpoch::NONE),
        metadata: partition
            .committed_metadata
            .as_deref()
            .unwrap_or_default()
            .into(),
    })
}

async fn commit(
    call: &Call,
    request: &OffsetCommitRequest,
    partitions: Vec<PartitionCommit>,
) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let instance = request.group_instance_id.as_ref();
    let commit = OffsetCommit {
        member: member_ref(
            &request.member_id,
            instance,
            request.generation_id_or_member_epoch,
        ),
        // Only versions 2 to 4 have it; -1 leaves it to the server.
        retention_ms: u64::try_from(request.retention_time_ms).ok(),
        partitions,
    };
    call.server
        .broker
        .groups()
        .commit_offsets(&GroupId::new(&request.group_id), commit)
        .await
}

fn refusal(error: GroupError, version: i16) -> ErrorCode {
    match error {
        GroupError::GroupNotFound if version < GROUP_ID_NOT_FOUND_FROM => {
            ErrorCode::ILLEGAL_GENERATION
        }
        error => group_code(error),
    }
}

/// Answers with `error` wherever there is no other.
fn refuse(topics: &mut [OffsetCommitResponseTopic], error: ErrorCode) {
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.error_code == ErrorCode::NONE {
            partition.error_code = error;
        }
    }
}
