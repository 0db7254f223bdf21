//! Acknowledging messages and publishing what came of them, both or neither.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use millstream_broker::queues::Receipt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::find;
use super::settle::{NO_RECEIPT, Sent, of_queue};
use crate::api::records::message::{JsonRecord, Text, check_count, messages};
use crate::api::records::publish::{PublishedSchema, write_published};
use crate::api::records::schema::RecordSchema;
use crate::api::topics;
use crate::app::App;
use crate::body::{Object, Payload};
use crate::extract::InPath;
use crate::json::JsonBuffer;
use crate::problem::{Kind, Problem};

/// Messages that are done, and what came of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AckAndPublish, example = json!({"receipts": ["1-2-0-7"], "publish": [{"topic": "results", "records": [{"value": "done"}]}]}))]
pub(crate) struct AckAndPublishSchema {
    /// The receipts that came with the messages.
    #[schema(max_items = 10_000)]
    receipts: Vec<String>,
    /// What is to be published, topic by topic.
    publish: Vec<ToPublishSchema>,
}

/// Records for one topic.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToPublish)]
pub(crate) struct ToPublishSchema {
    /// The topic.
    topic: String,
    /// The records.
    #[schema(max_items = 10_000)]
    records: Vec<RecordSchema>,
}

/// Where records went, topic by topic.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PublishedByTopic)]
pub(crate) struct PublishedByTopicSchema {
    /// In the order in which they came.
    published: Vec<PublishedSchema>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckAndPublish<'a> {
    receipts: Vec<Sent>,
    #[serde(borrow)]
    publish: Vec<Object<ToPublish<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToPublish<'a> {
    #[serde(borrow)]
    topic: Text<'a>,
    #[serde(borrow)]
    records: Vec<Object<JsonRecord<'a>>>,
}

/// Acknowledge messages and publish what came of them, in one commit: both or neither.
///
/// If one of the receipts is not valid any more, nothing is acknowledged and nothing published.
#[utoipa::path(post, path = "/v1/queues/{queue}/ack-and-publish", tag = "queues", operation_id = "ack_and_publish",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = AckAndPublishSchema,
    responses((status = 200, description = "All of it has happened.", body = PublishedByTopicSchema)))]
pub(crate) async fn ack_and_publish(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: AckAndPublish<'_> = payload.json_in_place()?;
    check_count(asked.publish.iter().map(|one| one.0.records.len()).sum())?;
    let receipts = all_valid(of_queue(&queue, &asked.receipts)?)?;
    let mut parts = Vec::with_capacity(asked.publish.len());
    for (at, Object(one)) in asked.publish.iter().enumerate() {
        let topic = topics::find(&app.broker, &one.topic.0)?;
        let messages = messages(&payload.bytes, &one.records, app.now_ms());
        let messages = messages.map_err(|problem| problem.within(&format!("publish[{at}].")))?;
        parts.push((topic, messages));
    }
    let published = queue.ack_and_publish(&receipts, &parts).await?;
    let mut json = JsonBuffer::default();
    json.raw("{\"published\":[");
    for (at, ((topic, _), published)) in parts.iter().zip(&published).enumerate() {
        json.raw(if at == 0 { "{" } else { ",{" });
        write_published(&mut json, topic.name().as_str(), published);
        json.raw("}");
    }
    json.raw("]}");
    Ok(json.into_response())
}

fn all_valid(receipts: Vec<Option<Receipt>>) -> Result<Vec<Receipt>, Problem> {
    let mut valid = Vec::with_capacity(receipts.len());
    for (index, receipt) in receipts.into_iter().enumerate() {
        let receipt = receipt.ok_or_else(|| {
            let detail = format!(
                "receipt {index} is refused: {NO_RECEIPT}; nothing was published or acknowledged"
            );
            Problem::new(Kind::RECEIPT_LOST, detail)
        })?;
        valid.push(receipt);
    }
    Ok(valid)
}
