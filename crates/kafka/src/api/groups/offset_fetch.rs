//! OffsetFetch: how far groups have read.
//!
//! Up to version 7 a request is about one group, from 8 on about several (KIP-709), with types of their own on the wire.
//! Both are brought to one question and one answer here.

use std::collections::HashSet;
use std::sync::Arc;

use millstream_broker::TopicId;
use millstream_broker::groups::{CommittedOffset, GroupError, GroupId, OffsetKey};
use millstream_kafka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use millstream_kafka_wire::messages::{OffsetFetchRequest, OffsetFetchResponse};
use millstream_kafka_wire::{ErrorCode, Str};
use millstream_record::LeaderEpoch;
use uuid::Uuid;

use crate::api::{resolve, without_repeats};
use crate::dispatch::Call;
use crate::errors::group_code;

/// From this version on a request is about several groups.
const SEVERAL_FROM: i16 = 8;

/// From this version on topics are named by their ids.
const TOPIC_ID_FROM: i16 = 10;

/// Up to this version there is no place for an error but at the partitions.
const PARTITION_ERRORS_UP_TO: i16 = 1;

/// Answers with what is kept; a partition nothing is kept for has offset -1, whether it exists or not. A group is answered
/// for once, and so is each partition of it.
pub(crate) async fn offset_fetch(
    call: Arc<Call>,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if call.version < SEVERAL_FROM {
        return fetch_one(&call, request).await;
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in without_repeats(request.groups, |group| group.group_id.clone()) {
        let bytes = size_of::<OffsetFetchResponseGroup>();
        if !call.has_room(bytes).await {
            break;
        }
        groups.push(fetch_group(&call, group).await);
    }
    OffsetFetchResponse {
        groups,
        ..Default::default()
    }
}

async fn fetch_one(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let asked = request.topics.map(|topics| {
        once(topics.into_iter().map(|topic| Asked {
            name: topic.name,
            id: Uuid::nil(),
            partitions: topic.partition_indexes,
        }))
    });
    let group = GroupId::new(&request.group_id);
    let topics = match read(call, &group, asked.as_deref()).await {
        Ok(topics) => topics,
        Err(error) if call.version > PARTITION_ERRORS_UP_TO => {
            return OffsetFetchResponse {
                error_code: group_code(error),
                ..Default::default()
            };
        }
        Err(error) => asked
            .unwrap_or_default()
            .into_iter()
            .map(|topic| topic.refused(group_code(error)))
            .collect(),
    };
    OffsetFetchResponse {
        topics: topics.into_iter().map(Told::into_one).collect(),
        ..Default::default()
    }
}

async fn fetch_group(call: &Call, request: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let asked = request.topics.map(|topics| {
        once(topics.into_iter().map(|topic| Asked {
            name: topic.name,
            id: topic.topic_id,
            partitions: topic.partition_indexes,
        }))
    });
    let read = read(call, &GroupId::new(&request.group_id), asked.as_deref()).await;
    let (topics, error_code) = match read {
        Ok(topics) => (topics, ErrorCode::NONE),
        Err(error) => (Vec::new(), group_code(error)),
    };
    OffsetFetchResponseGroup {
        group_id: request.group_id,
        topics: topics.into_iter().map(Told::into_several).collect(),
        error_code,
    }
}

/// What a request asks of one topic.
struct Asked {
    name: Str,
    id: Uuid,
    partitions: Vec<i32>,
}

/// The same topics, with each of their partitions once.
fn once(topics: impl Iterator<Item = Asked>) -> Vec<Asked> {
    let mut seen = HashSet::new();
    topics
        .map(|mut topic| {
            let (name, id) = (&topic.name, topic.id);
            topic
                .partitions
                .retain(|partition| seen.insert((name.clone(), id, *partition)));
            topic
        })
        .collect()
}

/// What a response tells of one topic.
struct Told {
    name: Str,
    id: Uuid,
    partitions: Vec<(i32, Result<Option<CommittedOffset>, ErrorCode>)>,
}

/// Reads what is asked for, in its order, or everything, by topic.
async fn read(
    call: &Call,
    group: &GroupId,
    asked: Option<&[Asked]>,
) -> Result<Vec<Told>, GroupError> {
    let told = match asked {
        Some(asked) => read_asked(call, group, asked).await?,
        None => read_all(call, group).await?,
    };
    if call
        .has_room(told.iter().map(Told::memory_bytes).sum())
        .await
    {
        Ok(told)
    } else {
        Err(GroupError::TooLarge)
    }
}

async fn read_asked(
    call: &Call,
    group: &GroupId,
    asked: &[Asked],
) -> Result<Vec<Told>, GroupError> {
    let found: Vec<Result<TopicId, ErrorCode>> =
        asked.iter().map(|topic| topic.find(call)).collect();
    let named = asked
        .iter()
        .zip(&found)
        .filter_map(|(topic, found)| Some((topic, *found.as_ref().ok()?)));
    let keys: Vec<OffsetKey> = named.flat_map(|(topic, id)| topic.keys(id)).collect();
    let mut offsets = call
        .server
        .broker
        .groups()
        .offsets(group, &keys)
        .await?
        .into_iter();
    let told = asked.iter().zip(found).map(|(topic, found)| match found {
        // What a topic that is not there is answered with depends on how it was named: see `Asked::find`.
        Err(ErrorCode::NONE) => topic.told(|_| Ok(None)),
        Err(code) => topic.told(|_| Err(code)),
        Ok(_) => topic.told(|partition| {
            Ok(if partition < 0 {
                None
            } else {
                offsets.next().flatten()
            })
        }),
    });
    Ok(told.collect())
}

async fn read_all(call: &Call, group: &GroupId) -> Result<Vec<Told>, GroupError> {
    let mut topics: Vec<Told> = Vec::new();
    for (at, committed) in call.server.broker.groups().all_offsets(group).await? {
        if topics.last().is_none_or(|topic| topic.id != at.topic.0) {
            // A topic that was deleted just now takes its offsets with it.
            let Some(topic) = call.server.broker.topic_by_id(at.topic) else {
                continue;
            };
            topics.push(Told {
                name: topic.name().as_str().into(),
                id: at.topic.0,
                partitions: Vec::new(),
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic
                .partitions
                .push((at.partition.cast_signed(), Ok(Some(committed))));
        }
    }
    Ok(topics)
}

impl Asked {
    /// The topic's id. A name that is not known is no error (`NONE`): there is just no offset. An id is one.
    fn find(&self, call: &Call) -> Result<TopicId, ErrorCode> {
        let broker = &call.server.broker;
        if call.version >= TOPIC_ID_FROM {
            resolve::topic_by_id(broker, self.id).map(|topic| topic.id())
        } else {
            resolve::topic_by_name(broker, &self.name)
                .map(|topic| topic.id())
                .map_err(|_| ErrorCode::NONE)
        }
    }

    fn keys(&self, topic: TopicId) -> impl Iterator<Item = OffsetKey> {
        let partitions = self
            .partitions
            .iter()
            .filter_map(|index| u32::try_from(*index).ok());
        partitions.map(move |partition| OffsetKey { topic, partition })
    }

    fn told(
        &self,
        mut tell: impl FnMut(i32) -> Result<Option<CommittedOffset>, ErrorCode>,
    ) -> Told {
        let partitions = self
            .partitions
            .iter()
            .map(|&partition| (partition, tell(partition)))
            .collect();
        Told {
            name: self.name.clone(),
            id: self.id,
            partitions,
        }
    }

    fn refused(self, code: ErrorCode) -> Told {
        self.told(|_| Err(code))
    }
}

/// The fields that both forms of the response have for a partition.
struct Fields {
    offset: i64,
    leader_epoch: i32,
    metadata: Option<Str>,
    error_code: ErrorCode,
}

impl Fields {
    fn of(told: Result<Option<CommittedOffset>, ErrorCode>) -> Self {
        match told {
            Ok(Some(committed)) => Self {
                offset: committed.offset.get(),
                leader_epoch: committed.leader_epoch.unwrap_or(LeaderEpoch::NONE).get(),
                metadata: Some((*committed.metadata).into()),
                error_code: ErrorCode::NONE,
            },
            Ok(None) => Self::none(ErrorCode::NONE),
            Err(code) => Self::none(code),
        }
    }

    fn none(error_code: ErrorCode) -> Self {
        Self {
            offset: -1,
            leader_epoch: -1,
            metadata: Some(Str::default()),
            error_code,
        }
    }
}

impl Told {
    fn memory_bytes(&self) -> usize {
        let partitions = self.partitions.iter().map(|(_, told)| {
            let metadata = match told {
                Ok(Some(committed)) => committed.metadata.len(),
                _ => 0,
            };
            size_of::<OffsetFetchResponsePartitions>() + metadata
        });
        size_of::<OffsetFetchResponseTopics>() + partitions.sum::<usize>()
    }

    /// As versions 1 to 7 have it.
    fn into_one(self) -> OffsetFetchResponseTopic {
        let partition = |(partition_index, told)| {
            let Fields {
                offset,
                leader_epoch,
                metadata,
                error_code,
            } = Fields::of(told);
            OffsetFetchResponsePartition {
                partition_index,
                committed_offset: offset,
                committed_leader_epoch: leader_epoch,
                metadata,
                error_code,
            }
        };
        OffsetFetchResponseTopic {
            name: self.name,
            partitions: self.partitions.into_iter().map(partition).collect(),
        }
    }

    /// As versions from 8 on have it.
    fn into_several(self) -> OffsetFetchResponseTopics {
        let partition = |(partition_index, told)| {
            let Fields {
                offset,
                leader_epoch,
                metadata,
                error_code,
            } = Fields::of(told);
            OffsetFetchResponsePartitions {
                partition_index,
                committed_offset: offset,
                committed_leader_epoch: leader_epoch,
                metadata,
                error_code,
            }
        };
        OffsetFetchResponseTopics {
            name: self.name,
            topic_id: self.id,
            partitions: self.partitions.into_iter().map(partition).collect(),
        }
    }
}
