//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords: where a partition's records begin, end and change leaders.

use std::sync::Arc;

use millstream_broker::Broker;
use millstream_broker::streams::{DeleteBefore, Isolation, OffsetQuery};
use millstream_broker::topics::PartitionHandle;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use millstream_kafka_wire::messages::list_offsets::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsTopicResponse, MAX_TIMESTAMP,
};
use millstream_kafka_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use millstream_kafka_wire::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use millstream_record::{LeaderEpoch, Offset, TimestampMs};

use super::fetch::{isolation, known_epoch};
use super::{named_once, resolve};
use crate::dispatch::Call;
use crate::errors::Refusal;

/// Finds one offset of each partition: its ends, or the first record of a time.
pub(crate) async fn list_offsets(
    call: Arc<Call>,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in named_once(topic.partitions, |asked| asked.partition_index) {
            let bytes = size_of::<ListOffsetsPartitionResponse>();
            if !call.has_room(bytes).await {
                break;
            }
            let (partition_index, found) = match asked {
                Ok(asked) => (
                    asked.partition_index,
                    find_offset(&call, &topic.name, &asked, isolation).await,
                ),
                Err(index) => (index, Err(ErrorCode::INVALID_REQUEST.into())),
            };
            partitions.push(match found {
                Ok(found) => ListOffsetsPartitionResponse {
                    partition_index,
                    ..found
                },
                Err(Refusal {
                    code: error_code, ..
                }) => ListOffsetsPartitionResponse {
                    partition_index,
                    error_code,
                    ..Default::default()
                },
            });
        }
        topics.push(ListOffsetsTopicResponse {
            name: topic.name,
            partitions,
        });
    }
    ListOffsetsResponse {
        topics,
        ..Default::default()
    }
}

async fn find_offset(
    call: &Call,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<ListOffsetsPartitionResponse, Refusal> {
    let partition = find_partition(&call.server.broker, topic, asked.partition_index)?;
    let Some(query) = query(asked.timestamp, call.version)? else {
        return Ok(ListOffsetsPartitionResponse::default());
    };
    let known_epoch = known_epoch(asked.current_leader_epoch);
    let found = call
        .server
        .broker
        .offset_at(&partition, query, known_epoch, isolation)
        .await?;
    Ok(
        found.map_or_else(ListOffsetsPartitionResponse::default, |found| {
            ListOffsetsPartitionResponse {
                timestamp: found.timestamp.0,
                offset: found.offset.0,
                leader_epoch: found.leader_epoch.0,
                ..Default::default()
            }
        }),
    )
}

/// What a timestamp of the request asks for, some of them since a version only; `None` for what never exists here.
fn query(timestamp: i64, version: i16) -> Result<Option<OffsetQuery>, ErrorCode> {
    let since = match timestamp {
        0.. | LATEST_TIMESTAMP | EARLIEST_TIMESTAMP => 0,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL_TIMESTAMP => 8,
        LATEST_TIERED_TIMESTAMP => 9,
        EARLIEST_PENDING_UPLOAD_TIMESTAMP => 11,
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    };
    if version < since {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    Ok(match timestamp {
        LATEST_TIMESTAMP => Some(OffsetQuery::Latest),
        EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => Some(OffsetQuery::Earliest),
        MAX_TIMESTAMP => Some(OffsetQuery::MaxTimestamp),
        // There is no remote tier, so nothing is on it or on its way there.
        LATEST_TIERED_TIMESTAMP | EARLIEST_PENDING_UPLOAD_TIMESTAMP => None,
        time => Some(OffsetQuery::Since(TimestampMs(time))),
    })
}

fn find_partition(broker: &Broker, topic: &str, index: i32) -> Result<PartitionHandle, ErrorCode> {
    resolve::partition(&resolve::topic_by_name(broker, topic)?, index)
}

/// Tells where leader epochs end, for consumers that look whether what they have read still exists (KIP-320).
pub(crate) async fn offset_for_leader_epoch(
    call: Arc<Call>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            if !call.has_room(size_of::<EpochEndOffset>()).await {
                break;
            }
            let found = epoch_end(&call.server.broker, &topic.topic, &asked);
            partitions.push(found.unwrap_or_else(|refusal| EpochEndOffset {
                error_code: refusal.code,
                partition: asked.partition,
                ..Default::default()
            }));
        }
        topics.push(OffsetForLeaderTopicResult {
            topic: topic.topic,
            partitions,
        });
    }
    OffsetForLeaderEpochResponse {
        topics,
        ..Default::default()
    }
}

fn epoch_end(
    broker: &Broker,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, Refusal> {
    let partition = find_partition(broker, topic, asked.partition)?;
    let known_epoch = known_epoch(asked.current_leader_epoch);
    let found = broker.epoch_end(&partition, LeaderEpoch(asked.leader_epoch), known_epoch)?;
    let (leader_epoch, end_offset) = found.map_or((-1, -1), |found| (found.epoch.0, found.end.0));
    Ok(EpochEndOffset {
        partition: asked.partition,
        leader_epoch,
        end_offset,
        ..Default::default()
    })
}

/// Drops what lies before an offset.
pub(crate) async fn delete_records(
    call: Arc<Call>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let bytes = size_of::<DeleteRecordsPartitionResult>();
            if !call.has_room(bytes).await {
                break;
            }
            let (low_watermark, error_code) =
                match delete_before(&call.server.broker, &topic.name, &asked).await {
                    Ok(log_start) => (log_start.0, ErrorCode::NONE),
                    Err(refusal) => (-1, refusal.code),
                };
            let partition_index = asked.partition_index;
            partitions.push(DeleteRecordsPartitionResult {
                partition_index,
                low_watermark,
                error_code,
            });
        }
        topics.push(DeleteRecordsTopicResult {
            name: topic.name,
            partitions,
        });
    }
    DeleteRecordsResponse {
        topics,
        ..Default::default()
    }
}

/// What DeleteRecords calls the high watermark.
const UP_TO_HIGH_WATERMARK: i64 = -1;

async fn delete_before(
    broker: &Broker,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, Refusal> {
    let partition = find_partition(broker, topic, asked.partition_index)?;
    let before = match asked.offset {
        UP_TO_HIGH_WATERMARK => DeleteBefore::HighWatermark,
        offset => DeleteBefore::Offset(Offset(offset)),
    };
    Ok(broker.delete_records(&partition, before).await?)
}
