//! Receiving messages, and saying what became of them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use millstream_broker::queues::machine::{Answers, ReceiptError, RecordState, Retry};
use millstream_broker::queues::{ConsumerId, QueueHandle, Receipt, ReceiptText, ReceiveSpec};
use millstream_limits::{HTTP_RECORDS_MAX, QUEUE_RECEIVE_RECORDS_MAX};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::app::App;
use crate::body::Payload;
use crate::extract::{InPath, InQuery};
use crate::json::{Json, JsonBuffer};
use crate::problem::{Kind, Problem};

/// How long a message is held unless the request says so.
const VISIBILITY_MS_DEFAULT: u64 = 30_000;

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
    /// Who asks, for queues that have one consumer at a time.
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

/// Receipts of messages.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receipts {
    /// The receipts that came with the messages.
    #[schema(max_items = 10_000)]
    receipts: Vec<String>,
}

/// Messages to give back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NackRequest {
    /// The receipts that came with the messages.
    #[schema(max_items = 10_000)]
    receipts: Vec<String>,
    /// When they are delivered again, in milliseconds from now; what the retry policy says, if left out.
    delay_ms: Option<u64>,
}

/// Messages to hold for longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtendRequest {
    /// The receipts that came with the messages.
    #[schema(max_items = 10_000)]
    receipts: Vec<String>,
    /// For how long from now, in milliseconds.
    #[schema(maximum = 43_200_000)]
    visibility_ms: u64,
}

/// One result for each receipt, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Results {
    results: Vec<ReceiptResult>,
}

/// What became of a receipt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceiptResult {
    /// Whether it was taken.
    ok: bool,
    /// Why not: `finished`, `superseded`, `lapsed`, `unknown` or `invalid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
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
            .map_or(ConsumerId(0), ConsumerId::from),
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
    let (received, _held) = tokio::select! {
        received = queue.receive(spec) => received?,
        () = app.stopped() => (Vec::new(), millstream_broker::streams::Held::default()),
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
        json.raw("{\"receipt\":\"");
        json.raw(&queue.receipt_text(one.receipt).to_string());
        json.raw("\",\"attempts\":");
        json.number(one.attempts);
        json.raw(",\"held_until\":");
        json.number(one.deadline.get());
        json.raw(",");
        json.message(&one.message);
        json.raw("}");
    }
    json.raw("]}");
    Ok(json.into_response())
}

/// Acknowledge messages: they are done.
#[utoipa::path(post, path = "/v1/queues/{queue}/ack", tag = "queues", operation_id = "ack",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = Receipts,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn ack(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Json<Results>, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: Receipts = payload.json()?;
    let parsed = Parsed::new(&queue, &asked.receipts)?;
    let answers = queue.ack(&parsed.receipts).await?;
    Ok(parsed.results(answers))
}

/// Give messages back, to be delivered again.
#[utoipa::path(post, path = "/v1/queues/{queue}/nack", tag = "queues", operation_id = "nack",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = NackRequest,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn nack(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Json<Results>, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: NackRequest = payload.json()?;
    let parsed = Parsed::new(&queue, &asked.receipts)?;
    let retry = match asked.delay_ms {
        None => Retry::AsPolicySays,
        Some(0) => Retry::Now,
        Some(delay_ms) => Retry::After(delay_ms),
    };
    let answers = queue.nack(&parsed.receipts, retry).await?;
    Ok(parsed.results(answers))
}

/// Give messages up: they go to the dead letters.
#[utoipa::path(post, path = "/v1/queues/{queue}/reject", tag = "queues", operation_id = "reject",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = Receipts,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn reject(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Json<Results>, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: Receipts = payload.json()?;
    let parsed = Parsed::new(&queue, &asked.receipts)?;
    let answers = queue.reject(&parsed.receipts).await?;
    Ok(parsed.results(answers))
}

/// Hold messages for longer.
#[utoipa::path(post, path = "/v1/queues/{queue}/extend", tag = "queues", operation_id = "extend",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = ExtendRequest,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn extend(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Json<Results>, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: ExtendRequest = payload.json()?;
    let parsed = Parsed::new(&queue, &asked.receipts)?;
    let visibility_ms = visibility(asked.visibility_ms)?;
    let answers = queue.extend(&parsed.receipts, visibility_ms).await?;
    Ok(parsed.results(answers))
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
    Ok(json.into_response())
}

/// Receipts as they were sent: those that are some, and which those are.
struct Parsed {
    receipts: Vec<Receipt>,
    is_receipt: Vec<bool>,
}

impl Parsed {
    fn new(queue: &QueueHandle, texts: &[String]) -> Result<Self, Problem> {
        if texts.len() > HTTP_RECORDS_MAX {
            let detail = format!(
                "{} receipts are more than the {HTTP_RECORDS_MAX} that one request takes; send fewer at once",
                texts.len()
            );
            return Err(Problem::new(Kind::TOO_LARGE, detail));
        }
        let mut parsed = Self {
            receipts: Vec::with_capacity(texts.len()),
            is_receipt: Vec::with_capacity(texts.len()),
        };
        for text in texts {
            let receipt = text.parse::<ReceiptText>().ok();
            let receipt = receipt.filter(|text| text.queue == queue.id());
            parsed.is_receipt.push(receipt.is_some());
            parsed.receipts.extend(receipt.map(|text| text.receipt));
        }
        Ok(parsed)
    }

    fn results(&self, answers: Answers) -> Json<Results> {
        let mut answers = answers.into_iter();
        let result = |is_receipt: &bool| {
            let refused = match is_receipt.then(|| answers.next()).flatten() {
                Some(Ok(())) => {
                    return ReceiptResult {
                        ok: true,
                        code: None,
                        detail: None,
                    };
                }
                Some(Err(error)) => (code(error), error.to_string()),
                None => (
                    "invalid",
                    "this is no receipt of this queue; hand in what came with the message"
                        .to_owned(),
                ),
            };
            ReceiptResult {
                ok: false,
                code: Some(refused.0),
                detail: Some(refused.1),
            }
        };
        let results = self.is_receipt.iter().map(result).collect();
        Json(Results { results })
    }
}

fn code(error: ReceiptError) -> &'static str {
    match error {
        ReceiptError::Finished => "finished",
        ReceiptError::Superseded => "superseded",
        ReceiptError::Lapsed => "lapsed",
        ReceiptError::Unknown => "unknown",
    }
}

fn visibility(ms: u64) -> Result<u64, Problem> {
    bounded("visibility_ms", ms, 0, VISIBILITY_MS_MAX)
}

fn bounded(what: &str, value: u64, min: u64, max: u64) -> Result<u64, Problem> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let detail = format!("{what} is {value}; it goes from {min} to {max}");
    Err(Problem::new(Kind::BAD_JSON, detail))
}
