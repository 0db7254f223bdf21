//! CreateTopics.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_broker::topics::NewTopic;
use millstream_broker::{BrokerError, TopicSettings};
use millstream_kafka_wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs,
    CreatableTopicResult,
};
use millstream_kafka_wire::messages::{CreateTopicsRequest, CreateTopicsResponse};
use millstream_kafka_wire::{ErrorCode, Str};
use uuid::Uuid;

use super::check_assignment;
use crate::api::configs::{Detail, topic_configs};
use crate::api::{REPLICATION_FACTOR, named_once, resolve};
use crate::dispatch::Call;
use crate::errors::Refusal;

/// What a request says to leave a number to the broker, or to the assignments.
const UNSET: i32 = -1;

/// Creates topics, or only says whether it could.
pub(crate) async fn create_topics(
    call: Arc<Call>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in named_once(request.topics, |topic| topic.name.clone()) {
        let (name, created) = match topic {
            Ok(topic) => (
                topic.name.clone(),
                create(&call, topic, request.validate_only).await,
            ),
            Err(name) => {
                let message = format!("topic {name} is named more than once");
                (name, Err(Refusal::new(ErrorCode::INVALID_REQUEST, message)))
            }
        };
        let result = match created {
            Ok(created) => result(name, &created),
            Err(refusal) => CreatableTopicResult {
                name,
                error_code: refusal.code,
                error_message: refusal.text(),
                configs: None,
                ..Default::default()
            },
        };
        if !call.has_room(memory_bytes(&result)).await {
            break;
        }
        topics.push(result);
    }
    CreateTopicsResponse {
        topics,
        ..Default::default()
    }
}

fn memory_bytes(result: &CreatableTopicResult) -> usize {
    let configs = result.configs.as_ref().map_or(0, Vec::len);
    let message = result.error_message.as_ref().map_or(0, |text| text.len());
    size_of::<CreatableTopicResult>() + message + configs * size_of::<CreatableTopicConfigs>()
}

/// What a topic is created with, or would be.
struct Created {
    id: Uuid,
    partition_count: u32,
    settings: TopicSettings,
}

async fn create(
    call: &Call,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<Created, Refusal> {
    resolve::check_topic_name(&topic.name)?;
    let broker = &call.server.broker;
    if let Some(topic) = broker.topic(&topic.name) {
        // Whatever else is wrong: who creates what may be there looks for this answer.
        return Err(BrokerError::TopicExists(topic.name().clone()).into());
    }
    let partitions = if topic.assignments.is_empty() {
        check_replication_factor(
            topic.replication_factor,
            call.server.settings.any_replication_factor,
        )?;
        partition_count(topic.num_partitions)?
    } else {
        Some(assigned_partitions(&topic, call.server.settings.node_id)?)
    };
    let settings = settings(&topic.configs)?;
    let new = NewTopic {
        name: topic.name.to_string(),
        partitions,
        settings,
    };
    if validate_only {
        let planned = broker.check_create(&new)?;
        return Ok(Created {
            id: Uuid::nil(),
            partition_count: planned.partition_count,
            settings: planned.settings,
        });
    }
    let handle = broker.create_topic(new).await?;
    Ok(Created {
        id: handle.id().0,
        partition_count: handle.partition_count(),
        settings: handle.current().settings.clone(),
    })
}

fn check_replication_factor(factor: i16, any: bool) -> Result<(), Refusal> {
    match factor {
        REPLICATION_FACTOR => Ok(()),
        _ if i32::from(factor) == UNSET => Ok(()),
        2.. if any => Ok(()),
        _ => Err(Refusal::new(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            format!(
                "replication factor {factor}: this is one server, so it can be 1, or -1 for the default; \
                 start the server with --any-replication-factor=true to take others as 1"
            ),
        )),
    }
}

fn partition_count(asked: i32) -> Result<Option<u32>, Refusal> {
    match u32::try_from(asked) {
        Ok(count) => Ok(Some(count)),
        Err(_) if asked == UNSET => Ok(None),
        Err(_) => Err(Refusal::new(
            ErrorCode::INVALID_PARTITIONS,
            format!("{asked} partitions: ask for at least 1, or for -1 to get the default"),
        )),
    }
}

/// The number of partitions that a manual assignment amounts to.
fn assigned_partitions(topic: &CreatableTopic, node_id: i32) -> Result<u32, Refusal> {
    if topic.num_partitions != UNSET || i32::from(topic.replication_factor) != UNSET {
        return Err(Refusal::new(
            ErrorCode::INVALID_REQUEST,
            "with assigned replicas, the number of partitions and the replication factor must both be -1",
        ));
    }
    let mut indexes: Vec<i32> = Vec::with_capacity(topic.assignments.len());
    for CreatableReplicaAssignment {
        partition_index,
        broker_ids,
    } in &topic.assignments
    {
        check_assignment(broker_ids, node_id)?;
        indexes.push(*partition_index);
    }
    indexes.sort_unstable();
    if indexes
        .iter()
        .zip(0..)
        .all(|(&index, expected)| index == expected)
    {
        return Ok(indexes.len() as u32);
    }
    Err(Refusal::new(
        ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        "the assigned partitions must be numbered from 0 on, each once",
    ))
}

fn settings(configs: &[CreatableTopicConfig]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut settings = BTreeMap::new();
    for CreatableTopicConfig { name, value } in configs {
        let Some(value) = value else {
            return Err(Refusal::new(
                ErrorCode::INVALID_CONFIG,
                format!("{name} has no value: give one or leave it out"),
            ));
        };
        settings.insert(name.to_string(), value.to_string());
    }
    Ok(settings)
}

fn result(name: Str, created: &Created) -> CreatableTopicResult {
    let configs = topic_configs(&created.settings, Detail::default());
    let configs = configs.map(|config| CreatableTopicConfigs {
        name: config.name,
        value: config.value,
        read_only: config.read_only,
        config_source: config.config_source,
        is_sensitive: false,
    });
    CreatableTopicResult {
        name,
        topic_id: created.id,
        error_message: None,
        num_partitions: created.partition_count as i32,
        replication_factor: REPLICATION_FACTOR,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}
