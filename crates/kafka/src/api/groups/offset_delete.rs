//! OffsetDelete: forgets offsets in topics that a group does not read (KIP-496).

use std::sync::Arc;

use millstream_broker::TopicId;
use millstream_broker::groups::GroupId;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::offset_delete::{
    OffsetDeleteRequestTopic, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use millstream_kafka_wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::code;
use crate::api::resolve;
use crate::dispatch::Call;
use crate::errors::group_code;

/// Deletes what is there; a partition without an offset is no error. What is wrong with the group is told at the top.
pub(crate) async fn offset_delete(
    call: Arc<Call>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let found: Vec<Option<(TopicId, Vec<u32>)>> = request
        .topics
        .iter()
        .map(|topic| find(&call, topic))
        .collect();
    let named = request.topics.iter().zip(&found);
    let topics: Vec<(TopicId, &str, Vec<u32>)> = named
        .filter_map(|(topic, found)| {
            found
                .as_ref()
                .map(|(id, partitions)| (*id, &*topic.name, partitions.clone()))
        })
        .collect();
    let group = GroupId::new(&request.group_id);
    let mut results = match call
        .server
        .broker
        .groups()
        .delete_offsets(&group, &topics)
        .await
    {
        Ok(results) => results.into_iter(),
        Err(error) => {
            return OffsetDeleteResponse {
                error_code: group_code(error),
                ..Default::default()
            };
        }
    };
    let answer = |(topic, found): (&OffsetDeleteRequestTopic, &Option<(TopicId, Vec<u32>)>)| {
        let existing = found
            .as_ref()
            .map(|(_, partitions)| (results.next().map_or(ErrorCode::NONE, code), partitions));
        let partition = |index: i32| {
            let exists = |partitions: &[u32]| {
                u32::try_from(index).is_ok_and(|index| partitions.binary_search(&index).is_ok())
            };
            let error_code = match existing {
                Some((code, partitions)) if exists(partitions) => code,
                _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            OffsetDeleteResponsePartition {
                partition_index: index,
                error_code,
            }
        };
        let partitions = topic
            .partitions
            .iter()
            .map(|asked| partition(asked.partition_index))
            .collect();
        OffsetDeleteResponseTopic {
            name: topic.name.clone(),
            partitions,
        }
    };
    let topics = request.topics.iter().zip(&found).map(answer).collect();
    OffsetDeleteResponse {
        topics,
        ..Default::default()
    }
}

/// The topic's id and those of the partitions asked for that exist, in ascending order.
fn find(call: &Call, asked: &OffsetDeleteRequestTopic) -> Option<(TopicId, Vec<u32>)> {
    let topic = resolve::topic_by_name(&call.server.broker, &asked.name).ok()?;
    let mut partitions: Vec<u32> = asked
        .partitions
        .iter()
        .filter(|asked| resolve::partition(&topic, asked.partition_index).is_ok())
        .map(|asked| asked.partition_index.unsigned_abs())
        .collect();
    partitions.sort_unstable();
    partitions.dedup();
    Some((topic.id(), partitions))
}
