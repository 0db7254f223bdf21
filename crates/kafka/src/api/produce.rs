//! Produce: batches into partitions.
//!
//! A request is begun as soon as it is read, before those in front of it on the connection are answered, unless one of
//! them may change its topics: its batches are validated and take their places in the log in the order they arrived in,
//! and share the sync of whatever else is under way. Only the answer waits, for the promise of each topic. That promise
//! is the topic's, whatever `acks` asks for; `acks=0` merely does without the answer.

mod refused;

use millstream_broker::Broker;
use millstream_broker::produce::Appending;
use millstream_kafka_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData, TopicProduceResponse,
};
use millstream_kafka_wire::messages::{ProduceRequest, ProduceResponse};
use millstream_kafka_wire::{DecodeError, ErrorCode, Message, Reader, Records, Str};
use millstream_record::{BatchHeader, Codec};
use uuid::Uuid;

use super::producers::TRANSACTIONS_REFUSED;
use super::resolve;
use crate::connection::{Answer, Answering};
use crate::dispatch::Call;
use crate::errors::Refusal;
use refused::RefusedBatch;

/// The first version that names topics by their ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// The first version whose batches may be compressed with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// What becomes of one topic's batches.
struct TopicAppends {
    name: Str,
    id: Uuid,
    partitions: Vec<(i32, Result<Appending, RefusedBatch>)>,
}

impl TopicAppends {
    /// Nothing yet for `topic`. What is kept of the request are copies: a slice of its frame would keep the records in
    /// memory until the answer.
    fn of(topic: &TopicProduceData) -> TopicAppends {
        TopicAppends {
            name: Str::from(&*topic.name),
            id: topic.topic_id,
            partitions: Vec::with_capacity(topic.partition_data.len()),
        }
    }
}

/// Appends what the request carries; what is left to do is to wait.
///
/// Must be called in the order in which a connection's requests arrive. Waits while memory is full or a batch has to be
/// unpacked, and so keeps the connection from being read.
pub(crate) async fn start(call: Call, request: ProduceRequest) -> Answering {
    let acks = request.acks;
    let topics = match refused_as_a_whole(&request) {
        Some(code) => refuse_all(&request, code),
        None => append_all(&call, request).await,
    };
    answer(call, acks, topics)
}

/// Refuses a version that is advertised but not served, see [`super::versions`].
pub(crate) fn unsupported_version(
    call: Call,
    reader: &mut Reader<'_>,
) -> Result<Answering, DecodeError> {
    let request = ProduceRequest::decode(reader, call.version)?;
    let acks = request.acks;
    let topics = refuse_all(&request, ErrorCode::UNSUPPORTED_VERSION);
    Ok(answer(call, acks, topics))
}

fn refused_as_a_whole(request: &ProduceRequest) -> Option<ErrorCode> {
    if !matches!(request.acks, -1..=1) {
        Some(ErrorCode::INVALID_REQUIRED_ACKS)
    } else if request.transactional_id.is_some() {
        Some(TRANSACTIONS_REFUSED)
    } else {
        None
    }
}

fn refuse_all(request: &ProduceRequest, code: ErrorCode) -> Vec<TopicAppends> {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter();
        TopicAppends {
            partitions: partitions
                .map(|partition| (partition.index, Err(code.into())))
                .collect(),
            ..TopicAppends::of(topic)
        }
    });
    topics.collect()
}

async fn append_all(call: &Call, request: ProduceRequest) -> Vec<TopicAppends> {
    let broker = &call.server.broker;
    let partitions = request
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data);
    let bytes = partitions
        .map(|partition| partition.records.as_ref().map_or(0, Records::len))
        .sum();
    let _admission = broker.admit(bytes).await;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for mut topic in request.topic_data {
        let mut appends = TopicAppends::of(&topic);
        for partition in std::mem::take(&mut topic.partition_data) {
            let index = partition.index;
            let appending = append(broker, &topic, partition, call.version).await;
            appends.partitions.push((index, appending));
        }
        topics.push(appends);
    }
    topics
}

async fn append(
    broker: &Broker,
    topic: &TopicProduceData,
    partition: PartitionProduceData,
    version: i16,
) -> Result<Appending, RefusedBatch> {
    let handle = if version >= TOPIC_IDS_FROM {
        resolve::topic_by_id(broker, topic.topic_id)?
    } else {
        resolve::topic_by_name(broker, &topic.name)?
    };
    let handle = resolve::partition(&handle, partition.index)?;
    let batch = partition
        .records
        .map(Records::into_bytes)
        .unwrap_or_default();
    if version < ZSTD_FROM
        && BatchHeader::parse(&batch).is_ok_and(|header| header.codec == Codec::Zstd)
    {
        return Err(zstd_refusal(version).into());
    }
    match broker.append_unpacked(&handle, batch.clone()).await {
        Ok(appending) => Ok(appending),
        Err(error) => Err(RefusedBatch::new(broker, error, batch).await),
    }
}

/// What a client of before zstd gets for using it: others of its version could not read the batch.
fn zstd_refusal(version: i16) -> Refusal {
    Refusal::new(
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        format!(
            "Produce version {version} knows no zstd; use a client that speaks version {ZSTD_FROM} (Kafka 2.1), or \
             another compression"
        ),
    )
}

/// The answer to a request of which all is begun.
fn answer(call: Call, acks: i16, topics: Vec<TopicAppends>) -> Answering {
    if acks == 0 {
        return Answering::Now(unanswered(&topics));
    }
    Answering::Later(Box::pin(async move {
        let mut responses = Vec::with_capacity(topics.len());
        for topic in topics {
            responses.push(finish(topic).await);
        }
        call.answer(&ProduceResponse {
            responses,
            ..Default::default()
        })
    }))
}

/// A producer that wants no answers learns of an error by the connection closing, as with Kafka: it then asks for the
/// topics anew.
fn unanswered(topics: &[TopicAppends]) -> Answer {
    let failed = topics.iter().find_map(|topic| {
        let mut results = topic.partitions.iter().map(|(_, result)| result);
        let refused = results.find_map(|result| result.as_ref().err());
        Some((&topic.name, refused?))
    });
    match failed {
        None => Answer::Silence,
        Some((topic, RefusedBatch { refusal, .. })) => {
            let code = refusal.code.name();
            let reason = refusal.message.as_deref().unwrap_or(code);
            Answer::Close(
                format!("a batch for topic {topic} with acks=0 is refused: {reason}").into(),
            )
        }
    }
}

async fn finish(topic: TopicAppends) -> TopicProduceResponse {
    let mut partition_responses = Vec::with_capacity(topic.partitions.len());
    for (index, result) in topic.partitions {
        partition_responses.push(match durable(index, result).await {
            Ok(response) => response,
            Err(refused) => refused.response(index),
        });
    }
    TopicProduceResponse {
        name: topic.name,
        topic_id: topic.id,
        partition_responses,
    }
}

/// Waits until the batch is as durable as its topic promises.
async fn durable(
    index: i32,
    result: Result<Appending, RefusedBatch>,
) -> Result<PartitionProduceResponse, RefusedBatch> {
    let appended = result?.durable().await.map_err(Refusal::from)?;
    Ok(PartitionProduceResponse {
        index,
        base_offset: appended.base_offset.0,
        log_append_time_ms: appended.log_append_time.map_or(-1, |time| time.0),
        log_start_offset: appended.log_start.0,
        ..Default::default()
    })
}
