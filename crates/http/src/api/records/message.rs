//! Records in JSON, read without copying what need not be copied.
//!
//! The body is looked through once. Values are slices of it where they stand there as they are, which is the common case:
//! JSON that is not a string, and strings without escapes.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use millstream_broker::headers;
use millstream_broker::produce::{ExpectedPosition, NewMessage};
use millstream_limits::HTTP_RECORDS_MAX;
use millstream_record::{Offset, TimestampMs};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::body::{Object, bad_json};
use crate::problem::{Kind, Problem};

/// What a record may say beside its content.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) expected: Option<Expected>,
    pub(crate) partition: Option<u32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) priority: Option<u8>,
    pub(crate) delay_ms: Option<u64>,
    pub(crate) deliver_at: Option<i64>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) id: Option<Bytes>,
}

/// One record, as it stands in the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonRecord<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: JsonHeaders<'a>,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    delay_ms: Option<u64>,
    #[serde(default)]
    deliver_at: Option<i64>,
    #[serde(default)]
    ttl_ms: Option<u64>,
    #[serde(default)]
    expires_at: Option<i64>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    expected: Option<Expected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBatch<'a> {
    #[serde(borrow)]
    records: Vec<Object<JsonRecord<'a>>>,
}

/// Headers in their order.
#[derive(Default)]
struct JsonHeaders<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonHeaders<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = JsonHeaders<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of headers")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(JsonHeaders::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = Vec::with_capacity(map.size_hint().unwrap_or(0).min(64));
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    headers.push((name.0, map.next_value()?));
                }
                Ok(JsonHeaders(headers))
            }
        }
        deserializer.deserialize_any(InOrder)
    }
}

/// Where the last record of the key has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected(ExpectedPosition);

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OffsetOrAbsent;
        impl Visitor<'_> for OffsetOrAbsent {
            type Value = Expected;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an offset or \"absent\"")
            }

            fn visit_u64<E: de::Error>(self, offset: u64) -> Result<Expected, E> {
                let offset = i64::try_from(offset);
                let offset = offset.map_err(|_| E::custom("no offset is so large"))?;
                Ok(Expected(ExpectedPosition::At(Offset(offset))))
            }

            // Queries have text only.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expected, E> {
                match text.parse() {
                    Ok(offset) => self.visit_u64(offset),
                    Err(_) if text == "absent" => Ok(Expected(ExpectedPosition::Absent)),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(OffsetOrAbsent)
    }
}

/// A string, borrowed where it can be.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded<'a> {
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

/// Reads the body of a publish: one record, or `{"records": […]}`.
pub(crate) fn parse(body: &Bytes, now_ms: i64) -> Result<Vec<NewMessage>, Problem> {
    if !is_batch(body) {
        return Ok(vec![parse_one(body, now_ms)?]);
    }
    let Object(batch): Object<JsonBatch<'_>> =
        serde_json::from_slice(body).map_err(|error| bad_json(&error))?;
    check_count(batch.records.len())?;
    messages(body, &batch.records, 0, now_ms)
}

/// Where in such a body it is said what is expected of a record.
pub(crate) fn pointer(body: &[u8], record: u32) -> String {
    if is_batch(body) {
        format!("#/records/{record}/expected")
    } else {
        "#/expected".to_owned()
    }
}

/// Reads one record.
pub(crate) fn parse_one(body: &Bytes, now_ms: i64) -> Result<NewMessage, Problem> {
    let Object(record): Object<JsonRecord<'_>> =
        serde_json::from_slice(body).map_err(|error| bad_json(&error))?;
    message(body, &record, now_ms)
}

/// Reads an array of records.
pub(crate) fn parse_several(body: &Bytes, now_ms: i64) -> Result<Vec<NewMessage>, Problem> {
    let records: Vec<Object<JsonRecord<'_>>> =
        serde_json::from_slice(body).map_err(|error| bad_json(&error))?;
    check_count(records.len())?;
    messages(body, &records, 0, now_ms)
}

/// What is to be published, of records that stand in `body` and are numbered from `first` on.
pub(crate) fn messages(
    body: &Bytes,
    records: &[Object<JsonRecord<'_>>],
    first: u32,
    now_ms: i64,
) -> Result<Vec<NewMessage>, Problem> {
    let read = |(at, Object(record)): (usize, &Object<JsonRecord<'_>>)| {
        let read = message(body, record, now_ms);
        let mut read = read.map_err(|problem| problem.within(&format!("records[{at}]: ")))?;
        if let Some(expected) = &mut read.expected {
            expected.number = first + at as u32;
        }
        Ok(read)
    };
    records.iter().enumerate().map(read).collect()
}

/// Refuses more records than fit one publish.
pub(crate) fn check_count(count: usize) -> Result<(), Problem> {
    if count <= HTTP_RECORDS_MAX {
        return Ok(());
    }
    Err(Problem::new(
        Kind::TOO_LARGE,
        format!(
            "{count} records are more than the {HTTP_RECORDS_MAX} that one request takes; send fewer at once"
        ),
    ))
}

/// Whether the first member of the object is `records`.
fn is_batch(body: &[u8]) -> bool {
    let trimmed = |bytes: &[u8]| -> usize {
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count()
    };
    let body = &body[trimmed(body)..];
    let Some(body) = body.strip_prefix(b"{") else {
        return false;
    };
    body[trimmed(body)..].starts_with(b"\"records\"")
}

fn message(body: &Bytes, record: &JsonRecord<'_>, now_ms: i64) -> Result<NewMessage, Problem> {
    let options = Options {
        expected: record.expected,
        partition: record.partition,
        timestamp: record.timestamp,
        priority: record.priority,
        delay_ms: record.delay_ms,
        deliver_at: record.deliver_at,
        ttl_ms: record.ttl_ms,
        expires_at: record.expires_at,
        id: record
            .id
            .map(|id| text_or_base64(body, id, "id"))
            .transpose()?,
    };
    let mut headers = Vec::with_capacity(record.headers.0.len());
    for (name, value) in &record.headers.0 {
        push_header(body, name, value, &mut headers)?;
    }
    let mut message = NewMessage {
        key: record
            .key
            .map(|key| text_or_base64(body, key, "key"))
            .transpose()?,
        value: record.value.map(|value| content(body, value)).transpose()?,
        headers,
        ..NewMessage::default()
    };
    options.apply(&mut message, now_ms)?;
    Ok(message)
}

fn push_header(
    body: &Bytes,
    name: &str,
    value: &RawValue,
    headers: &mut Vec<(Bytes, Option<Bytes>)>,
) -> Result<(), Problem> {
    let name_bytes = part(body, name);
    if value.get().starts_with('[') {
        let values: Vec<&RawValue> =
            serde_json::from_str(value.get()).map_err(|error| bad_json(&error))?;
        for value in values {
            headers.push((name_bytes.clone(), header_value(body, name, value)?));
        }
        return Ok(());
    }
    headers.push((name_bytes, header_value(body, name, value)?));
    Ok(())
}

fn header_value(body: &Bytes, name: &str, value: &RawValue) -> Result<Option<Bytes>, Problem> {
    if value.get() == "null" {
        return Ok(None);
    }
    text_or_base64(body, value, &format!("header {name:?}")).map(Some)
}

/// The bytes of a string or of `{"base64": …}`.
pub(crate) fn text_or_base64(body: &Bytes, value: &RawValue, what: &str) -> Result<Bytes, Problem> {
    match value.get().as_bytes()[0] {
        b'"' => text(body, value),
        b'{' => decoded(value)
            .ok_or(())
            .and_then(|decoded| decoded.map_err(|_| ())),
        _ => Err(()),
    }
    .map_err(|()| {
        Problem::new(
            Kind::BAD_JSON,
            format!(
                "{what} is {}; it takes text or {{\"base64\": \"…\"}}",
                shortened(value.get())
            ),
        )
    })
}

/// What a record's value stands for: the text of a string, the bytes of `{"base64": …}`, and else the JSON itself.
fn content(body: &Bytes, value: &RawValue) -> Result<Bytes, Problem> {
    match value.get().as_bytes()[0] {
        b'"' => text(body, value).map_err(|()| {
            Problem::new(Kind::BAD_JSON, "value is a string with half of a surrogate pair; send bytes that are not text in base64")
        }),
        b'{' => match decoded(value) {
            Some(decoded) => decoded.map_err(|_| not_base64()),
            None => Ok(part(body, value.get())),
        },
        _ => Ok(part(body, value.get())),
    }
}

fn not_base64() -> Problem {
    Problem::new(
        Kind::BAD_JSON,
        "value.base64 is not base64; to publish an object with that member, send it as a string or as a raw body",
    )
}

/// The text of a JSON string.
fn text(body: &Bytes, value: &RawValue) -> Result<Bytes, ()> {
    let json = value.get();
    let inner = &json[1..json.len() - 1];
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(part(body, inner));
    }
    let unescaped: String = serde_json::from_str(json).map_err(|_| ())?;
    Ok(unescaped.into())
}

/// The bytes of `{"base64": "…"}`, if it is that.
fn decoded(value: &RawValue) -> Option<Result<Bytes, base64::DecodeError>> {
    // A look at its beginning spares a large object from being read twice.
    let inside = value.get()[1..].trim_start();
    if !inside.starts_with("\"base64\"") {
        return None;
    }
    let encoded: Encoded<'_> = serde_json::from_str(value.get()).ok()?;
    Some(BASE64.decode(encoded.base64.as_bytes()).map(Bytes::from))
}

/// A part of the body that shares its memory, where it is one.
fn part(body: &Bytes, text: &str) -> Bytes {
    let inside = body.as_ptr_range();
    let range = text.as_bytes().as_ptr_range();
    if !text.is_empty() && inside.contains(&range.start) && range.end <= inside.end {
        return body.slice_ref(text.as_bytes());
    }
    Bytes::copy_from_slice(text.as_bytes())
}

/// The beginning of a text, for a message.
pub(crate) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

impl Options {
    /// Puts these into a message, as fields and as headers.
    pub(crate) fn apply(self, message: &mut NewMessage, now_ms: i64) -> Result<(), Problem> {
        let refused = |what: String| Err(Problem::new(Kind::INVALID_RECORD, what));
        if let Some(timestamp) = self.timestamp.filter(|timestamp| *timestamp < 0) {
            return refused(format!("the timestamp {timestamp} is before the epoch"));
        }
        if let Some(priority) = self.priority.filter(|priority| *priority > 9) {
            return refused(format!("the priority is {priority}; it goes from 0 to 9"));
        }
        if self.id.as_ref().is_some_and(Bytes::is_empty) {
            return refused("id is empty; a record without an id has none".to_owned());
        }
        let moment = |names: [&str; 2], after: Option<u64>, at: Option<i64>| match (after, at) {
            (Some(_), Some(_)) => Err(Problem::new(
                Kind::INVALID_RECORD,
                format!("{} and {} exclude each other", names[0], names[1]),
            )),
            (Some(ms), None) => Ok(Some(
                now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)),
            )),
            (None, at) => Ok(at),
        };
        let deliver_at = moment(["delay_ms", "deliver_at"], self.delay_ms, self.deliver_at)?;
        let expires_at = moment(["ttl_ms", "expires_at"], self.ttl_ms, self.expires_at)?;
        message.partition = self.partition;
        message.expected = self.expected.map(|Expected(position)| position.into());
        message.timestamp = self.timestamp.map(TimestampMs);
        let mut push = |name: &'static str, value: Option<Bytes>| {
            if let Some(value) = value {
                message
                    .headers
                    .push((Bytes::from_static(name.as_bytes()), Some(value)));
            }
        };
        push(
            headers::PRIORITY,
            self.priority.map(|value| value.to_string().into()),
        );
        push(
            headers::DELIVER_AT,
            deliver_at.map(|value| value.max(0).to_string().into()),
        );
        push(
            headers::EXPIRES_AT,
            expires_at.map(|value| value.max(0).to_string().into()),
        );
        push(headers::ID, self.id);
        Ok(())
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
