//! Fetch: batches out of partitions, now or as soon as there are enough.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_broker::Broker;
use millstream_broker::streams::{FetchPart, FetchSpec, Fetched, Held, Isolation};
use millstream_broker::topics::PartitionHandle;
use millstream_kafka_wire::messages::fetch::{
    EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use millstream_kafka_wire::messages::{FetchRequest, FetchResponse};
use millstream_kafka_wire::{ErrorCode, IsolationLevel, Records, Str};
use millstream_limits::{FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX};
use millstream_record::{Codec, LeaderEpoch, Offset};
use uuid::Uuid;

use super::resolve;
use crate::connection::Answering;
use crate::dispatch::Call;
use crate::errors::Refusal;
use crate::fetch_sessions::{PartitionRef, Position, Told, TopicRef};

/// The first version whose clients can read zstd (KIP-110).
const ZSTD_FROM: i16 = 10;

/// Leaves everything to be done in its turn.
pub(crate) fn start(call: Call, body: Bytes) -> Answering {
    Answering::Later(Box::pin(async move {
        let request = match call.decode(body) {
            Ok(request) => request,
            Err(close) => return close,
        };
        let mut held = Held::default();
        let response = match fetch(&call, request, &mut held).await {
            Ok(told) => respond(told),
            Err(error_code) => FetchResponse {
                error_code,
                ..Default::default()
            },
        };
        call.answer_records(&response, held)
    }))
}

/// Reads the partitions of a request or of its session; waits while there is too little and nothing to report.
async fn fetch(call: &Call, request: FetchRequest, held: &mut Held) -> Result<Told, ErrorCode> {
    let server = &call.server;
    let sessions = &server.fetch_sessions;
    let named = request.topics.iter().map(|topic| topic.partitions.len());
    let named: usize = named.sum();
    if !call.has_room(named * size_of::<PartitionData>()).await {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    let turn = sessions.begin(&request, call.version, Instant::now())?;
    let limits = Limits::of(&request, call.version);
    drop(request);

    let found = read(&server.broker, &turn.wanted, limits, held).await;
    sessions.finish(turn, found, Instant::now())
}

/// How much a request wants and how long it waits for it.
#[derive(Clone, Copy)]
struct Limits {
    bytes_max: usize,
    bytes_min: usize,
    wait_max: Duration,
    isolation: Isolation,
    knows_zstd: bool,
}

impl Limits {
    fn of(request: &FetchRequest, version: i16) -> Limits {
        Limits {
            bytes_max: bytes(request.max_bytes).min(FETCH_BYTES_MAX),
            bytes_min: bytes(request.min_bytes).min(FETCH_BYTES_MAX),
            wait_max: wait_max(request.max_wait_ms),
            isolation: isolation(request.isolation_level),
            knows_zstd: version >= ZSTD_FROM,
        }
    }
}

/// What a consumer of that level sees.
pub(super) fn isolation(level: IsolationLevel) -> Isolation {
    if level == IsolationLevel::READ_COMMITTED {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    }
}

fn wait_max(wait_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0).min(FETCH_WAIT_MS_MAX))
}

fn bytes(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Reads each partition in order. One that cannot be read is reported at once, whatever the others hold. What counts the
/// memory of what was read goes to `held`.
async fn read(
    broker: &Broker,
    wanted: &[(PartitionRef, Position)],
    limits: Limits,
    held: &mut Held,
) -> Vec<PartitionData> {
    let handles: Vec<_> = wanted
        .iter()
        .map(|(partition, _)| find(broker, partition, limits))
        .collect();
    let parts = handles
        .iter()
        .zip(wanted)
        .filter_map(|(handle, (_, position))| {
            let partition = handle.as_ref().ok()?.clone();
            Some(part(partition, position))
        });
    let parts: Vec<_> = parts.collect();
    let max_wait = if parts.len() < wanted.len() {
        Duration::ZERO
    } else {
        limits.wait_max
    };
    let spec = FetchSpec {
        parts,
        max_bytes: limits.bytes_max,
        min_bytes: limits.bytes_min,
        max_wait,
        isolation: limits.isolation,
    };
    let mut fetched = broker.fetch(spec).await.into_iter();
    let found = handles
        .into_iter()
        .zip(wanted)
        .map(|(handle, (partition, _))| {
            let result = match handle {
                Ok(_) => match fetched.next() {
                    Some(part) => part.result.map_err(Refusal::from),
                    None => Err(ErrorCode::UNKNOWN_SERVER_ERROR.into()),
                },
                Err(code) => Err(code.into()),
            };
            partition_data(partition.index, result, limits.isolation, held)
        });
    found.collect()
}

/// The partition, if the client can read it: as in Kafka, the topic's setting decides, not what producers chose to send.
fn find(
    broker: &Broker,
    partition: &PartitionRef,
    limits: Limits,
) -> Result<PartitionHandle, ErrorCode> {
    let topic = resolve::topic(broker, &partition.topic)?;
    let found = resolve::partition(&topic, partition.index)?;
    let settings = &topic.current().settings;
    let is_zstd = settings.values().compression.map(|to| to.codec) == Some(Codec::Zstd);
    if is_zstd && !limits.knows_zstd {
        return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
    }
    Ok(found)
}

fn part(partition: PartitionHandle, position: &Position) -> FetchPart {
    FetchPart {
        partition,
        from: Offset(position.offset),
        leader_epoch: known_epoch(position.leader_epoch),
        last_fetched_epoch: known_epoch(position.last_fetched_epoch),
        max_bytes: bytes(position.bytes_max),
    }
}

/// An epoch of a request, where a negative number stands for none.
pub(super) fn known_epoch(number: i32) -> Option<LeaderEpoch> {
    (number >= 0).then_some(LeaderEpoch(number))
}

fn partition_data(
    index: i32,
    result: Result<Fetched, Refusal>,
    isolation: Isolation,
    held: &mut Held,
) -> PartitionData {
    // Until there are transactions, none is aborted.
    let aborted_transactions = (isolation == Isolation::ReadCommitted).then(Vec::new);
    let empty = PartitionData {
        partition_index: index,
        aborted_transactions,
        ..Default::default()
    };
    match result {
        Ok(fetched) => {
            held.merge(fetched.held);
            PartitionData {
                high_watermark: fetched.offsets.high_watermark.0,
                last_stable_offset: fetched.offsets.last_stable.0,
                log_start_offset: fetched.offsets.log_start.0,
                diverging_epoch: fetched.diverging.map_or_else(
                    EpochEndOffset::default,
                    |diverging| EpochEndOffset {
                        epoch: diverging.epoch.0,
                        end_offset: diverging.end.0,
                    },
                ),
                records: Some(Records::from_iter(fetched.slices)),
                ..empty
            }
        }
        Err(refusal) => PartitionData {
            error_code: refusal.code,
            high_watermark: -1,
            ..empty
        },
    }
}

/// The response; neighbouring partitions of a topic share its entry.
fn respond(told: Told) -> FetchResponse {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut last = None;
    for (topic, data) in told.partitions {
        match responses.last_mut() {
            Some(response) if last.as_ref() == Some(&topic) => response.partitions.push(data),
            _ => {
                responses.push(topic_response(&topic, data));
                last = Some(topic);
            }
        }
    }
    FetchResponse {
        session_id: told.session_id,
        responses,
        ..Default::default()
    }
}

fn topic_response(topic: &TopicRef, first: PartitionData) -> FetchableTopicResponse {
    let (name, topic_id) = match topic {
        TopicRef::Name(name) => (name.clone(), Uuid::nil()),
        TopicRef::Id(id) => (Str::new(), *id),
    };
    FetchableTopicResponse {
        topic: name,
        topic_id,
        partitions: vec![first],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fetch_waits_for_weeks() {
        assert_eq!(wait_max(500), Duration::from_millis(500));
        assert_eq!(wait_max(-1), Duration::ZERO);
        assert_eq!(wait_max(i32::MAX), Duration::from_millis(FETCH_WAIT_MS_MAX));
    }
}
