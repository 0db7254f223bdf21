//! Consumer groups: their members and what they have committed.

use std::collections::BTreeMap;

use millstream_kafka_wire::consumer_protocol::{ConsumerProtocolAssignment, decode_blob};
use millstream_kafka_wire::messages::describe_groups::DescribedGroupMember;
use millstream_kafka_wire::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_kafka_wire::messages::offset_delete::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millstream_kafka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use millstream_kafka_wire::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetFetchRequest,
};
use millstream_kafka_wire::{ErrorCode, Str};
use millstream_record::{LeaderEpoch, Offset};

use crate::admin::offsets::TopicPartition;
use crate::client::Client;
use crate::error::{ClientError, check, check_with};

/// A group in a list.
#[derive(Debug, Clone)]
pub struct GroupListing {
    /// Its name.
    pub id: String,
    /// Its state, as the server calls it; empty from a server before Kafka 2.6.
    pub state: String,
    /// What its members speak: `consumer` for consumers.
    pub protocol_type: String,
}

/// A group and its members.
#[derive(Debug, Clone)]
pub struct GroupDescription {
    /// Its name.
    pub id: String,
    /// `Dead`, `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
    pub state: String,
    /// The assignor.
    pub assignor: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone)]
pub struct GroupMember {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// A static member's own name.
    pub instance_id: Option<String>,
    /// What it calls itself.
    pub client_id: String,
    /// Where it connected from.
    pub host: String,
    /// What it reads.
    pub assignment: Vec<TopicPartition>,
}

/// A place that a group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Offset of the next record to read.
    pub offset: Offset,
    /// The leadership under which the record before it was written.
    pub leader_epoch: LeaderEpoch,
    /// What the group noted beside it.
    pub metadata: String,
}

impl CommittedOffset {
    /// A place without anything beside it.
    pub fn new(offset: Offset) -> Self {
        Self {
            offset,
            leader_epoch: LeaderEpoch::NONE,
            metadata: String::new(),
        }
    }
}

/// Who commits.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    pub member_id: Str,
    pub instance_id: Option<Str>,
    pub generation: i32,
}

impl Committer {
    /// Somebody from outside, which a group takes while it has no members.
    fn outsider() -> Self {
        Self {
            member_id: Str::new(),
            instance_id: None,
            generation: -1,
        }
    }
}

impl Client {
    /// The groups of all brokers, by name.
    pub async fn groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        let mut groups = BTreeMap::new();
        for broker in self.brokers() {
            let response = self.list_groups_of(broker.id).await?;
            for group in response.groups {
                groups.insert(
                    group.group_id.to_string(),
                    GroupListing {
                        id: group.group_id.to_string(),
                        state: group.group_state.to_string(),
                        protocol_type: group.protocol_type.to_string(),
                    },
                );
            }
        }
        Ok(groups.into_values().collect())
    }

    async fn list_groups_of(
        &self,
        broker: i32,
    ) -> Result<millstream_kafka_wire::messages::ListGroupsResponse, ClientError> {
        let mut backoff = self.backoff();
        loop {
            let outcome = self
                .call_broker(broker, &ListGroupsRequest::default())
                .await;
            match outcome
                .and_then(|response| check(response.error_code, "list groups").map(|()| response))
            {
                Err(error) => backoff.pause(error).await?,
                listed => return listed,
            }
        }
    }

    /// One group. A group that does not exist is described as `Dead`, as Kafka does.
    pub async fn describe_group(&self, id: &str) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest {
            groups: vec![id.into()],
            include_authorized_operations: false,
        };
        let code = |response: &millstream_kafka_wire::messages::DescribeGroupsResponse| {
            response
                .groups
                .first()
                .map_or(ErrorCode::NONE, |group| group.error_code)
        };
        let response = self.call_coordinator(id, &request, code).await?;
        let group = response
            .groups
            .into_iter()
            .next()
            .ok_or(ClientError::Incomplete("DescribeGroups"))?;
        // Version 6 tells this apart; before it, a group that does not exist was just dead (KIP-1043).
        if group.error_code != ErrorCode::GROUP_ID_NOT_FOUND {
            check_with(
                group.error_code,
                format!("describe group '{id}'"),
                group.error_message,
            )?;
        }
        Ok(GroupDescription {
            id: id.to_owned(),
            state: if group.error_code.is_error() {
                "Dead".to_owned()
            } else {
                group.group_state.to_string()
            },
            assignor: group.protocol_data.to_string(),
            members: group.members.iter().map(to_member).collect(),
        })
    }

    /// Deletes a group that has no members, and what it has committed.
    pub async fn delete_group(&self, id: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest {
            groups_names: vec![id.into()],
        };
        let code = |response: &millstream_kafka_wire::messages::DeleteGroupsResponse| {
            response
                .results
                .first()
                .map_or(ErrorCode::NONE, |result| result.error_code)
        };
        let response = self.call_coordinator(id, &request, code).await?;
        let result = response
            .results
            .into_iter()
            .next()
            .ok_or(ClientError::Incomplete("DeleteGroups"))?;
        check(result.error_code, format!("delete group '{id}'"))
    }

    /// What a group has committed: in `partitions`, or everywhere with `None`.
    pub async fn group_offsets(
        &self,
        id: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let by_topic = partitions.map(by_topic);
        let old = |(name, indexes): (&Str, &Vec<i32>)| OffsetFetchRequestTopic {
            name: name.clone(),
            partition_indexes: indexes.clone(),
        };
        let new = |(name, indexes): (&Str, &Vec<i32>)| OffsetFetchRequestTopics {
            name: name.clone(),
            partition_indexes: indexes.clone(),
            ..Default::default()
        };
        let request = OffsetFetchRequest {
            group_id: id.into(),
            topics: by_topic
                .as_ref()
                .map(|topics| topics.iter().map(old).collect()),
            groups: vec![OffsetFetchRequestGroup {
                group_id: id.into(),
                topics: by_topic
                    .as_ref()
                    .map(|topics| topics.iter().map(new).collect()),
                ..Default::default()
            }],
            require_stable: false,
        };
        let response = self
            .call_coordinator(id, &request, offset_fetch_code)
            .await?;
        check(
            offset_fetch_code(&response),
            format!("read the offsets of group '{id}'"),
        )?;
        committed_in(response, id)
    }

    /// Sets what a group without members has committed.
    pub async fn commit_group_offsets(
        &self,
        id: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), ClientError> {
        self.commit_offsets(id, &Committer::outsider(), offsets)
            .await
    }

    pub(crate) async fn commit_offsets(
        &self,
        group: &str,
        committer: &Committer,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let request = offset_commit(group, committer, offsets);
        let code = |response: &OffsetCommitResponse| {
            let mut codes = response
                .topics
                .iter()
                .flat_map(|topic| &topic.partitions)
                .map(|partition| partition.error_code);
            codes
                .find(|code| code.is_error())
                .unwrap_or(ErrorCode::NONE)
        };
        // A partition that is not there has been deleted: there is nothing to wait for.
        let passing = |response: &OffsetCommitResponse| match code(response) {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => ErrorCode::NONE,
            code => code,
        };
        let response = self.call_coordinator(group, &request, passing).await?;
        check(
            code(&response),
            format!("commit offsets of group '{group}'"),
        )
    }

    /// Forgets what a group has committed in `partitions`, none of which it may be reading.
    pub async fn delete_group_offsets(
        &self,
        id: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        let topics =
            by_topic(partitions)
                .into_iter()
                .map(|(name, indexes)| OffsetDeleteRequestTopic {
                    name,
                    partitions: indexes
                        .into_iter()
                        .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                        .collect(),
                });
        let request = OffsetDeleteRequest {
            group_id: id.into(),
            topics: topics.collect(),
        };
        let response = self
            .call_coordinator(id, &request, |response| response.error_code)
            .await?;
        let action = || format!("delete offsets of group '{id}'");
        check(response.error_code, action())?;
        let mut results = response.topics.iter().flat_map(|topic| &topic.partitions);
        results.try_for_each(|result| check(result.error_code, action()))
    }
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<Str, Vec<i32>> {
    let mut topics = BTreeMap::<_, Vec<_>>::new();
    for partition in partitions {
        topics
            .entry(partition.topic.clone())
            .or_default()
            .push(partition.partition);
    }
    topics
}

fn to_member(member: &DescribedGroupMember) -> GroupMember {
    // A member that speaks something else has an assignment that is not for us to read.
    let assignment: ConsumerProtocolAssignment =
        decode_blob(&member.member_assignment).unwrap_or_default();
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.trim_start_matches('/').to_owned(),
        assignment: assigned_partitions(&assignment),
    }
}

/// The partitions of an assignment, in its order.
pub(crate) fn assigned_partitions(assignment: &ConsumerProtocolAssignment) -> Vec<TopicPartition> {
    let topics = assignment.assigned_partitions.iter();
    topics
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|&partition| TopicPartition::new(topic.topic.clone(), partition))
        })
        .collect()
}

fn offset_fetch_code(response: &OffsetFetchResponse) -> ErrorCode {
    response
        .groups
        .first()
        .map_or(response.error_code, |group| group.error_code)
}

fn committed_in(
    response: OffsetFetchResponse,
    id: &str,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    let mut committed = BTreeMap::new();
    let action =
        |partition: &TopicPartition| format!("read the offset of group '{id}' in {partition}");
    for topic in response.topics {
        for it in topic.partitions {
            let partition = TopicPartition::new(topic.name.clone(), it.partition_index);
            check(it.error_code, action(&partition))?;
            if let Some(offset) =
                committed_offset(it.committed_offset, it.committed_leader_epoch, it.metadata)
            {
                committed.insert(partition, offset);
            }
        }
    }
    for topic in response.groups.into_iter().flat_map(|group| group.topics) {
        for it in topic.partitions {
            let partition = TopicPartition::new(topic.name.clone(), it.partition_index);
            check(it.error_code, action(&partition))?;
            if let Some(offset) =
                committed_offset(it.committed_offset, it.committed_leader_epoch, it.metadata)
            {
                committed.insert(partition, offset);
            }
        }
    }
    Ok(committed)
}

fn committed_offset(
    offset: i64,
    leader_epoch: i32,
    metadata: Option<Str>,
) -> Option<CommittedOffset> {
    (offset >= 0).then(|| CommittedOffset {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(leader_epoch),
        metadata: metadata.unwrap_or_default().to_string(),
    })
}

fn offset_commit(
    group: &str,
    committer: &Committer,
    offsets: &BTreeMap<TopicPartition, CommittedOffset>,
) -> OffsetCommitRequest {
    let mut topics = BTreeMap::<&Str, Vec<_>>::new();
    for (partition, committed) in offsets {
        topics
            .entry(&partition.topic)
            .or_default()
            .push(OffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: committed.offset.0,
                committed_leader_epoch: committed.leader_epoch.0,
                committed_metadata: Some(committed.metadata.as_str().into()),
            });
    }
    let topic = |(name, partitions): (&Str, _)| OffsetCommitRequestTopic {
        name: name.clone(),
        partitions,
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: committer.generation,
        member_id: committer.member_id.clone(),
        group_instance_id: committer.instance_id.clone(),
        retention_time_ms: -1,
        topics: topics.into_iter().map(topic).collect(),
    }
}
