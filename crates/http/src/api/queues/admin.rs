//! Making queues, looking at them, changing and deleting them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use millstream_broker::filter::Filter;
use millstream_broker::queues::machine::{Depth, Totals};
use millstream_broker::queues::policy::QueuePolicy;
use millstream_broker::queues::{
    NewQueue, QueueDescription, QueueError, QueueHandle, Redrive, StartAt,
};
use millstream_record::TimestampMs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::find;
use super::policy_schema::PolicySchema;
use crate::api::topics;
use crate::app::App;
use crate::body::Payload;
use crate::extract::{InPath, InQuery};
use crate::json::Json;
use crate::problem::{Kind, Problem};

/// A queue to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "mail", "topic": "orders", "policy": {"retry": {"attempts_max": 5}, "dead_letters": true}}))]
pub(crate) struct CreateQueue {
    /// Its name: 1 to 255 bytes of text.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// The topic that it reads.
    topic: String,
    /// Where it begins: `earliest`, `latest`, or a time in milliseconds since the epoch.
    #[serde(default)]
    from: From,
    /// What it is told to do, beside the defaults. Repeated ids are dropped for five minutes unless `dedup_window_ms` says
    /// otherwise; 0 is never.
    #[serde(default)]
    #[schema(value_type = PolicySchema)]
    policy: Value,
    /// Which messages it wants; all if left out.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Where dead letters go; the queue's name and `.dead` if left out.
    dead_letter_topic: Option<String>,
}

/// Where a queue begins.
#[derive(Debug, Default, Clone, Copy, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "from is \"earliest\", \"latest\", or a time in milliseconds since the epoch"
)]
enum From {
    /// A place.
    Place(Place),
    /// A time, in milliseconds since the epoch.
    Time(i64),
    #[default]
    #[serde(skip)]
    Default,
}

/// A place in a topic.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Place {
    Earliest,
    Latest,
}

/// What to change of a queue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"policy": {"in_flight_max": 100, "dedup_window_ms": 0, "ttl_ms": null}}))]
pub(crate) struct AlterQueue {
    /// What of the policy is to be otherwise (RFC 7396); null goes back to the default.
    #[schema(value_type = PolicySchema)]
    policy: Value,
}

/// Which queues to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQueues {
    /// Only queues whose names come after this one: `next` of the page before.
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    max: Option<usize>,
}

/// A page of queues, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueList {
    /// The queues.
    queues: Vec<QueueView>,
    /// What to ask for the next page with, as `after`; null on the last.
    next: Option<String>,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueView {
    /// Its name.
    name: String,
    /// The topic that it reads.
    topic: String,
    /// Whether deliveries are suspended.
    paused: bool,
    /// How many messages there are in which state.
    depth: DepthView,
    /// What happened to messages since the server started.
    totals: TotalsView,
    /// When the oldest message that is not finished was made, in milliseconds since the epoch; only told of one queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_at: Option<i64>,
    /// Requests that wait for messages.
    waiting_requests: usize,
    /// Where dead letters go, if it keeps any.
    dead_letter_topic: Option<String>,
    /// Which messages it wants.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// What it is told to do.
    #[schema(value_type = PolicySchema)]
    policy: QueuePolicy,
}

/// How many messages there are in which state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueDepth)]
pub(crate) struct DepthView {
    /// Not finished: the sum of all others.
    open: u64,
    /// Ready for delivery.
    ready: u64,
    /// Delivered, and not settled yet.
    leased: u64,
    /// Delayed, between attempts, or on their way to the dead letters.
    parked: u64,
    /// Behind others of their key.
    behind_key: u64,
    /// Not looked at yet.
    waiting: u64,
}

/// What happened to messages since the server started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueTotals)]
pub(crate) struct TotalsView {
    delivered: u64,
    redelivered: u64,
    acknowledged: u64,
    nacked: u64,
    timed_out: u64,
    dead_lettered: u64,
    discarded: u64,
    expired: u64,
    overflowed: u64,
    purged: u64,
    duplicates: u64,
    filtered: u64,
    lost: u64,
    damaged: u64,
    skipped: u64,
    /// Ids that deduplication forgot before their window was over, for lack of room.
    ids_forgotten: u64,
}

/// Which dead letters to move, and where to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedriveRequest {
    /// How many at most; all if left out.
    max: Option<u64>,
    /// The topic; where each came from if left out.
    to: Option<String>,
}

/// What became of the dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Redriven {
    /// How many were moved.
    moved: u64,
    /// How many their topic does not take, or cannot be decoded: they went to the end of the dead letters.
    refused: u64,
    /// Why it ended early, if some were moved or refused before that. Otherwise the answer is a problem.
    stopped: Option<Stopped>,
}

/// Why dead letters were left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stopped {
    /// The code that a problem would have: `queue-full`, `too-large` or `memory-full` if there was no room for more, and
    /// `damaged` if what comes next cannot be read. It stays where it is.
    code: &'static str,
    /// What happened, and what to do.
    detail: String,
}

/// How many messages were dropped.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    purged: u64,
}

/// List queues.
#[utoipa::path(get, path = "/v1/queues", tag = "queues", operation_id = "list_queues", params(ListQueues),
    responses((status = 200, description = "A page of them.", body = QueueList)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    InQuery(query): InQuery<ListQueues>,
) -> Result<Json<QueueList>, Problem> {
    let max = topics::page_size(query.max)?;
    let mut all = app.broker.queues();
    all.retain(|queue| {
        let after = query.after.as_deref();
        after.is_none_or(|after| &**queue.name() > after)
    });
    let is_last = all.len() <= max;
    all.truncate(max);
    let last = all.last().filter(|_| !is_last);
    let next = last.map(|queue| queue.name().to_string());
    // One that is deleted meanwhile is left out.
    let described = all.iter().filter_map(|queue| queue.describe().ok());
    let queues = described.map(|queue| view(&queue, None)).collect();
    Ok(Json(QueueList { queues, next }))
}

/// Create a queue.
#[utoipa::path(post, path = "/v1/queues", tag = "queues", operation_id = "create_queue", request_body = CreateQueue,
    responses((status = 201, description = "It was created.", body = QueueView)))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let asked: CreateQueue = payload.json()?;
    let new = NewQueue {
        topic: topics::find(&app.broker, &asked.topic)?,
        start: match asked.from {
            From::Place(Place::Earliest) => StartAt::Earliest,
            From::Place(Place::Latest) | From::Default => StartAt::Latest,
            From::Time(time) => StartAt::Time(TimestampMs(time)),
        },
        policy: policy_of(QueuePolicy::default(), asked.policy)?,
        filter: asked.filter.as_ref().map(filter_of).transpose()?,
        dead_letter_topic: asked.dead_letter_topic,
        name: asked.name,
    };
    let queue = app.broker.create_queue(new).await?;
    let location = format!("/v1/queues/{}", topics::in_path(queue.name()));
    let answer = Json(described(&queue).await?);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response())
}

/// Describe a queue.
#[utoipa::path(get, path = "/v1/queues/{queue}", tag = "queues", operation_id = "describe_queue",
    params(("queue" = String, Path, description = "The queue's name.")),
    responses((status = 200, description = "The queue.", body = QueueView)))]
pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<Json<QueueView>, Problem> {
    Ok(Json(described(&find(&app.broker, &name)?).await?))
}

/// Change what a queue is told to do. It takes effect at once.
#[utoipa::path(patch, path = "/v1/queues/{queue}", tag = "queues", operation_id = "alter_queue",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = AlterQueue,
    responses((status = 200, description = "The queue as it is now.", body = QueueView)))]
pub(crate) async fn alter(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Json<QueueView>, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: AlterQueue = payload.json()?;
    queue
        .alter_with(|current| policy_of(current.clone(), asked.policy))
        .await?;
    Ok(Json(described(&queue).await?))
}

/// Delete a queue. Its messages stay in their topic.
#[utoipa::path(delete, path = "/v1/queues/{queue}", tag = "queues", operation_id = "delete_queue",
    params(("queue" = String, Path, description = "The queue's name.")),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    find(&app.broker, &name)?.delete().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drop every message that nobody holds.
#[utoipa::path(post, path = "/v1/queues/{queue}/purge", tag = "queues", operation_id = "purge_queue",
    params(("queue" = String, Path, description = "The queue's name.")),
    responses((status = 200, description = "How many were dropped.", body = Purged)))]
pub(crate) async fn purge(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<Json<Purged>, Problem> {
    let purged = find(&app.broker, &name)?.purge().await?;
    Ok(Json(Purged { purged }))
}

/// Deliver nothing until the queue is resumed.
#[utoipa::path(post, path = "/v1/queues/{queue}/pause", tag = "queues", operation_id = "pause_queue",
    params(("queue" = String, Path, description = "The queue's name.")),
    responses((status = 204, description = "It is paused.")))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    find(&app.broker, &name)?.pause().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deliver again.
#[utoipa::path(post, path = "/v1/queues/{queue}/resume", tag = "queues", operation_id = "resume_queue",
    params(("queue" = String, Path, description = "The queue's name.")),
    responses((status = 204, description = "It delivers.")))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    find(&app.broker, &name)?.resume().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Move a queue's dead letters back to where they came from, each exactly once.
#[utoipa::path(post, path = "/v1/queues/{queue}/redrive", tag = "queues", operation_id = "redrive_queue",
    params(("queue" = String, Path, description = "The queue's name.")), request_body = RedriveRequest,
    responses((status = 200, description = "What became of them.", body = Redriven)))]
pub(crate) async fn redrive(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Json<Redriven>, Problem> {
    let queue = find(&app.broker, &name)?;
    let asked: RedriveRequest = payload.json_or_default()?;
    let to = asked.to.as_deref();
    let to = to.map(|to| topics::find(&app.broker, to)).transpose()?;
    let redriven = queue.redrive(&Redrive { max: asked.max, to }).await?;
    Ok(Json(Redriven {
        moved: redriven.moved,
        refused: redriven.refused,
        stopped: redriven.stopped.map(stopped),
    }))
}

fn stopped(why: QueueError) -> Stopped {
    Stopped {
        detail: why.to_string(),
        code: Problem::from(why).kind.code,
    }
}

/// A policy with what is asked for laid over it, as RFC 7396 says.
fn policy_of(current: QueuePolicy, asked: Value) -> Result<QueuePolicy, Problem> {
    let refused = |what: String| Problem::new(Kind::INVALID_POLICY, what);
    let Value::Object(asked) = asked else {
        return match asked {
            Value::Null => Ok(current),
            _ => Err(refused("the policy is not an object".to_owned())),
        };
    };
    let mut whole = serde_json::to_value(current).map_err(|error| refused(error.to_string()))?;
    lay_over(&mut whole, Value::Object(asked));
    serde_json::from_value(whole).map_err(|error| refused(format!("policy: {error}")))
}

fn lay_over(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                // A choice between forms, such as how a delay grows, is made anew as a whole.
                let is_choice = name == "backoff";
                if value.is_null() {
                    base.remove(&name);
                } else if is_choice {
                    base.insert(name, value);
                } else {
                    lay_over(base.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}

fn filter_of(value: &Value) -> Result<Filter, Problem> {
    Filter::from_json(value)
        .map_err(|error| Problem::new(Kind::INVALID_POLICY, format!("filter: {error}")))
}

async fn described(queue: &QueueHandle) -> Result<QueueView, Problem> {
    let oldest = queue.oldest().await?.map(TimestampMs::get);
    Ok(view(&queue.describe()?, oldest))
}

fn view(queue: &QueueDescription, oldest_at: Option<i64>) -> QueueView {
    let definition = &queue.definition;
    let policy = definition.policy.clone();
    let keeps_dead = policy.dead_letters;
    QueueView {
        name: definition.name.to_string(),
        topic: queue.topic.to_string(),
        paused: queue.paused,
        depth: queue.depth.into(),
        totals: queue.totals.into(),
        oldest_at,
        waiting_requests: queue.waiting_requests,
        dead_letter_topic: keeps_dead.then(|| definition.dead_letter_topic.to_string()),
        filter: definition.filter.as_ref().map(Filter::to_json),
        policy,
    }
}

impl std::convert::From<Depth> for DepthView {
    fn from(depth: Depth) -> Self {
        Self {
            open: depth.open,
            ready: depth.ready,
            leased: depth.leased,
            parked: depth.parked,
            behind_key: depth.behind_key,
            waiting: depth.waiting,
        }
    }
}

impl std::convert::From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        Self {
            delivered: totals.delivered,
            redelivered: totals.redelivered,
            acknowledged: totals.acknowledged,
            nacked: totals.nacked,
            timed_out: totals.timed_out,
            dead_lettered: totals.dead_lettered,
            discarded: totals.discarded,
            expired: totals.expired,
            overflowed: totals.overflowed,
            purged: totals.purged,
            duplicates: totals.duplicates,
            filtered: totals.filtered,
            lost: totals.lost,
            damaged: totals.damaged,
            skipped: totals.skipped,
            ids_forgotten: totals.ids_forgotten,
        }
    }
}
