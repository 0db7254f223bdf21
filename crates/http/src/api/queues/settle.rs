//! What becomes of messages that were received.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use millstream_broker::queues::machine::{Answers, ReceiptError, Retry};
use millstream_broker::queues::{QueueError, QueueHandle, Receipt, ReceiptText};
use millstream_limits::HTTP_RECORDS_MAX;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::find;
use super::messages::visibility;
use crate::app::App;
use crate::body::Payload;
use crate::extract::InPath;
use crate::json::JsonBuffer;
use crate::problem::{Kind, Problem};

/// Receipts of messages.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receipts {
    /// The receipts that came with the messages.
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    receipts: Vec<Sent>,
}

/// Messages to give back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NackRequest {
    /// The receipts that came with the messages.
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    receipts: Vec<Sent>,
    /// When they are delivered again, in milliseconds from now; what the retry policy says, if left out.
    delay_ms: Option<u64>,
}

/// Messages to hold for longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtendRequest {
    /// The receipts that came with the messages.
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    receipts: Vec<Sent>,
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
    code: Option<&'static str>,
    /// The same for people.
    detail: Option<String>,
}

/// A receipt as it was sent; nothing if it is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent(Option<ReceiptText>);

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Sent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a receipt")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Sent, E> {
                Ok(Sent(text.parse().ok()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Acknowledge messages: they are done.
#[utoipa::path(post, path = "/v1/queues/{queue}/ack", tag = "queues", operation_id = "ack",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = Receipts,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn ack(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    settle(
        &app,
        &name,
        &payload,
        async |queue, receipts, _: Receipts| queue.ack(receipts).await,
    )
    .await
}

/// Give messages back, to be delivered again.
#[utoipa::path(post, path = "/v1/queues/{queue}/nack", tag = "queues", operation_id = "nack",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = NackRequest,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn nack(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    settle(
        &app,
        &name,
        &payload,
        async |queue, receipts, asked: NackRequest| {
            queue.nack(receipts, retry(asked.delay_ms)).await
        },
    )
    .await
}

/// Give messages up: they go to the dead letters.
#[utoipa::path(post, path = "/v1/queues/{queue}/reject", tag = "queues", operation_id = "reject",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = Receipts,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn reject(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    settle(
        &app,
        &name,
        &payload,
        async |queue, receipts, _: Receipts| queue.reject(receipts).await,
    )
    .await
}

/// Hold messages for longer.
#[utoipa::path(post, path = "/v1/queues/{queue}/extend", tag = "queues", operation_id = "extend",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = ExtendRequest,
    responses((status = 200, description = "What became of each receipt.", body = Results)))]
pub(crate) async fn extend(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    settle(
        &app,
        &name,
        &payload,
        async |queue, receipts, asked: ExtendRequest| {
            queue.extend(receipts, asked.visibility_ms).await
        },
    )
    .await
}

/// A request that brings receipts.
trait Settlement: DeserializeOwned {
    fn receipts(&self) -> &[Sent];

    /// Refuses what cannot be.
    fn check(&self) -> Result<(), Problem> {
        Ok(())
    }
}

impl Settlement for Receipts {
    fn receipts(&self) -> &[Sent] {
        &self.receipts
    }
}

impl Settlement for NackRequest {
    fn receipts(&self) -> &[Sent] {
        &self.receipts
    }
}

impl Settlement for ExtendRequest {
    fn receipts(&self) -> &[Sent] {
        &self.receipts
    }

    fn check(&self) -> Result<(), Problem> {
        visibility(self.visibility_ms).map(drop)
    }
}

/// Reads a request, does what it asks for to those of its receipts that are some, and says what became of each.
async fn settle<T: Settlement>(
    app: &App,
    name: &str,
    payload: &Payload,
    act: impl AsyncFnOnce(&QueueHandle, &[Receipt], T) -> Result<Answers, QueueError>,
) -> Result<Response, Problem> {
    let queue = find(&app.broker, name)?;
    let asked: T = payload.json()?;
    asked.check()?;
    let receipts = of_queue(&queue, asked.receipts())?;
    let known: Vec<Receipt> = receipts.iter().flatten().copied().collect();
    let answers = act(&queue, &known, asked).await?;
    let mut json = JsonBuffer::with_capacity(16 + 16 * receipts.len());
    json.raw("{");
    write_results(&mut json, &receipts, answers);
    json.raw("}");
    Ok(json.into_response())
}

/// When messages that are given back are delivered again.
pub(crate) fn retry(delay_ms: Option<u64>) -> Retry {
    match delay_ms {
        None => Retry::AsPolicySays,
        Some(0) => Retry::Now,
        Some(delay_ms) => Retry::After(delay_ms),
    }
}

/// The receipts that are some of this queue's.
pub(crate) fn of_queue(
    queue: &QueueHandle,
    sent: &[Sent],
) -> Result<Vec<Option<Receipt>>, Problem> {
    if sent.len() > HTTP_RECORDS_MAX {
        let detail = format!(
            "{} receipts are more than the {HTTP_RECORDS_MAX} that one request takes; send fewer at once",
            sent.len()
        );
        return Err(Problem::new(Kind::TOO_LARGE, detail));
    }
    let of_queue = |Sent(text): &Sent| {
        let text = text.filter(|text| text.queue == queue.id())?;
        Some(text.receipt)
    };
    Ok(sent.iter().map(of_queue).collect())
}

/// What is said of a receipt that is none.
pub(super) const NO_RECEIPT: &str =
    "this is no receipt of this queue; hand in what came with the message";

/// `"results":[…]`, without braces around it: what became of each receipt, given the answers to those that are some.
pub(crate) fn write_results(json: &mut JsonBuffer, receipts: &[Option<Receipt>], answers: Answers) {
    json.raw("\"results\":[");
    let mut answers = answers.into_iter();
    for (at, receipt) in receipts.iter().enumerate() {
        if at > 0 {
            json.raw(",");
        }
        match receipt.and_then(|_| answers.next()) {
            Some(Ok(())) => json.raw("{\"ok\":true}"),
            Some(Err(error)) => refusal(json, code(error), &error.to_string()),
            None => refusal(json, "invalid", NO_RECEIPT),
        }
    }
    json.raw("]");
}

fn refusal(json: &mut JsonBuffer, code: &str, detail: &str) {
    json.raw("{\"ok\":false,\"code\":");
    json.text(code);
    json.raw(",\"detail\":");
    json.text(detail);
    json.raw("}");
}

fn code(error: ReceiptError) -> &'static str {
    match error {
        ReceiptError::Finished => "finished",
        ReceiptError::Superseded => "superseded",
        ReceiptError::Lapsed => "lapsed",
        ReceiptError::Unknown => "unknown",
    }
}
