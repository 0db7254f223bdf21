//! One produce request: batches of different partitions that one broker leads.

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_kafka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use millstream_kafka_wire::messages::{ProduceRequest, ProduceResponse};
use millstream_kafka_wire::{Records, Str};
use millstream_record::Offset;
use millstream_record::header::HEADER_BYTES;

use super::accumulator::QueueIndex;
use super::lane::Outgoing;
use crate::admin::offsets::TopicPartition;
use crate::error::{ClientError, check_with};

/// A batch in a request, and whose it is.
#[derive(Debug)]
pub(super) struct Passenger {
    pub queue: QueueIndex,
    pub partition: TopicPartition,
    pub outgoing: Outgoing,
}

/// What became of a batch: the offset of its first record, if the server said.
pub(super) type Fate = Result<Option<Offset>, ClientError>;

/// What became of a request's batches.
pub(super) type Answers = Vec<(Passenger, Fate)>;

/// A request that is being put together.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub passengers: Vec<Passenger>,
    size_bytes: usize,
}

impl Load {
    /// Whether it is so large that another batch should wait for the next request.
    pub(super) fn is_full(&self, request_bytes_max: usize) -> bool {
        self.size_bytes >= request_bytes_max
    }

    pub(super) fn add(&mut self, passenger: Passenger) {
        self.size_bytes += HEADER_BYTES + passenger.outgoing.payload.len();
        self.passengers.push(passenger);
    }

    /// The request. Payloads are attached, not copied.
    pub(super) fn to_request(&self, acks: i16, timeout_ms: i32) -> ProduceRequest {
        let mut topics = BTreeMap::<Str, Vec<_>>::new();
        for passenger in &self.passengers {
            let outgoing = &passenger.outgoing;
            let header = Bytes::copy_from_slice(&outgoing.header.encode_over(&outgoing.payload));
            let records = Records::from_iter([header, outgoing.payload.clone()]);
            topics
                .entry(passenger.partition.topic.clone())
                .or_default()
                .push(PartitionProduceData {
                    index: passenger.partition.partition,
                    records: Some(records),
                });
        }
        let topic = |(name, partition_data)| TopicProduceData {
            name,
            partition_data,
            ..Default::default()
        };
        ProduceRequest {
            transactional_id: None,
            acks,
            timeout_ms,
            topic_data: topics.into_iter().map(topic).collect(),
        }
    }

    /// The same fate for all, as when the request got no answer.
    pub(super) fn answer_all(self, answer: &Fate) -> Answers {
        self.passengers
            .into_iter()
            .map(|passenger| (passenger, answer.clone()))
            .collect()
    }

    /// Each batch's own fate.
    pub(super) fn answer_each(self, response: ProduceResponse) -> Answers {
        let mut fates = BTreeMap::new();
        for topic in response.responses {
            for partition in topic.partition_responses {
                let key = TopicPartition::new(topic.name.clone(), partition.index);
                let reason = partition
                    .record_errors
                    .into_iter()
                    .find_map(|error| error.batch_index_error_message);
                let message = reason.or(partition.error_message);
                let offset = (partition.base_offset >= 0).then_some(Offset(partition.base_offset));
                let fate = check_with(partition.error_code, format!("write to {key}"), message)
                    .map(|()| offset);
                fates.insert(key, fate);
            }
        }
        self.passengers
            .into_iter()
            .map(|passenger| {
                let fate = fates.remove(&passenger.partition);
                (
                    passenger,
                    fate.unwrap_or(Err(ClientError::Incomplete("Produce"))),
                )
            })
            .collect()
    }
}
