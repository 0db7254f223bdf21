//! Receiving messages, and saying what became of them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use millstream_broker::queues::machine::RecordState;
use millstream_broker::queues::{ConsumerId, QueueHandle, ReceiveSpec, Received};
use millstream_broker::streams::Held;
use millstream_limits::QUEUE_RECEIVE_RECORDS_MAX;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::app::App;
use crate::body::Payload;
use crate::extract::{InPath, InQuery};
use crate::json::JsonBuffer;
use crate::problem::{Kind, Problem};

/// How long a message is held unless the request says so.
pub(crate) const VISIBILITY_MS_DEFAULT: u64 = 30_000;

/// The longest that messages are held at a time: as long as SQS does.
const VISIBILITY_MS_MAX: u64 = 12 * 60 * 60 * 1_000;

/// The longest that a receive waits.
const WAIT_MS_MAX: u64 = 30_000;

/// The most messages that are looked at.
const PEEK_MAX: usize = 1_000;

/// What to receive.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReceiveRequest {
    /// At most so many messages; 1 if left out.
    #[schema(minimum = 1, maximum = 10_000)]
    max: Option<u32>,
    /// How long they are held for this consumer, in milliseconds; 30,000 if left out.
    #[schema(maximum = 43_200_000)]
    visibility_ms: Option<u64>,
    /// How long to wait for a first message, in milliseconds; not at all if left out.
    #[schema(maximum = 30_000)]
    wait_ms: Option<u64>,
    /// Who asks: a name of your choice, the same with each request of one consumer. Queues whose `access` is `exclusive` or
    /// `single_active` need it, others do not care.
    consumer: Option<String>,
}

/// What was received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReceivedMessages)]
pub(crate) struct ReceivedSchema {
    /// The messages; none if there were none.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<()>,
}

/// Which messages to look at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PeekQuery {
    /// At most so many; 10 if left out.
    #[param(minimum = 1, maximum = 1000)]
    max: Option<usize>,
}

/// Receive messages. Each is held for this consumer until it is settled, or its time is over.
#[utoipa::path(post, path = "/v1/queues/{queue}/receive", tag = "queues", operation_id = "receive",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = ReceiveRequest,
    responses((status = 200, description = "What there is.", body = ReceivedSchema)))]
pub(crate) async fn receive(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: ReceiveRequest = payload.json_or_default()?;
    let spec = ReceiveSpec {
        consumer: asked
            .consumer
            .as_deref()
            .map_or(ConsumerId::UNNAMED, ConsumerId::from),
        max: bounded(
            "max",
            asked.max.unwrap_or(1).into(),
            1,
            QUEUE_RECEIVE_RECORDS_MAX.into(),
        )? as u32,
        visibility_ms: visibility(asked.visibility_ms.unwrap_or(VISIBILITY_MS_DEFAULT))?,
        wait: Duration::from_millis(bounded(
            "wait_ms",
            asked.wait_ms.unwrap_or(0),
            0,
            WAIT_MS_MAX,
        )?),
    };
    let (received, held) = tokio::select! {
        biased;
        received = queue.receive(spec) => received?,
        () = app.stopped() => (Vec::new(), Held::default()),
    };
    let bytes: usize = received
        .iter()
        .map(|one| 256 + one.message.value.as_ref().map_or(0, bytes::Bytes::len))
        .sum();
    let mut json = JsonBuffer::with_capacity(32 + bytes);
    json.raw("{\"messages\":[");
    for (at, one) in received.iter().enumerate() {
        if at > 0 {
            json.raw(",");
        }
        write_received(&mut json, &queue, one);
    }
    json.raw("]}");
    Ok(json.into_held_response(&app.broker, held))
}

/// Look at messages without receiving them.
#[utoipa::path(get, path = "/v1/queues/{queue}/peek", tag = "queues", operation_id = "peek",
    params(("queue" = String, Path, description = "The queue's name."), PeekQuery),
    responses((status = 200, description = "Those that are not finished, as they lie in the log.", body = ReceivedSchema)))]
pub(crate) async fn peek(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    InQuery(query): InQuery<PeekQuery>,
) -> Result<Response, Problem> {
    let queue = find(&app.broker, &name)?;
    let max = query.max.unwrap_or(10);
    if !(1..=PEEK_MAX).contains(&max) {
        let detail = format!("max is {max}; it goes from 1 to {PEEK_MAX}");
        return Err(Problem::new(Kind::BAD_QUERY, detail));
    }
    let browsed = queue.browse(max).await?;
    let mut json = JsonBuffer::with_capacity(256 * browsed.len());
    json.raw("{\"messages\":[");
    for (at, one) in browsed.iter().enumerate() {
        if at > 0 {
            json.raw(",");
        }
        json.raw("{\"state\":");
        json.text(match one.state {
            RecordState::Ready(_) => "ready",
            RecordState::Leased => "leased",
            RecordState::Parked => "parked",
            RecordState::Waiting => "waiting",
            RecordState::Finished => "finished",
        });
        json.raw(",\"attempts\":");
        json.number(one.attempts);
        json.raw(",");
        json.message(&one.message);
        json.raw("}");
    }
    json.raw("]}");
    let mut held = Held::default();
    if !app.broker.recount(&mut held, json.len()) {
        let detail =
            "other readers hold all the memory there is for answers (read-memory); try again";
        return Err(Problem::new(Kind::OVERLOADED, detail));
    }
    Ok(json.into_held_response(&app.broker, held))
}

/// How long messages are held, checked.
pub(crate) fn visibility(ms: u64) -> Result<u64, Problem> {
    bounded("visibility_ms", ms, 0, VISIBILITY_MS_MAX)
}

/// A number within its bounds.
pub(crate) fn bounded(what: &str, value: u64, min: u64, max: u64) -> Result<u64, Problem> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let detail = format!("{what} is {value}; it goes from {min} to {max}");
    Err(Problem::new(Kind::BAD_JSON, detail))
}

/// A message that was delivered, as JSON.
pub(crate) fn write_received(json: &mut JsonBuffer, queue: &QueueHandle, received: &Received) {
    json.raw("{\"receipt\":");
    json.plain(queue.receipt_text(received.receipt));
    json.raw(",\"attempts\":");
    json.number(received.attempts);
    json.raw(",\"held_until\":");
    json.number(received.deadline.get());
    json.raw(",");
    json.message(&received.message);
    json.raw("}");
}
