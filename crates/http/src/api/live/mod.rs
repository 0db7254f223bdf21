//! Live feeds: [`follow`] is Server-Sent Events; WebSockets, in `socket`, carry them too. What a reader
//! asks for is read in [`wanted`], how it looks on the wire is in `events`, and `feed` is what writes it for as long as
//! somebody reads.

mod events;
mod feed;
pub(crate) mod standing;
pub(crate) mod wanted;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use millstream_broker::Broker;
use millstream_broker::live::{Disconnected, LiveError, LiveMessage, Subscription};

use crate::api::topics;
use crate::app::App;
use crate::extract::InQuery;
use crate::json::JsonBuffer;
use crate::problem::{Kind, Problem};

pub(crate) use self::events::lost_json;
use self::wanted::{LiveQuery, Wanted};

/// Follow topics live, as Server-Sent Events.
///
/// Each record is an event without a name; its data is the record as reads tell it. The `id` of an event is where the reader
/// stands: with it as `Last-Event-ID`, which browsers send by themselves, a feed goes on without loss as far as records are
/// retained. Named events: `subscribed` at the beginning, `dropped` (a count) where the reader was too slow, `lost` where
/// records cannot be had any more, `position` where the reader stands when its filter has wanted nothing for a while, and
/// `end`, a problem document, before the feed ends. Comments keep the connection alive.
#[utoipa::path(get, path = "/v1/live", tag = "live", operation_id = "follow", params(LiveQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Where the reader stood: the feed goes on there, whatever `from` says.")),
    responses((status = 200, description = "Events without end.", content_type = "text/event-stream", body = String)))]
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    InQuery(parameters): InQuery<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut wanted = wanted::read_query(parameters)?;
    if let Some(id) = headers.get("last-event-id").filter(|id| !id.is_empty()) {
        let id = id.to_str().ok().and_then(|id| id.parse().ok());
        wanted.position = Some(id.ok_or_else(|| {
            Problem::new(
                Kind::BAD_HEADER,
                "Last-Event-ID is not the id of an event of this server; leave it out to begin anew",
            )
        })?);
    }
    let subscription = subscribe(&app.broker, wanted, u64::MAX).await?;
    let mut response = Response::new(feed::body(&app, subscription));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What proxies such as nginx take as a request not to hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Subscribes to what is wanted.
pub(crate) async fn subscribe(
    broker: &Broker,
    wanted: Wanted,
    credit: u64,
) -> Result<Subscription, Problem> {
    for name in &wanted.topics {
        topics::find(broker, name)?;
    }
    Ok(broker.subscribe(wanted.spec(credit)?).await?)
}

/// A record as JSON, written once for all who get it.
pub(crate) fn render(message: &LiveMessage) -> bytes::Bytes {
    let mut json = JsonBuffer::with_capacity(message.size_bytes());
    json.live_record(message);
    json.into_bytes()
}

impl From<LiveError> for Problem {
    fn from(error: LiveError) -> Problem {
        let kind = match error {
            LiveError::Broker(error) => return error.into(),
            LiveError::TooManySubscriptions | LiveError::LatestMemory => Kind::OVERLOADED,
            LiveError::Topics | LiveError::Buffer => Kind::BAD_QUERY,
            LiveError::TooManyPartitions(_) | LiveError::TooManyKeys(_) => Kind::CONFLICT,
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<Disconnected> for Problem {
    fn from(reason: Disconnected) -> Problem {
        let kind = match reason {
            Disconnected::TooSlow => Kind::READER_TOO_SLOW,
            Disconnected::TopicDeleted => Kind::UNKNOWN_TOPIC,
            Disconnected::TooManyPartitions => Kind::CONFLICT,
            Disconnected::ShuttingDown => Kind::SHUTTING_DOWN,
            Disconnected::Failed(_) => Kind::FAILED,
        };
        Problem::new(kind, reason.to_string())
    }
}
