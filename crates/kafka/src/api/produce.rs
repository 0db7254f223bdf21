//! Produce: batches into partitions.
//!
//! A request is begun as soon as it is read, before those in front of it on the connection are answered: its batches
//! are validated and take their places in the log in the order they arrived in, and share the sync of whatever else is
//! under way. Only the answer waits, for the promise of each topic. That promise is the topic's, whatever `acks` asks
//! for; `acks=0` merely does without the answer.

mod refused;

use millstream_broker::Broker;
use millstream_broker::produce::Appending;
use millstream_kafka_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData, TopicProduceResponse,
};
use millstream_kafka_wire::messages::{ProduceRequest, ProduceResponse};
use millstream_kafka_wire::{DecodeError, ErrorCode, Message, Reader, Records, Str};
use uuid::Uuid;

use super::producers::TRANSACTIONS_REFUSED;
use super::resolve;
use crate::connection::{Answer, Answering};
use crate::dispatch::Call;
use crate::errors::Refusal;
use refused::RefusedBatch;

/// The first version that names topics by their ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// What becomes of one topic's batches.
struct TopicAppends {
    name: Str,
    id: Uuid,
    partitions: Vec<(i32, Result<Appending, RefusedBatch>)>,
}

/// Appends what the request carries; what is left to do is to wait.
///
/// Must be called in the order in which a connection's requests arrive. Waits while memory is full, and so keeps the
/// connection from being read.
pub(crate) async fn start(call: Call, request: ProduceRequest) -> Answering {
    let acks = request.acks;
    let topics = match refused_as_a_whole(&request) {
        Some(code) => refuse_all(request, code),
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
    let topics = refuse_all(request, ErrorCode::UNSUPPORTED_VERSION);
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

fn refuse_all(request: ProduceRequest, code: ErrorCode) -> Vec<TopicAppends> {
    each_partition(request, |_, _| Err(code.into()))
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
    let names_by_id = call.version >= TOPIC_IDS_FROM;
    each_partition(request, |topic, partition| {
        append(broker, topic, partition, names_by_id)
    })
}

/// Does `act` to each partition, in order. What is kept of the request are copies: a slice of its frame would keep the
/// records in memory until the answer.
fn each_partition(
    request: ProduceRequest,
    act: impl Fn(&TopicProduceData, PartitionProduceData) -> Result<Appending, RefusedBatch>,
) -> Vec<TopicAppends> {
    let topics = request.topic_data.into_iter().map(|mut topic| {
        let partitions = std::mem::take(&mut topic.partition_data).into_iter();
        let partitions = partitions
            .map(|partition| (partition.index, act(&topic, partition)))
            .collect();
        TopicAppends {
            name: Str::from(&*topic.name),
            id: topic.topic_id,
            partitions,
        }
    });
    topics.collect()
}

fn append(
    broker: &Broker,
    topic: &TopicProduceData,
    partition: PartitionProduceData,
    names_by_id: bool,
) -> Result<Appending, RefusedBatch> {
    let handle = if names_by_id {
        resolve::topic_by_id(broker, topic.topic_id)?
    } else {
        resolve::topic_by_name(broker, &topic.name)?
    };
    let handle = resolve::partition(&handle, partition.index)?;
    let batch = partition
        .records
        .map(Records::into_bytes)
        .unwrap_or_default();
    broker
        .append(&handle, batch.clone())
        .map_err(|error| RefusedBatch::new(error, batch))
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
