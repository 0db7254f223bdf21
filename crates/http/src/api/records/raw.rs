//! A raw body: the value of one record.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use millstream_broker::produce::NewMessage;

use super::message::Options;
use super::publish::PublishQuery;
use crate::body::Payload;
use crate::problem::{Kind, Problem};

/// The request header with the key.
const KEY_HEADER: &str = "millstream-key";

/// What request headers that become the record's begin with.
const HEADER_PREFIX: &str = "millstream-header-";

/// The record that a raw body is.
pub(super) fn message(
    payload: &Payload,
    query: PublishQuery,
    now_ms: i64,
) -> Result<NewMessage, Problem> {
    let mut message = NewMessage {
        value: Some(payload.bytes.clone()),
        headers: content_type(&payload.headers).into_iter().collect(),
        ..NewMessage::default()
    };
    finish(&mut message, payload, query, now_ms)?;
    Ok(message)
}

/// Adds what the query and the request's headers say of a record.
pub(super) fn finish(
    message: &mut NewMessage,
    payload: &Payload,
    query: PublishQuery,
    now_ms: i64,
) -> Result<(), Problem> {
    let (key, options) = split(query);
    if let Some(key) = key.or_else(|| value_of(&payload.headers, KEY_HEADER)) {
        message.key = Some(key);
    }
    for (name, value) in &payload.headers {
        if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
            if name.is_empty() {
                return Err(Problem::new(
                    Kind::BAD_HEADER,
                    "Millstream-Header- wants the header's name behind it",
                ));
            }
            message.headers.push((
                Bytes::copy_from_slice(name.as_bytes()),
                Some(Bytes::copy_from_slice(value.as_bytes())),
            ));
        }
    }
    options.apply(message, now_ms)
}

/// Refuses headers that say something of one record, where records say it themselves.
pub(super) fn check_no_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let is_of_record = |name: &str| name == KEY_HEADER || name.starts_with(HEADER_PREFIX);
    match headers.keys().find(|name| is_of_record(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Problem::new(
            Kind::BAD_HEADER,
            format!(
                "the header {name} goes with raw bodies and single events; records in JSON say their keys and headers themselves, leave it out"
            ),
        )),
    }
}

/// The key, and the rest.
pub(super) fn split(query: PublishQuery) -> (Option<Bytes>, Options) {
    let options = Options {
        expected: query.expected,
        partition: query.partition,
        timestamp: query.timestamp,
        priority: query.priority,
        delay_ms: query.delay_ms,
        deliver_at: query.deliver_at,
        ttl_ms: query.ttl_ms,
        expires_at: query.expires_at,
        id: query.id.map(Bytes::from),
    };
    (query.key.map(Bytes::from), options)
}

/// The content type as a record's header.
pub(super) fn content_type(headers: &HeaderMap) -> Option<(Bytes, Option<Bytes>)> {
    value_of(headers, CONTENT_TYPE.as_str())
        .map(|value| (Bytes::from_static(b"content-type"), Some(value)))
}

fn value_of(headers: &HeaderMap, name: &str) -> Option<Bytes> {
    let value = headers.get(name)?;
    Some(Bytes::copy_from_slice(value.as_bytes()))
}
