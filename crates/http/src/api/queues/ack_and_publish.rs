//! Acknowledging messages and publishing what came of them, both or neither.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use millstream_broker::Broker;
use millstream_broker::produce::{NewMessage, Published};
use millstream_broker::queues::{QueueHandle, Receipt};
use millstream_broker::topics::TopicHandle;
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
    publish: Parts<'a>,
}

/// What is to be published, topic by topic, as it stands in JSON.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Parts<'a>(#[serde(borrow)] Vec<Object<ToPublish<'a>>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToPublish<'a> {
    #[serde(borrow)]
    topic: Text<'a>,
    #[serde(borrow)]
    records: Vec<Object<JsonRecord<'a>>>,
}

/// Where records went, topic by topic.
pub(crate) type PublishedParts = Vec<(Arc<TopicHandle>, Vec<Published>)>;

impl Parts<'_> {
    /// Reads the records, which stand in `body`.
    pub(crate) fn read(
        &self,
        body: &Bytes,
        now_ms: i64,
    ) -> Result<Vec<(String, Vec<NewMessage>)>, Problem> {
        check_count(self.0.iter().map(|one| one.0.records.len()).sum())?;
        let (mut parts, mut count) = (Vec::with_capacity(self.0.len()), 0);
        for (at, Object(one)) in self.0.iter().enumerate() {
            let read = messages(body, &one.records, count, now_ms);
            let read = read.map_err(|problem| problem.within(&format!("publish[{at}].")))?;
            count += read.len() as u32;
            parts.push((one.topic.0.to_string(), read));
        }
        Ok(parts)
    }
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
    let parts = asked.publish.read(&payload.bytes, app.now_ms())?;
    let published = carry_out(&app.broker, &queue, &asked.receipts, parts).await?;
    let mut json = JsonBuffer::default();
    json.raw("{");
    write(&mut json, &published);
    json.raw("}");
    Ok(json.into_response())
}

/// Does it.
pub(crate) async fn carry_out(
    broker: &Broker,
    queue: &QueueHandle,
    receipts: &[Sent],
    parts: Vec<(String, Vec<NewMessage>)>,
) -> Result<PublishedParts, Problem> {
    let receipts = all_valid(of_queue(queue, receipts)?)?;
    let find = |(name, messages): (String, _)| Ok((topics::find(broker, &name)?, messages));
    let parts: Vec<_> = parts
        .into_iter()
        .map(find)
        .collect::<Result<_, Problem>>()?;
    let published = queue.ack_and_publish(&receipts, &parts).await;
    let published = published
        .map_err(|error| Problem::from(error).at_record(|record| pointer(&parts, record)))?;
    let topics = parts.into_iter().map(|(topic, _)| topic);
    Ok(topics.zip(published).collect())
}

/// Where in the request it is said what is expected of a record.
fn pointer(parts: &[(Arc<TopicHandle>, Vec<NewMessage>)], mut record: u32) -> String {
    let mut part = 0;
    while let Some((_, messages)) = parts.get(part)
        && record >= messages.len() as u32
    {
        record -= messages.len() as u32;
        part += 1;
    }
    format!("#/publish/{part}/records/{record}/expected")
}

/// `"published":[{"topic":…,"records":[…]},…]`, without braces around it.
pub(crate) fn write(json: &mut JsonBuffer, parts: &PublishedParts) {
    json.raw("\"published\":[");
    for (at, (topic, published)) in parts.iter().enumerate() {
        json.raw(if at == 0 { "{" } else { ",{" });
        write_published(json, topic.name().as_str(), published);
        json.raw("}");
    }
    json.raw("]");
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
