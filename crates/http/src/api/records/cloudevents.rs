//! CloudEvents 1.0: over HTTP in binary, structured and batched mode, in the log as the Kafka binding's binary mode has
//! them: an attribute `name` is the header `ce_name`, the data's type is the header `content-type`, the data the value.
//!
//! The extension `partitionkey` becomes the key too, as the Kafka binding wants.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use millstream_broker::produce::NewMessage;
use serde_json::value::RawValue;

use super::message::{check_count, shortened};
use super::publish::PublishQuery;
use super::raw;
use crate::body::{Payload, bad_json, is_json};
use crate::problem::{Kind, Problem};

/// What the headers of an event in binary mode begin with.
const HTTP_PREFIX: &str = "ce-";

const KAFKA_PREFIX: &str = "ce_";

/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

const SPEC_VERSION: &str = "1.0";

type Attributes<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// Whether the request is an event in binary mode, though it may lack what every event has.
pub(super) fn is_event(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| name.as_str().starts_with(HTTP_PREFIX))
}

/// An event in binary mode: attributes in the headers, data in the body.
pub(super) fn binary(
    payload: &Payload,
    query: PublishQuery,
    now_ms: i64,
) -> Result<NewMessage, Problem> {
    let mut attributes = Attributes::new();
    for (name, value) in &payload.headers {
        if let Some(name) = name.as_str().strip_prefix(HTTP_PREFIX) {
            let value = unescaped(value.as_bytes()).ok_or_else(|| {
                refused(format!("the header ce-{name} is not percent-encoded UTF-8"))
            })?;
            attributes.insert(name.into(), value.into());
        }
    }
    let mut message = NewMessage {
        value: Some(payload.bytes.clone()),
        headers: raw::content_type(&payload.headers).into_iter().collect(),
        ..NewMessage::default()
    };
    put_attributes(&mut message, &attributes)?;
    raw::finish(&mut message, payload, query, now_ms)?;
    Ok(message)
}

/// An event in structured mode: all of it in the body.
pub(super) fn structured(
    payload: &Payload,
    query: PublishQuery,
    now_ms: i64,
) -> Result<Vec<NewMessage>, Problem> {
    let event = serde_json::from_slice(&payload.bytes).map_err(|error| bad_json(&error))?;
    let mut message = from_json(event)?;
    raw::finish(&mut message, payload, query, now_ms)?;
    Ok(vec![message])
}

/// Several events in structured mode.
pub(super) fn batch(
    payload: &Payload,
    query: &PublishQuery,
    now_ms: i64,
) -> Result<Vec<NewMessage>, Problem> {
    if *query != PublishQuery::default() {
        return Err(Problem::new(
            Kind::BAD_QUERY,
            "the query parameters are for single events; leave them out with a batch",
        ));
    }
    raw::check_no_headers(&payload.headers)?;
    let events: Vec<Event<'_>> =
        serde_json::from_slice(&payload.bytes).map_err(|error| bad_json(&error))?;
    check_count(events.len())?;
    let read = |(at, event)| {
        let mut message =
            from_json(event).map_err(|problem| problem.within(&format!("event {at}: ")))?;
        super::message::Options::default().apply(&mut message, now_ms)?;
        Ok(message)
    };
    events.into_iter().enumerate().map(read).collect()
}

type Event<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn from_json(mut event: Event<'_>) -> Result<NewMessage, Problem> {
    let data = event.remove("data");
    let data_base64 = event.remove("data_base64");
    let mut attributes = Attributes::new();
    for (name, value) in event {
        if let Some(text) = attribute(value.get()) {
            attributes.insert(name, text?);
        }
    }
    let content_type = attributes.remove("datacontenttype");
    let value = match (data, data_base64) {
        (Some(_), Some(_)) => return Err(refused("data and data_base64 exclude each other")),
        (Some(data), None) => Some(json_data(data, content_type.as_deref())?),
        (None, Some(encoded)) => Some(binary_data(encoded)?),
        (None, None) => None,
    };
    let has_json = data.is_some();
    let content_type = content_type.or_else(|| has_json.then(|| "application/json".into()));
    let mut message = NewMessage {
        value,
        ..NewMessage::default()
    };
    if let Some(content_type) = content_type {
        message.headers.push((
            Bytes::from_static(b"content-type"),
            Some(content_type.into_owned().into()),
        ));
    }
    put_attributes(&mut message, &attributes)?;
    Ok(message)
}

/// An attribute as text; none for null, which is as good as absent.
fn attribute(json: &str) -> Option<Result<Cow<'static, str>, Problem>> {
    match json.as_bytes()[0] {
        b'n' => None,
        b'"' => Some(
            serde_json::from_str::<String>(json)
                .map(Cow::Owned)
                .map_err(|error| bad_json(&error)),
        ),
        b'{' | b'[' => Some(Err(refused(format!(
            "the attribute {} is neither text nor a number nor true nor false",
            shortened(json)
        )))),
        _ => Some(Ok(Cow::Owned(json.to_owned()))),
    }
}

/// Data in JSON: as it stands if its type is JSON, else the text that it is.
fn json_data(data: &RawValue, content_type: Option<&str>) -> Result<Bytes, Problem> {
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    let is_text = essence.is_some_and(|essence| !is_json(&essence.to_ascii_lowercase()));
    if is_text && data.get().starts_with('"') {
        let text: String = serde_json::from_str(data.get()).map_err(|error| bad_json(&error))?;
        return Ok(text.into());
    }
    Ok(Bytes::copy_from_slice(data.get().as_bytes()))
}

fn binary_data(encoded: &RawValue) -> Result<Bytes, Problem> {
    let text: Cow<'_, str> =
        serde_json::from_str(encoded.get()).map_err(|error| bad_json(&error))?;
    let bytes = BASE64.decode(text.as_bytes());
    bytes
        .map(Bytes::from)
        .map_err(|_| refused("data_base64 is not base64"))
}

/// Checks the attributes and makes them headers.
fn put_attributes(message: &mut NewMessage, attributes: &Attributes<'_>) -> Result<(), Problem> {
    for required in REQUIRED {
        if attributes
            .get(required)
            .is_none_or(|value| value.is_empty())
        {
            return Err(refused(format!("the event has no {required}")));
        }
    }
    let version = &attributes["specversion"];
    if version != SPEC_VERSION {
        return Err(refused(format!(
            "the event's specversion is {}; {SPEC_VERSION} is read here",
            shortened(version)
        )));
    }
    if let Some(time) = attributes.get("time").filter(|time| !is_timestamp(time)) {
        return Err(refused(format!(
            "the event's time is {:?}; it is written as 2026-01-31T12:00:00Z (RFC 3339)",
            shortened(time)
        )));
    }
    for (name, value) in attributes {
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(refused(format!(
                "{:?} is no attribute's name: those are of lower case letters and digits",
                shortened(name)
            )));
        }
        message.headers.push((
            format!("{KAFKA_PREFIX}{name}").into(),
            Some(value.to_string().into()),
        ));
    }
    message.key = attributes
        .get("partitionkey")
        .map(|key| key.to_string().into());
    Ok(())
}

/// Whether a text is a moment as RFC 3339 (section 5.6) writes it.
fn is_timestamp(text: &str) -> bool {
    let number = |from: usize, digits: usize| -> Option<u32> {
        let part = text.get(from..from + digits)?;
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok())?
    };
    let has = |at: usize, marks: &str| text[at..].starts_with(|mark| marks.contains(mark));
    let read = || {
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let marks = has(4, "-") && has(7, "-") && has(10, "Tt") && has(13, ":") && has(16, ":");
        let is_moment = (1..=days).contains(&day) && hour < 24 && minute < 60 && second <= 60;
        let mut at = 19;
        if text.get(at..)?.starts_with('.') {
            let digits = text[at + 1..]
                .bytes()
                .take_while(u8::is_ascii_digit)
                .count();
            at += (digits > 0).then_some(1 + digits)?;
        }
        let is_zone = match &text.as_bytes()[at..] {
            [b'Z' | b'z'] => true,
            [b'+' | b'-', _, _, b':', _, _] => number(at + 1, 2)? < 24 && number(at + 4, 2)? < 60,
            _ => false,
        };
        Some(marks && is_moment && is_zone)
    };
    text.is_ascii() && read() == Some(true)
}

fn refused(what: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Kind::INVALID_RECORD, what)
}

/// Undoes percent-encoding (section 3.1.3.2 of the HTTP binding).
fn unescaped(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Result<NewMessage, Problem> {
        from_json(serde_json::from_str(json).unwrap())
    }

    fn header(message: &NewMessage, name: &str) -> Option<String> {
        let found = message.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8(found.1.as_ref()?.to_vec()).unwrap())
    }

    #[test]
    fn a_structured_event_becomes_a_record_in_binary_mode() {
        let message = event(
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","count":3,"flag":true,"gone":null,
                "partitionkey":"p","data":{"a": 1}}"#,
        )
        .unwrap();
        assert_eq!(message.value.as_deref(), Some(&br#"{"a": 1}"#[..]));
        assert_eq!(message.key.as_deref(), Some(&b"p"[..]));
        for (name, value) in [
            ("ce_id", "1"),
            ("ce_count", "3"),
            ("ce_flag", "true"),
            ("ce_partitionkey", "p"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(header(&message, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(header(&message, "ce_gone"), None);
    }

    #[test]
    fn data_is_what_its_type_says() {
        let base = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
        for (data, value) in [
            (r#""data":"text""#, Some("\"text\"")),
            (
                r#""datacontenttype":"text/plain","data":"text""#,
                Some("text"),
            ),
            (
                r#""datacontenttype":"application/x+json","data":"text""#,
                Some("\"text\""),
            ),
            (
                r#""datacontenttype":"text/plain","data_base64":"aGk=""#,
                Some("hi"),
            ),
            (r#""subject":"none""#, None),
        ] {
            let message = event(&format!("{{{base},{data}}}")).unwrap();
            assert_eq!(message.value.as_deref(), value.map(str::as_bytes), "{data}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for json in [
            "{}",
            r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#,
            r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#,
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","Upper":"1"}"#,
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","list":[1]}"#,
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":""}"#,
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"?"}"#,
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"garbage"}"#,
        ] {
            assert_eq!(
                event(json).unwrap_err().kind,
                Kind::INVALID_RECORD,
                "{json}"
            );
        }
    }

    #[test]
    fn a_time_is_one_of_rfc_3339() {
        for time in [
            "2026-01-31T12:00:00Z",
            "2024-02-29t23:59:60.123456789z",
            "2026-12-01T00:00:00.5+05:30",
            "2000-02-29T00:00:00-00:00",
        ] {
            assert!(is_timestamp(time), "{time}");
        }
        for time in [
            "",
            "garbage",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-13-31T12:00:00Z",
            "2026-02-29T12:00:00Z",
            "1900-02-29T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00+0100",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00ZZ",
            "2026-01-31T12:00:0\u{661}Z",
        ] {
            assert!(!is_timestamp(time), "{time}");
        }
    }

    #[test]
    fn headers_are_percent_decoded() {
        assert_eq!(unescaped(b"a%20%e2%82%AC").as_deref(), Some("a €"));
        assert_eq!(unescaped(b"%zz"), None);
        assert_eq!(unescaped(b"%2"), None);
        assert_eq!(unescaped(b"%ff"), None);
    }
}
