//! Finding offsets: a partition's ends, and places in time.

use std::collections::BTreeMap;

use millstream_kafka_wire::messages::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsTopic, MAX_TIMESTAMP,
};
use millstream_kafka_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};
use millstream_kafka_wire::{IsolationLevel, Str};
use millstream_record::{LeaderEpoch, Offset, TimestampMs};

use crate::client::Client;
use crate::error::{ClientError, check};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Str,
    /// The partition's number.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition of that number of that topic.
    pub fn new(topic: impl Into<Str>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Which offset of a partition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first that is still there.
    Earliest,
    /// The end: that of the next record to be written.
    Latest,
    /// That of the record with the latest timestamp (KIP-734).
    MaxTimestamp,
    /// That of the first record at this time or later.
    Since(TimestampMs),
}

impl OffsetSpec {
    fn on_wire(self) -> i64 {
        match self {
            Self::Earliest => EARLIEST_TIMESTAMP,
            Self::Latest => LATEST_TIMESTAMP,
            Self::MaxTimestamp => MAX_TIMESTAMP,
            Self::Since(timestamp) => timestamp.0,
        }
    }
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; none if no record is at that time or later.
    pub offset: Option<Offset>,
    /// The found record's timestamp, where one was looked for.
    pub timestamp: TimestampMs,
    /// The leadership under which the record was written.
    pub leader_epoch: LeaderEpoch,
}

impl Client {
    /// Finds one offset in each of `partitions`.
    pub async fn list_offsets(
        &self,
        partitions: &[(TopicPartition, OffsetSpec)],
    ) -> Result<BTreeMap<TopicPartition, FoundOffset>, ClientError> {
        let mut found = BTreeMap::new();
        let mut missing = partitions.to_vec();
        let mut backoff = self.backoff();
        while !missing.is_empty() {
            let mut failure = None;
            for (leader, asked) in self.by_leader(&missing).await? {
                match self.list_offsets_of(leader, &asked).await {
                    Ok(answers) => failure = absorb(answers, &mut found)?.or(failure),
                    Err(error) => failure = Some(error),
                }
            }
            missing.retain(|(partition, _)| !found.contains_key(partition));
            match failure {
                Some(error) => {
                    for (partition, _) in &missing {
                        self.forget_topic(&partition.topic);
                    }
                    backoff.pause(error).await?;
                }
                None if missing.is_empty() => {}
                None => return Err(ClientError::Incomplete("ListOffsets")),
            }
        }
        Ok(found)
    }

    /// Finds one offset in each partition of `topic`, by ascending partition.
    pub async fn topic_offsets(
        &self,
        topic: &str,
        spec: OffsetSpec,
    ) -> Result<Vec<(i32, FoundOffset)>, ClientError> {
        let known = self.topic(topic).await?;
        let asked: Vec<_> = known
            .partitions
            .iter()
            .map(|partition| {
                (
                    TopicPartition::new(known.name.clone(), partition.number),
                    spec,
                )
            })
            .collect();
        let found = self.list_offsets(&asked).await?;
        Ok(found
            .into_iter()
            .map(|(partition, offset)| (partition.partition, offset))
            .collect())
    }

    /// Sorts what is to be asked by the broker that leads each partition.
    pub(crate) async fn by_leader<T: Clone>(
        &self,
        partitions: &[(TopicPartition, T)],
    ) -> Result<BTreeMap<i32, Vec<(TopicPartition, T)>>, ClientError> {
        let mut by_leader = BTreeMap::<_, Vec<_>>::new();
        for (partition, asked) in partitions {
            let topic = self.topic_of(&partition.topic, false).await?;
            // A topic with a partition that has no leader is asked about until it has one.
            let leader = topic.partition(partition.partition)?.leader.unwrap_or(-1);
            by_leader
                .entry(leader)
                .or_default()
                .push((partition.clone(), asked.clone()));
        }
        Ok(by_leader)
    }

    async fn list_offsets_of(
        &self,
        leader: i32,
        asked: &[(TopicPartition, OffsetSpec)],
    ) -> Result<ListOffsetsResponse, ClientError> {
        let mut topics = BTreeMap::<Str, Vec<_>>::new();
        for (partition, spec) in asked {
            topics
                .entry(partition.topic.clone())
                .or_default()
                .push(ListOffsetsPartition {
                    partition_index: partition.partition,
                    current_leader_epoch: -1,
                    timestamp: spec.on_wire(),
                });
        }
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: IsolationLevel::READ_UNCOMMITTED,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| ListOffsetsTopic { name, partitions })
                .collect(),
            timeout_ms: self.request_timeout().as_millis() as i32,
        };
        self.call_broker(leader, &request).await
    }
}

/// Takes the offsets out of an answer. An error that may pass is returned, to be tried again.
fn absorb(
    response: ListOffsetsResponse,
    found: &mut BTreeMap<TopicPartition, FoundOffset>,
) -> Result<Option<ClientError>, ClientError> {
    let mut failure = None;
    for topic in response.topics {
        for partition in topic.partitions {
            let key = TopicPartition::new(topic.name.clone(), partition.partition_index);
            match check(partition.error_code, format!("find an offset in {key}")) {
                Ok(()) => {
                    let offset = (partition.offset >= 0).then_some(Offset(partition.offset));
                    let timestamp = TimestampMs(partition.timestamp);
                    let leader_epoch = LeaderEpoch(partition.leader_epoch);
                    found.insert(
                        key,
                        FoundOffset {
                            offset,
                            timestamp,
                            leader_epoch,
                        },
                    );
                }
                Err(error) if error.is_retriable() => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(failure)
}
