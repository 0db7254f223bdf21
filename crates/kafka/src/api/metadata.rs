//! Metadata and DescribeTopicPartitions: which topics there are, and that this node leads all of them.

use std::sync::Arc;

use millstream_broker::topics::TopicHandle;
use millstream_kafka_wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use millstream_kafka_wire::messages::metadata::{
    MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use millstream_kafka_wire::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest,
    MetadataResponse,
};
use millstream_kafka_wire::{ErrorCode, Str};
use millstream_limits::DESCRIBED_PARTITIONS_MAX;
use tokio::task::coop::consume_budget;

use super::cluster::CLUSTER_OPERATIONS;
use super::{OPERATIONS_NOT_ASKED, resolve, without_repeats};
use crate::dispatch::Call;
use crate::errors::Refusal;

/// Everything one may do to a topic, as a bit per operation of Kafka's ACLs: read (3), write (4), create (5),
/// delete (6), alter (7), describe (8), describe configs (10), alter configs (11).
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// Tells of the topics asked for, creating those that are new where the client and the server's settings allow it.
pub(crate) async fn metadata(call: Arc<Call>, request: MetadataRequest) -> MetadataResponse {
    let server = &call.server;
    let topic_operations = operations(
        request.include_topic_authorized_operations,
        TOPIC_OPERATIONS,
    );
    let topics = match asked_for(request.topics, call.version) {
        None => {
            let mut topics = Vec::new();
            for topic in server.broker.topics() {
                consume_budget().await;
                topics.push(describe(&topic, server.settings.node_id, topic_operations));
            }
            topics
        }
        Some(asked) => {
            let mut topics = Vec::new();
            for topic in asked {
                if !call.has_room(size_of::<MetadataResponseTopic>()).await {
                    break;
                }
                topics.push(
                    find(
                        &call,
                        &topic,
                        request.allow_auto_topic_creation,
                        topic_operations,
                    )
                    .await,
                );
            }
            topics
        }
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: server.settings.node_id,
            host: server.advertised.host.as_str().into(),
            port: server.advertised.port.into(),
            rack: None,
        }],
        cluster_id: Some(server.broker.cluster_id().into()),
        controller_id: server.settings.node_id,
        topics,
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..Default::default()
    }
}

/// The topics a request names, each once; `None` for all there are.
fn asked_for(
    topics: Option<Vec<MetadataRequestTopic>>,
    version: i16,
) -> Option<impl Iterator<Item = MetadataRequestTopic>> {
    let topics = topics.filter(|topics| version > 0 || !topics.is_empty())?;
    Some(without_repeats(topics, |topic| {
        (topic.name.clone(), topic.topic_id)
    }))
}

async fn find(
    call: &Call,
    asked: &MetadataRequestTopic,
    may_create: bool,
    operations: i32,
) -> MetadataResponseTopic {
    let broker = &call.server.broker;
    let found = match &asked.name {
        None => resolve::topic_by_id(broker, asked.topic_id).map_err(Refusal::from),
        Some(name) if !asked.topic_id.is_nil() => {
            // A name beside an id is a mistake of the client's; Kafka goes by the id.
            resolve::topic_by_id(broker, asked.topic_id)
                .map_err(Refusal::from)
                .and_then(|topic| {
                    if topic.name().as_str() == &**name {
                        Ok(topic)
                    } else {
                        Err(ErrorCode::INCONSISTENT_TOPIC_ID.into())
                    }
                })
        }
        Some(name) => find_or_create(call, name, may_create).await,
    };
    match found {
        Ok(topic) => describe(&topic, call.server.settings.node_id, operations),
        Err(refusal) => MetadataResponseTopic {
            error_code: refusal.code,
            name: asked.name.clone(),
            topic_id: asked.topic_id,
            ..Default::default()
        },
    }
}

async fn find_or_create(
    call: &Call,
    name: &str,
    may_create: bool,
) -> Result<Arc<TopicHandle>, Refusal> {
    let broker = &call.server.broker;
    if let Some(topic) = broker.topic(name) {
        return Ok(topic);
    }
    resolve::check_topic_name(name)?;
    if !may_create || !broker.settings().auto_create_topics {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into());
    }
    Ok(broker.ensure_topic(name).await?)
}

fn describe(topic: &Arc<TopicHandle>, node_id: i32, operations: i32) -> MetadataResponseTopic {
    let partitions = topic
        .partitions()
        .into_iter()
        .map(|partition| MetadataResponsePartition {
            partition_index: partition.index() as i32,
            leader_id: node_id,
            leader_epoch: partition.offsets().leader_epoch.0,
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            ..Default::default()
        });
    MetadataResponseTopic {
        name: Some(topic.name().as_str().into()),
        topic_id: topic.id().0,
        partitions: partitions.collect(),
        topic_authorized_operations: operations,
        ..Default::default()
    }
}

fn operations(asked: bool, operations: i32) -> i32 {
    if asked {
        operations
    } else {
        OPERATIONS_NOT_ASKED
    }
}

/// Tells of the topics asked for, or all, a page at a time (KIP-966). Topics are never created by it.
pub(crate) async fn describe_topic_partitions(
    call: Arc<Call>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let broker = &call.server.broker;
    let mut topics: Vec<(Str, Option<Arc<TopicHandle>>)> = if request.topics.is_empty() {
        let all = broker.topics().into_iter();
        all.map(|topic| (Str::from(topic.name().as_str()), Some(topic)))
            .collect()
    } else {
        let named = request.topics.into_iter();
        named
            .map(|topic| (topic.name.clone(), broker.topic(&topic.name)))
            .collect()
    };
    topics.sort_by(|(one, _), (other, _)| one.cmp(other));
    topics.dedup_by(|(one, _), (other, _)| one == other);

    let mut page = Page::new(
        request.response_partition_limit,
        call.server.settings.node_id,
    );
    let (first_topic, first_partition) = match &request.cursor {
        Some(cursor) => (
            &*cursor.topic_name,
            u32::try_from(cursor.partition_index).unwrap_or(0),
        ),
        None => ("", 0),
    };
    for (name, topic) in topics {
        let bytes = size_of::<DescribeTopicPartitionsResponseTopic>();
        if !call.has_room(bytes).await {
            break;
        }
        if &*name < first_topic {
            continue;
        }
        let from = if &*name == first_topic {
            first_partition
        } else {
            0
        };
        if let Some(next_cursor) = page.add(name, topic.as_ref(), from) {
            return DescribeTopicPartitionsResponse {
                topics: page.topics,
                next_cursor: Some(next_cursor),
                ..Default::default()
            };
        }
    }
    DescribeTopicPartitionsResponse {
        topics: page.topics,
        ..Default::default()
    }
}

/// A page that is being filled.
struct Page {
    node_id: i32,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    partitions_left: usize,
}

impl Page {
    fn new(limit: i32, node_id: i32) -> Page {
        let limit = usize::try_from(limit)
            .unwrap_or(0)
            .clamp(1, DESCRIBED_PARTITIONS_MAX);
        Page {
            node_id,
            topics: Vec::new(),
            partitions_left: limit,
        }
    }

    /// Adds the partitions of a topic from index `from` on. If the page is full before, says where the next begins.
    fn add(&mut self, name: Str, topic: Option<&Arc<TopicHandle>>, from: u32) -> Option<Cursor> {
        let Some(topic) = topic else {
            self.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: match resolve::check_topic_name(&name) {
                    Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    Err(refusal) => refusal.code,
                },
                name: Some(name),
                ..Default::default()
            });
            return None;
        };
        if self.partitions_left == 0 {
            return Some(Cursor {
                topic_name: name,
                partition_index: from as i32,
            });
        }
        let rest = topic
            .partitions()
            .into_iter()
            .skip(from as usize)
            .take(self.partitions_left);
        let partitions: Vec<_> = rest
            .map(|partition| DescribeTopicPartitionsResponsePartition {
                partition_index: partition.index() as i32,
                leader_id: self.node_id,
                leader_epoch: partition.offsets().leader_epoch.0,
                replica_nodes: vec![self.node_id],
                isr_nodes: vec![self.node_id],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..Default::default()
            })
            .collect();
        self.partitions_left -= partitions.len();
        let next = from as usize + partitions.len();
        self.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.clone()),
            topic_id: topic.id().0,
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..Default::default()
        });
        (next < topic.partition_count() as usize).then(|| Cursor {
            topic_name: name,
            partition_index: next as i32,
        })
    }
}
