//! Publishing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use millstream_broker::produce::{NewMessage, Published};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::message::{self, PublishSchema};
use super::{cloudevents, raw};
use crate::api::topics;
use crate::app::App;
use crate::body::Payload;
use crate::extract::{InPath, InQuery};
use crate::json::JsonBuffer;
use crate::problem::{Kind, Problem};

/// What a raw body or an event does not say itself.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PublishQuery {
    /// The record's key; also the header `Millstream-Key`. Only with raw bodies and events, as all parameters.
    pub(crate) key: Option<String>,
    /// Where it goes; the key decides if left out.
    pub(crate) partition: Option<u32>,
    /// When it was made, in milliseconds since the epoch; now if left out.
    #[param(minimum = 0)]
    pub(crate) timestamp: Option<i64>,
    /// From 0 to 9, the highest first, in queues with priorities.
    #[param(maximum = 9)]
    pub(crate) priority: Option<u8>,
    /// Queues with delays do not deliver it before this time has passed.
    pub(crate) delay_ms: Option<u64>,
    /// Or before this moment, in milliseconds since the epoch.
    #[param(minimum = 0)]
    pub(crate) deliver_at: Option<i64>,
    /// Queues that mind it let the record expire after this time.
    pub(crate) ttl_ms: Option<u64>,
    /// Or at this moment, in milliseconds since the epoch.
    #[param(minimum = 0)]
    pub(crate) expires_at: Option<i64>,
    /// Queues that deduplicate drop what repeats an id.
    pub(crate) id: Option<String>,
}

/// Where records went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Published)]
pub(crate) struct PublishedSchema {
    /// The topic.
    topic: String,
    /// Where each record went, in the order in which they came.
    records: Vec<PublishedRecordSchema>,
}

/// Where a record went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PublishedRecord)]
pub(crate) struct PublishedRecordSchema {
    /// The partition.
    partition: u32,
    /// Its offset there.
    offset: i64,
    /// The timestamp it has, in milliseconds since the epoch.
    timestamp: i64,
}

/// Publish one record or several, all or none.
///
/// Answered when they are as durable as the topic promises. `application/json` is read as a record or as `{"records": […]}`;
/// `application/cloudevents+json`, `application/cloudevents-batch+json` and bodies with `ce-` headers as CloudEvents 1.0;
/// any other body is the value of one record, whose headers are the request headers that begin with `Millstream-Header-`.
#[utoipa::path(post, path = "/v1/topics/{topic}/records", tag = "records", operation_id = "publish",
    params(("topic" = String, Path, description = "The topic's name."), PublishQuery),
    request_body(content(
        (PublishSchema = "application/json"),
        (String = "application/octet-stream"),
        (Object = "application/cloudevents+json"),
        (Vec<Object> = "application/cloudevents-batch+json"))),
    responses((status = 200, description = "They are published.", body = PublishedSchema)))]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    InQuery(query): InQuery<PublishQuery>,
    payload: Payload,
) -> Result<Response, Problem> {
    let topic = topics::find(&app.broker, &name)?;
    let messages = messages(&payload, query, app.now_ms())?;
    let published = app.broker.publish(&topic, &messages).await?;
    Ok(answer(&name, &published))
}

/// The records of a body.
pub(crate) fn messages(
    payload: &Payload,
    query: PublishQuery,
    now_ms: i64,
) -> Result<Vec<NewMessage>, Problem> {
    let media_type = payload.media_type();
    match media_type.as_str() {
        "application/json" if !cloudevents::is_event(&payload.headers) => {
            if query != PublishQuery::default() {
                return Err(Problem::new(
                    Kind::BAD_QUERY,
                    "a record in JSON says its key and all else itself; leave the query parameters out",
                ));
            }
            message::parse(&payload.bytes, now_ms)
        }
        "application/cloudevents+json" => cloudevents::structured(payload, query, now_ms),
        "application/cloudevents-batch+json" => cloudevents::batch(payload, &query, now_ms),
        _ if cloudevents::is_event(&payload.headers) => {
            Ok(vec![cloudevents::binary(payload, query, now_ms)?])
        }
        _ => Ok(vec![raw::message(payload, query, now_ms)?]),
    }
}

fn answer(topic: &str, published: &[Published]) -> Response {
    let mut json = JsonBuffer::with_capacity(32 + topic.len() + 64 * published.len());
    write_published(&mut json, topic, published);
    json.into_response()
}

/// `{"topic":…,"records":[{"partition":…,"offset":…,"timestamp":…},…]}`
pub(crate) fn write_published(json: &mut JsonBuffer, topic: &str, published: &[Published]) {
    json.raw("{\"topic\":");
    json.text(topic);
    json.raw(",\"records\":[");
    for (at, record) in published.iter().enumerate() {
        json.raw(if at == 0 {
            "{\"partition\":"
        } else {
            ",{\"partition\":"
        });
        json.number(record.partition);
        json.raw(",\"offset\":");
        json.number(record.offset.get());
        json.raw(",\"timestamp\":");
        json.number(record.timestamp.get());
        json.raw("}");
    }
    json.raw("]}");
}
