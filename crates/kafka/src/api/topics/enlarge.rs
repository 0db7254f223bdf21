//! CreatePartitions: more partitions for topics that exist.

use std::sync::Arc;

use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::create_partitions::{
    CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use millstream_kafka_wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::check_assignment;
use crate::api::{named_once, resolve};
use crate::dispatch::Call;
use crate::errors::Refusal;

/// Enlarges topics, or only says whether it could.
pub(crate) async fn create_partitions(
    call: Arc<Call>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in named_once(request.topics, |topic| topic.name.clone()) {
        let (name, enlarged) = match topic {
            Ok(topic) => {
                let enlarged = enlarge(&call, &topic, request.validate_only).await;
                (topic.name, enlarged)
            }
            Err(name) => {
                let message = format!("topic {name} is named more than once");
                (name, Err(Refusal::new(ErrorCode::INVALID_REQUEST, message)))
            }
        };
        let result = match enlarged {
            Ok(()) => CreatePartitionsTopicResult {
                name,
                ..Default::default()
            },
            Err(refusal) => CreatePartitionsTopicResult {
                name,
                error_code: refusal.code,
                error_message: refusal.text(),
            },
        };
        let text = result.error_message.as_ref().map_or(0, |text| text.len());
        if !call
            .has_room(size_of::<CreatePartitionsTopicResult>() + text)
            .await
        {
            break;
        }
        results.push(result);
    }
    CreatePartitionsResponse {
        results,
        ..Default::default()
    }
}

async fn enlarge(
    call: &Call,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let broker = &call.server.broker;
    let topic = resolve::topic_by_name(broker, &asked.name)?;
    let total = u32::try_from(asked.count).map_err(|_| {
        Refusal::new(
            ErrorCode::INVALID_PARTITIONS,
            format!(
                "{} partitions: ask for how many there are to be",
                asked.count
            ),
        )
    })?;
    if let Some(assignments) = &asked.assignments {
        let added = i64::from(total) - i64::from(topic.partition_count());
        if added > 0 && assignments.len() as i64 != added {
            return Err(Refusal::new(
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                format!(
                    "{added} partitions are added, but replicas of {} are assigned",
                    assignments.len()
                ),
            ));
        }
        for assignment in assignments {
            check_assignment(&assignment.broker_ids, call.server.settings.node_id)?;
        }
    }
    if validate_only {
        broker.check_add_partitions(topic.id(), total)?;
    } else {
        broker.add_partitions(topic.id(), total).await?;
    }
    Ok(())
}
