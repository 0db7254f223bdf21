//! DeleteTopics.

use std::sync::Arc;

use millstream_broker::Broker;
use millstream_broker::topics::TopicHandle;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::delete_topics::{DeletableTopicResult, DeleteTopicState};
use millstream_kafka_wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use crate::api::{named_once, resolve};
use crate::dispatch::Call;
use crate::errors::Refusal;

/// Deletes topics by name or, since version 6, by id.
pub(crate) async fn delete_topics(
    call: Arc<Call>,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = request.topic_names.into_iter();
    let by_name = by_name.map(|name| DeleteTopicState {
        name: Some(name),
        topic_id: Uuid::nil(),
    });
    let asked: Vec<_> = by_name.chain(request.topics).collect();

    let mut responses = Vec::with_capacity(asked.len());
    for topic in named_once(asked, |topic| (topic.name.clone(), topic.topic_id)) {
        if !call.has_room(size_of::<DeletableTopicResult>()).await {
            break;
        }
        responses.push(match topic {
            Ok(topic) => match delete(&call.server.broker, &topic).await {
                Ok(deleted) => DeletableTopicResult {
                    name: Some(deleted.name().as_str().into()),
                    topic_id: deleted.id().0,
                    ..Default::default()
                },
                Err(refusal) => refused(topic, &refusal),
            },
            Err((name, topic_id)) => {
                let refusal = Refusal::new(
                    ErrorCode::INVALID_REQUEST,
                    "the topic is named more than once",
                );
                refused(DeleteTopicState { name, topic_id }, &refusal)
            }
        });
    }
    DeleteTopicsResponse {
        responses,
        ..Default::default()
    }
}

async fn delete(broker: &Broker, asked: &DeleteTopicState) -> Result<Arc<TopicHandle>, Refusal> {
    let topic = match (&asked.name, asked.topic_id.is_nil()) {
        (Some(name), true) => resolve::topic_by_name(broker, name)?,
        (None, false) => resolve::topic_by_id(broker, asked.topic_id)?,
        _ => {
            return Err(Refusal::new(
                ErrorCode::INVALID_REQUEST,
                "name the topic either by its name or by its id",
            ));
        }
    };
    broker.delete_topic(topic.id()).await?;
    Ok(topic)
}

fn refused(asked: DeleteTopicState, refusal: &Refusal) -> DeletableTopicResult {
    DeletableTopicResult {
        name: asked.name,
        topic_id: asked.topic_id,
        error_code: refusal.code,
        error_message: refusal.text(),
    }
}
