//! Publishing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};
use millstream_broker::BrokerError;
use millstream_broker::produce::{IdempotencyKey, NewMessage, Published};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::message::{self, Expected};
use super::schema::{ExpectedSchema, PublishSchema};
use super::{cloudevents, raw};
use crate::api::topics;
use crate::app::App;
use crate::body::Payload;
use crate::extract::{InPath, InQuery};
use crate::json::JsonBuffer;
use crate::problem::{Kind, Problem};

/// The request header that says which requests are the same one sent again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header of an answer that was given before.
const REPLAYED: &str = "idempotent-replayed";

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
    /// Queues drop what repeats an id within their `dedup_window_ms`.
    pub(crate) id: Option<String>,
    /// Where the last record of the key has to be, otherwise nothing is published (412): its offset, or `absent` for a key
    /// without records. For topics with `millstream.key.index`.
    #[param(value_type = Option<ExpectedSchema>)]
    pub(crate) expected: Option<Expected>,
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
///
/// With an `Idempotency-Key`, the same request sent again within five minutes is answered the same, and publishes nothing.
#[utoipa::path(post, path = "/v1/topics/{topic}/records", tag = "records", operation_id = "publish",
    params(("topic" = String, Path, description = "The topic's name."), PublishQuery,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "Unlike that of any other request: the same request may then be sent again.")),
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
    uri: Uri,
    mut payload: Payload,
) -> Result<Response, Problem> {
    let topic = topics::find(&app.broker, &name)?;
    let key = idempotency_key(&payload, uri.query())?;
    let messages = messages(&payload, query, app.now_ms())?;
    let Some(key) = key else {
        let published = app.broker.publish(&topic, &messages).await;
        let published = published.map_err(|error| refused(&payload, error))?;
        return Ok(answer(&name, &published));
    };
    let room = payload.take_room();
    let once = app.broker.publish_once(&topic, messages, key, room).await;
    let published = once.map_err(|error| refused(&payload, error))?;
    let mut response = answer(&name, &published.records);
    if published.replayed {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, replayed);
    }
    Ok(response)
}

/// Why records were not published; where in the body it says so, if it is of JSON.
fn refused(payload: &Payload, error: BrokerError) -> Problem {
    let problem = Problem::from(error);
    if is_records(payload) {
        problem.at_record(|record| message::pointer(&payload.bytes, record))
    } else {
        problem
    }
}

/// Whether the body is of records as this API writes them.
fn is_records(payload: &Payload) -> bool {
    payload.media_type() == "application/json" && !cloudevents::is_event(&payload.headers)
}

/// The idempotency key, if the request has one, with what makes the request the same or another.
fn idempotency_key(
    payload: &Payload,
    query: Option<&str>,
) -> Result<Option<IdempotencyKey>, Problem> {
    let mut keys = payload.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        let detail = "a request has one Idempotency-Key header, not several";
        return Err(Problem::new(Kind::BAD_HEADER, detail));
    }
    let says = |name: &&HeaderName| {
        let name = name.as_str();
        name == "content-type" || name.starts_with("millstream-") || name.starts_with("ce-")
    };
    let mut names: Vec<_> = payload.headers.keys().filter(says).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    let headers = names.into_iter().flat_map(|name| {
        let values = payload.headers.get_all(name).iter();
        values.flat_map(|value| [name.as_str().as_bytes(), value.as_bytes()])
    });
    let query = query.unwrap_or_default().as_bytes();
    let request = headers.chain([query, &payload.bytes]);
    let key = Bytes::copy_from_slice(key.as_bytes());
    Ok(Some(IdempotencyKey::new(key, request)?))
}

/// The records of a body.
pub(crate) fn messages(
    payload: &Payload,
    query: PublishQuery,
    now_ms: i64,
) -> Result<Vec<NewMessage>, Problem> {
    let media_type = payload.media_type();
    match media_type.as_str() {
        _ if is_records(payload) => {
            if query != PublishQuery::default() {
                return Err(Problem::new(
                    Kind::BAD_QUERY,
                    "a record in JSON says its key and all else itself; leave the query parameters out",
                ));
            }
            raw::check_no_headers(&payload.headers)?;
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
    json.raw("{");
    write_published(&mut json, topic, published);
    json.raw("}");
    json.into_response()
}

/// `"topic":…,"records":[{"partition":…,"offset":…,"timestamp":…},…]`, without braces around it.
pub(crate) fn write_published(json: &mut JsonBuffer, topic: &str, published: &[Published]) {
    json.raw("\"topic\":");
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
    json.raw("]");
}
