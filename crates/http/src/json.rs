//! Records as JSON, written straight into one buffer.
//!
//! A text is written as a string, anything else as `{"base64": "…"}`; what is not there as `null`. Header names come once
//! each, in the order of their first occurrence; a name that came more than once has an array. The rare header name that
//! is not UTF-8 is written as `base64:` and its base64.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::Write;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use millstream_broker::Broker;
use millstream_broker::live::LiveMessage;
use millstream_broker::queues::Message;
use millstream_broker::streams::Held;
use millstream_record::{Header, Headers, Offset, Record, TimestampMs};
use serde::Serialize;

/// What a header name that is not text begins with.
const ENCODED_NAME: &str = "base64:";

/// So many header names are compared with each other; beyond, looking them up is cheaper.
const COMPARED_HEADERS_MAX: usize = 32;

/// A record, whatever it lies in.
struct Content<'a> {
    topic: &'a str,
    partition: u32,
    offset: Offset,
    timestamp: TimestampMs,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a Headers,
}

/// The values of one header.
type Values<'a> = Vec<Option<&'a [u8]>>;

/// JSON under way.
#[derive(Debug, Default)]
pub(crate) struct JsonBuffer(Vec<u8>);

impl JsonBuffer {
    pub(crate) fn with_capacity(bytes: usize) -> JsonBuffer {
        JsonBuffer(Vec::with_capacity(bytes))
    }

    /// What was written so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes JSON that is known as it is.
    pub(crate) fn raw(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// The same of bytes.
    pub(crate) fn raw_bytes(&mut self, json: &[u8]) {
        self.0.extend_from_slice(json);
    }

    /// Writes what is known to need no escapes.
    pub(crate) fn plain(&mut self, text: impl Display) {
        write!(self.0, "\"{text}\"").expect("a vector takes all bytes");
    }

    pub(crate) fn number(&mut self, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.0.extend_from_slice(digits.format(number).as_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        // Most texts stand in JSON as they are, and are looked at and copied much faster as a whole than byte by byte.
        if is_plain(text.as_bytes()) {
            self.0.reserve(text.len() + 2);
            self.raw("\"");
            self.raw(text);
            self.raw("\"");
            return;
        }
        serde_json::to_writer(&mut self.0, text).expect("text can be written as JSON");
    }

    /// Bytes: a string if they are text, else base64.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            Err(_) => {
                self.raw("{\"base64\":\"");
                self.base64(bytes);
                self.raw("\"}");
            }
        }
    }

    pub(crate) fn nullable(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.raw("null"),
        }
    }

    fn base64(&mut self, bytes: &[u8]) {
        let from = self.0.len();
        self.0.resize(from + bytes.len().div_ceil(3) * 4, 0);
        let written = BASE64
            .encode_slice(bytes, &mut self.0[from..])
            .expect("there is room for it");
        self.0.truncate(from + written);
    }

    /// A record with its place: `{"topic":…,"partition":…,"offset":…,"timestamp":…,"key":…,"value":…,"headers":{…}}`.
    pub(crate) fn placed_record(&mut self, topic: &str, partition: u32, record: &Record) {
        self.raw("{");
        self.content(&Content {
            topic,
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        });
        self.raw("}");
    }

    /// The same of a record that was pushed.
    pub(crate) fn live_record(&mut self, message: &LiveMessage) {
        self.raw("{");
        self.content(&Content {
            topic: message.topic.as_str(),
            partition: message.partition,
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            headers: &message.headers,
        });
        self.raw("}");
    }

    /// A queue's message, without braces around it.
    pub(crate) fn message(&mut self, message: &Message) {
        self.content(&Content {
            topic: message.topic.as_str(),
            partition: message.partition,
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            headers: &message.headers,
        });
    }

    fn content(&mut self, content: &Content<'_>) {
        self.raw("\"topic\":");
        self.text(content.topic);
        self.raw(",\"partition\":");
        self.number(content.partition);
        self.raw(",\"offset\":");
        self.number(content.offset.get());
        self.raw(",\"timestamp\":");
        self.number(content.timestamp.get());
        self.raw(",\"key\":");
        self.nullable(content.key);
        self.raw(",\"value\":");
        self.nullable(content.value);
        self.raw(",\"headers\":");
        self.headers(content.headers);
    }

    /// Headers as an object.
    pub(crate) fn headers(&mut self, headers: &Headers) {
        self.raw("{");
        if headers.len() <= COMPARED_HEADERS_MAX {
            self.few_headers(headers);
        } else {
            self.many_headers(headers);
        }
        self.raw("}");
    }

    /// Compares every name with all others.
    fn few_headers(&mut self, headers: &Headers) {
        let mut is_first = true;
        for (at, header) in headers.iter().enumerate() {
            let is_named = |other: &Header<'_>| other.key == header.key;
            if headers.iter().take(at).any(|other| is_named(&other)) {
                continue;
            }
            let more = headers.iter().skip(at + 1).filter(is_named);
            let values = std::iter::once(header).chain(more);
            self.header(is_first, header.key, values.map(|header| header.value));
            is_first = false;
        }
    }

    /// Writes the same, in time that does not grow with the square of their number.
    fn many_headers(&mut self, headers: &Headers) {
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut named: Vec<(&[u8], Values<'_>)> = Vec::new();
        for header in headers.iter() {
            let place = *places.entry(header.key).or_insert(named.len());
            if place == named.len() {
                named.push((header.key, Vec::new()));
            }
            named[place].1.push(header.value);
        }
        for (at, (name, values)) in named.into_iter().enumerate() {
            self.header(at == 0, name, values.into_iter());
        }
    }

    /// A header with all its values, at least one.
    fn header<'a>(
        &mut self,
        is_first: bool,
        name: &[u8],
        values: impl Iterator<Item = Option<&'a [u8]>>,
    ) {
        if !is_first {
            self.raw(",");
        }
        self.name(name);
        self.raw(":");
        let mut values = values.peekable();
        let first = values.next().flatten();
        if values.peek().is_none() {
            self.nullable(first);
            return;
        }
        self.raw("[");
        self.nullable(first);
        for value in values {
            self.raw(",");
            self.nullable(value);
        }
        self.raw("]");
    }

    fn name(&mut self, name: &[u8]) {
        match std::str::from_utf8(name) {
            Ok(text) => self.text(text),
            Err(_) => {
                self.raw("\"");
                self.raw(ENCODED_NAME);
                self.base64(name);
                self.raw("\"");
            }
        }
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0.into()
    }

    /// A successful answer.
    pub(crate) fn into_response(self) -> Response {
        answer(StatusCode::OK, self.0)
    }

    /// A successful answer of what readers have fetched: it is `held` until it is sent.
    pub(crate) fn into_held_response(mut self, broker: &Broker, mut held: Held) -> Response {
        if self.0.capacity() / 2 > self.0.len() {
            self.0.shrink_to_fit();
        }
        // Where it has grown beyond what is free, what was read is counted at least.
        broker.recount(&mut held, self.0.capacity());
        answer(StatusCode::OK, HeldBytes::body(self.0, held))
    }
}

/// Whether a text has nothing in it that JSON escapes (RFC 8259, section 7).
fn is_plain(text: &[u8]) -> bool {
    const STRETCH_BYTES: usize = 64;
    let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    // Without a way out inside a stretch, the compiler looks at many bytes at a time.
    let mut stretches = text.chunks(STRETCH_BYTES);
    stretches.all(|stretch| {
        !stretch
            .iter()
            .fold(false, |any, byte| any | is_escaped(byte))
    })
}

/// Bytes of an answer, and the memory they take of what all readers share.
pub(crate) struct HeldBytes<T> {
    bytes: T,
    _held: Held,
}

impl<T: AsRef<[u8]> + Send + 'static> HeldBytes<T> {
    /// A body that gives the memory back when it is sent.
    pub(crate) fn body(bytes: T, held: Held) -> Body {
        Body::from(Bytes::from_owner(HeldBytes { bytes, _held: held }))
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for HeldBytes<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// A value as a JSON answer.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let json = serde_json::to_vec(&self.0).expect("answers can be written as JSON");
        answer(StatusCode::OK, json)
    }
}

fn answer(status: StatusCode, json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(record: &Record) -> serde_json::Value {
        let mut json = JsonBuffer::default();
        json.placed_record("a \"topic\"", 3, record);
        serde_json::from_slice(&json.0).unwrap()
    }

    #[test]
    fn a_record_is_written_without_loss() {
        let header = |key: &'static [u8], value| Header { key, value };
        let record = Record {
            offset: Offset(7),
            timestamp: TimestampMs(1_000),
            key: Some(b"\xff\xfe"[..].into()),
            value: Some("a\u{0}\n\u{1f600}".as_bytes().into()),
            headers: Headers::new(&[
                header(b"one", Some(b"1")),
                header(b"two", Some(b"")),
                header(b"one", None),
                header(b"\xff", Some(b"\xff")),
            ]),
        };
        let json = written(&record);
        assert_eq!(json["topic"], "a \"topic\"");
        assert_eq!(json["partition"], 3);
        assert_eq!(json["offset"], 7);
        assert_eq!(json["timestamp"], 1_000);
        assert_eq!(json["key"]["base64"], "//4=");
        assert_eq!(json["value"], "a\u{0}\n\u{1f600}");
        assert_eq!(json["headers"]["one"], serde_json::json!(["1", null]));
        assert_eq!(json["headers"]["two"], "");
        assert_eq!(json["headers"]["base64:/w=="]["base64"], "/w==");
    }

    #[test]
    fn many_headers_are_written_as_few_are() {
        let names: Vec<String> = (0..60).map(|n| format!("name-{}", n % 40)).collect();
        let values: Vec<String> = (0..60).map(|n| n.to_string()).collect();
        let pairs = names.iter().zip(&values);
        let all: Vec<_> = pairs
            .map(|(name, value)| Header {
                key: name.as_bytes(),
                value: Some(value.as_bytes()),
            })
            .collect();
        for count in [0, 1, 2, 32, 33, 60] {
            let headers = Headers::new(&all[..count]);
            let (mut few, mut many) = (JsonBuffer::default(), JsonBuffer::default());
            few.few_headers(&headers);
            many.many_headers(&headers);
            assert_eq!(few.0, many.0, "{count}");
        }
    }

    #[test]
    fn headers_by_the_hundred_thousand_are_written() {
        // Comparing each with all others would take minutes.
        let names: Vec<String> = (0..300_000).map(|n| format!("{n:06}")).collect();
        let again = "000007".to_owned();
        let all: Vec<_> = names
            .iter()
            .chain([&again])
            .map(|name| Header {
                key: name.as_bytes(),
                value: None,
            })
            .collect();
        let mut json = JsonBuffer::default();
        json.headers(&Headers::new(&all));
        let text = std::str::from_utf8(&json.0).unwrap();
        assert!(text.starts_with(r#"{"000000":null,"000001":null,"#));
        assert!(text.contains(r#","000007":[null,null],"000008":null,"#));
        assert!(text.ends_with(r#","299999":null}"#));
        assert_eq!(text.matches(':').count(), names.len());
    }

    #[test]
    fn any_text_is_written_as_serde_has_it() {
        let long = "x".repeat(200);
        let mut texts: Vec<String> = (0..=0x7f_u8).map(|byte| char::from(byte).into()).collect();
        for at in [0, 1, 63, 64, 127, 128, 199] {
            for special in [
                "\"",
                "\\",
                "\n",
                "\u{1f}",
                "\u{7f}",
                "é",
                "\u{2028}",
                "\u{1f600}",
            ] {
                let mut text = long.clone();
                text.insert_str(at, special);
                texts.push(text);
            }
        }
        for text in texts {
            let mut json = JsonBuffer::default();
            json.text(&text);
            assert_eq!(json.0, serde_json::to_vec(&text).unwrap(), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_null() {
        let record = Record {
            offset: Offset(0),
            timestamp: TimestampMs(-1),
            key: None,
            value: None,
            headers: Headers::default(),
        };
        let json = written(&record);
        assert!(json["key"].is_null() && json["value"].is_null());
        assert_eq!(json["headers"], serde_json::json!({}));
    }
}
