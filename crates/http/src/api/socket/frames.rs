//! What clients send.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_broker::filter::Filter;
use millstream_broker::live::ResumeToken;
use millstream_broker::produce::{IdempotencyKey, NewMessage};
use millstream_broker::queues::machine::Retry;
use millstream_limits::{HTTP_SOCKET_NAME_BYTES_MAX, QUEUE_RECEIVE_RECORDS_MAX};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::live::wanted::{Place, Slow, Wanted};
use crate::api::queues::ack_and_publish::Parts;
use crate::api::queues::messages::{self, VISIBILITY_MS_DEFAULT};
use crate::api::queues::settle::{self, Sent};
use crate::api::records::message;
use crate::body::Object;
use crate::problem::{Kind, Problem};

/// So many messages of a queue come at once, and share a lease, unless the client says otherwise.
const TOGETHER_DEFAULT: u32 = 100;

/// A frame that could be read.
pub(super) struct Frame {
    /// What the answer is to be told apart by, as JSON.
    pub(super) id: Option<Box<str>>,
    pub(super) request: Result<Request, Problem>,
}

/// What a client asks for. `channel` is the name that it gives a subscription.
pub(super) enum Request {
    Publish {
        topic: String,
        messages: Vec<NewMessage>,
        /// Whether they came as an array.
        several: bool,
        key: Option<IdempotencyKey>,
    },
    AckAndPublish {
        queue: String,
        receipts: Vec<Sent>,
        parts: Vec<(String, Vec<NewMessage>)>,
    },
    Subscribe {
        channel: String,
        wanted: Box<Wanted>,
        credit: u64,
    },
    Consume(Consume),
    Credit {
        channel: String,
        credit: u64,
    },
    Unsubscribe {
        channel: String,
    },
    Settle {
        queue: String,
        receipts: Vec<Sent>,
        how: How,
    },
    Ping,
}

/// A queue to consume.
pub(super) struct Consume {
    pub(super) channel: String,
    pub(super) queue: String,
    pub(super) credit: u32,
    /// So many messages come at once at most, and share a lease.
    pub(super) together: u32,
    pub(super) visibility_ms: u64,
}

/// What becomes of messages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum How {
    Ack,
    Nack(Retry),
    Reject,
    Extend { visibility_ms: u64 },
}

/// What all frames have.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishFrame<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    topic: String,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    records: Option<&'a RawValue>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckAndPublishFrame<'a> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    queue: String,
    receipts: Vec<Sent>,
    #[serde(borrow)]
    publish: Parts<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeFrame {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    subscription: String,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    patterns: Vec<String>,
    filter: Option<Value>,
    from: Option<Place>,
    time: Option<i64>,
    offsets: Option<BTreeMap<u32, i64>>,
    position: Option<String>,
    slow: Option<Slow>,
    buffer_records: Option<usize>,
    buffer_bytes: Option<usize>,
    credit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsumeFrame {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    subscription: String,
    queue: String,
    credit: u32,
    max: Option<u32>,
    visibility_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreditFrame {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    subscription: String,
    credit: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsubscribeFrame {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    subscription: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleFrame {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    queue: String,
    receipts: Vec<Sent>,
    /// Only of `nack`.
    delay_ms: Option<u64>,
    /// Only of `extend`.
    visibility_ms: Option<u64>,
}

/// Reads a frame.
pub(super) fn parse(text: &Bytes, now_ms: i64) -> Frame {
    let head = serde_json::from_slice(text).map(|Object(head): Object<Head<'_>>| head);
    let Head { kind, id } = match head {
        Ok(head) => head,
        Err(error) => return refused(None, bad_frame(&error)),
    };
    let id = match id.map(RawValue::get) {
        None | Some("null") => None,
        Some(id) if id.starts_with(['{', '[']) || id.len() > HTTP_SOCKET_NAME_BYTES_MAX => {
            let detail =
                format!("an id is text or a number of at most {HTTP_SOCKET_NAME_BYTES_MAX} bytes");
            return refused(None, Problem::new(Kind::BAD_JSON, detail));
        }
        Some(id) => Some(id.into()),
    };
    let request = request(text, &kind, now_ms);
    Frame { id, request }
}

fn request(text: &Bytes, kind: &str, now_ms: i64) -> Result<Request, Problem> {
    match kind {
        "publish" => publish(text, now_ms),
        "subscribe" => subscribe(read(text)?),
        "consume" => consume(read(text)?),
        "credit" => {
            let CreditFrame {
                subscription: channel,
                credit,
                ..
            } = read(text)?;
            Ok(Request::Credit { channel, credit })
        }
        "unsubscribe" => {
            let frame: UnsubscribeFrame = read(text)?;
            let channel = frame.subscription;
            Ok(Request::Unsubscribe { channel })
        }
        "ack" | "nack" | "reject" | "extend" => settlement(kind, read(text)?),
        "ack-and-publish" => ack_and_publish(text, now_ms),
        "ping" => Ok(Request::Ping),
        _ => Err(Problem::new(
            Kind::BAD_JSON,
            format!(
                "there is no frame of the type {:?}; there are publish, subscribe, consume, credit, unsubscribe, ack, nack, reject, extend, ack-and-publish and ping",
                message::shortened(kind)
            ),
        )),
    }
}

fn publish(text: &Bytes, now_ms: i64) -> Result<Request, Problem> {
    let Object(frame): Object<PublishFrame<'_>> =
        serde_json::from_slice(text).map_err(|error| bad_frame(&error))?;
    let part = |json: &RawValue| text.slice_ref(json.get().as_bytes());
    let messages = match (frame.record, frame.records) {
        (Some(record), None) => vec![message::parse_one(&part(record), now_ms)?],
        (None, Some(records)) => message::parse_several(&part(records), now_ms)?,
        _ => {
            return Err(Problem::new(
                Kind::BAD_JSON,
                "a publish has either a record or records",
            ));
        }
    };
    let request = frame.record.or(frame.records).map(RawValue::get);
    let key = frame.idempotency_key.map(|key| {
        let several: &[u8] = if frame.records.is_some() {
            b"records"
        } else {
            b"record"
        };
        let request = [several, request.unwrap_or_default().as_bytes()];
        IdempotencyKey::new(key.into(), request)
            .map_err(|error| Problem::new(Kind::BAD_JSON, error.to_string()))
    });
    Ok(Request::Publish {
        topic: frame.topic,
        messages,
        several: frame.records.is_some(),
        key: key.transpose()?,
    })
}

fn ack_and_publish(text: &Bytes, now_ms: i64) -> Result<Request, Problem> {
    let Object(frame): Object<AckAndPublishFrame<'_>> =
        serde_json::from_slice(text).map_err(|error| bad_frame(&error))?;
    Ok(Request::AckAndPublish {
        parts: frame.publish.read(text, now_ms)?,
        queue: frame.queue,
        receipts: frame.receipts,
    })
}

fn subscribe(frame: SubscribeFrame) -> Result<Request, Problem> {
    let refused = |what: String| Problem::new(Kind::BAD_QUERY, what);
    let filter = frame.filter.as_ref().map(Filter::from_json).transpose();
    let position = frame.position.as_deref().map(str::parse::<ResumeToken>);
    let wanted = Wanted {
        topics: frame.topics,
        patterns: frame.patterns,
        filter: filter.map_err(|error| refused(format!("filter: {error}")))?,
        from: frame.from,
        time: frame.time,
        offsets: frame.offsets,
        position: position
            .transpose()
            .map_err(|error| refused(format!("position: {error}")))?,
        slow: frame.slow,
        buffer_records: frame.buffer_records,
        buffer_bytes: frame.buffer_bytes,
    };
    Ok(Request::Subscribe {
        channel: channel(frame.subscription)?,
        wanted: Box::new(wanted),
        credit: frame.credit.unwrap_or(u64::MAX),
    })
}

fn consume(frame: ConsumeFrame) -> Result<Request, Problem> {
    let together = frame.max.unwrap_or(TOGETHER_DEFAULT).into();
    let together = messages::bounded("max", together, 1, QUEUE_RECEIVE_RECORDS_MAX.into())?;
    Ok(Request::Consume(Consume {
        channel: channel(frame.subscription)?,
        queue: frame.queue,
        credit: frame.credit,
        together: together as u32,
        visibility_ms: messages::visibility(frame.visibility_ms.unwrap_or(VISIBILITY_MS_DEFAULT))?,
    }))
}

fn settlement(kind: &str, frame: SettleFrame) -> Result<Request, Problem> {
    let how = match (kind, frame.delay_ms, frame.visibility_ms) {
        ("ack", None, None) => How::Ack,
        ("reject", None, None) => How::Reject,
        ("nack", delay_ms, None) => How::Nack(settle::retry(delay_ms)),
        ("extend", None, Some(visibility_ms)) => How::Extend {
            visibility_ms: messages::visibility(visibility_ms)?,
        },
        _ => {
            return Err(Problem::new(
                Kind::BAD_JSON,
                "delay_ms is only of nack; visibility_ms is only of extend, which needs it",
            ));
        }
    };
    Ok(Request::Settle {
        queue: frame.queue,
        receipts: frame.receipts,
        how,
    })
}

/// The name of a subscription, checked.
fn channel(name: String) -> Result<String, Problem> {
    if (1..=HTTP_SOCKET_NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(name);
    }
    let detail = format!("a subscription's name has 1 to {HTTP_SOCKET_NAME_BYTES_MAX} bytes");
    Err(Problem::new(Kind::INVALID_NAME, detail))
}

fn read<T: DeserializeOwned>(text: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(text)
        .map(|Object(frame)| frame)
        .map_err(|error| bad_frame(&error))
}

fn bad_frame(error: &serde_json::Error) -> Problem {
    Problem::new(Kind::BAD_JSON, format!("the frame cannot be read: {error}"))
}

fn refused(id: Option<Box<str>>, problem: Problem) -> Frame {
    Frame {
        id,
        request: Err(problem),
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
