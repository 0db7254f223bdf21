//! What clients get.

use axum::extract::ws::{Message, Utf8Bytes};
use millstream_broker::live::{LiveMessage, Lost};
use millstream_broker::produce::Published;
use millstream_broker::queues::machine::Answers;
use millstream_broker::queues::{QueueHandle, Receipt, Received};

use crate::api::live;
use crate::api::queues::ack_and_publish::{self, PublishedParts};
use crate::api::queues::{messages, settle};
use crate::api::records::write_published;
use crate::json::JsonBuffer;
use crate::problem::Problem;

/// A frame of some type that answers a request with that id, left open for more members.
fn answer(kind: &str, id: Option<&str>) -> JsonBuffer {
    let mut json = JsonBuffer::with_capacity(128);
    json.raw("{\"type\":\"");
    json.raw(kind);
    json.raw("\"");
    if let Some(id) = id {
        json.raw(",\"id\":");
        json.raw(id);
    }
    json
}

/// A frame of some type that a subscription brings, left open for more members.
fn event(kind: &str, channel: &str, capacity: usize) -> JsonBuffer {
    let mut json = JsonBuffer::with_capacity(128 + capacity);
    json.raw("{\"type\":\"");
    json.raw(kind);
    json.raw("\",\"subscription\":");
    json.text(channel);
    json
}

fn closed(mut json: JsonBuffer) -> Message {
    json.raw("}");
    let text = Utf8Bytes::try_from(json.into_bytes());
    Message::Text(text.expect("JSON is UTF-8"))
}

fn position(json: &mut JsonBuffer, position: Option<&str>) {
    json.raw(",\"position\":");
    match position {
        Some(position) => json.text(position),
        None => json.raw("null"),
    }
}

fn problem(json: &mut JsonBuffer, problem: &Problem) {
    json.raw(",\"problem\":");
    json.raw_bytes(&problem.to_json());
}

pub(super) fn error(id: Option<&str>, refused: &Problem) -> Message {
    let mut json = answer("error", id);
    problem(&mut json, refused);
    closed(json)
}

pub(super) fn published(
    id: Option<&str>,
    topic: &str,
    published: &[Published],
    replayed: bool,
) -> Message {
    let mut json = answer("published", id);
    json.raw(",");
    write_published(&mut json, topic, published);
    if replayed {
        json.raw(",\"replayed\":true");
    }
    closed(json)
}

pub(super) fn acked_and_published(id: Option<&str>, parts: &PublishedParts) -> Message {
    let mut json = answer("acked-and-published", id);
    json.raw(",");
    ack_and_publish::write(&mut json, parts);
    closed(json)
}

/// `subscribed`, `consuming` and `unsubscribed`.
pub(super) fn of_channel(kind: &str, id: Option<&str>, channel: &str) -> Message {
    let mut json = answer(kind, id);
    json.raw(",\"subscription\":");
    json.text(channel);
    closed(json)
}

pub(super) fn subscribed(id: Option<&str>, channel: &str, at: Option<&str>) -> Message {
    let mut json = answer("subscribed", id);
    json.raw(",\"subscription\":");
    json.text(channel);
    position(&mut json, at);
    closed(json)
}

pub(super) fn settled(id: Option<&str>, receipts: &[Option<Receipt>], answers: Answers) -> Message {
    let mut json = answer("settled", id);
    json.raw(",");
    settle::write_results(&mut json, receipts, answers);
    closed(json)
}

/// `pong`, and `ok` where there is nothing to tell.
pub(super) fn plain(kind: &str, id: Option<&str>) -> Message {
    closed(answer(kind, id))
}

pub(super) fn record(channel: &str, message: &LiveMessage, at: Option<&str>) -> Message {
    let record = message.rendered(live::render);
    let mut json = event("record", channel, record.len());
    position(&mut json, at);
    json.raw(",\"record\":");
    json.raw_bytes(record);
    closed(json)
}

pub(super) fn dropped(channel: &str, count: u64) -> Message {
    let mut json = event("dropped", channel, 0);
    json.raw(",\"count\":");
    json.number(count);
    closed(json)
}

pub(super) fn lost(channel: &str, lost: &Lost, at: Option<&str>) -> Message {
    let mut json = event("lost", channel, 0);
    position(&mut json, at);
    json.raw(",\"lost\":");
    json.raw_bytes(&live::lost_json(lost));
    closed(json)
}

pub(super) fn message(channel: &str, queue: &QueueHandle, received: &Received) -> Message {
    let value = received.message.value.as_ref();
    let mut json = event("message", channel, 256 + value.map_or(0, bytes::Bytes::len));
    json.raw(",\"message\":");
    messages::write_received(&mut json, queue, received);
    closed(json)
}

/// Where a subscription stands that has brought nothing for a while.
pub(super) fn standing(channel: &str, at: &str) -> Message {
    let mut json = event("position", channel, 0);
    position(&mut json, Some(at));
    closed(json)
}

/// There is nothing more to come of a subscription.
pub(super) fn end(channel: &str, reason: &Problem) -> Message {
    let mut json = event("end", channel, 0);
    problem(&mut json, reason);
    closed(json)
}
