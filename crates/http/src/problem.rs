//! Refusals: problem documents (RFC 9457), each of a kind that programs can tell by its code.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use millstream_limits::HTTP_RETRY_AFTER_SECONDS;
use serde::Serialize;
use utoipa::ToSchema;

/// The content type of problem documents.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Where the kinds are explained: the page has a heading for each code.
const TYPE_BASE: &str = "https://github.com/millstream/millstream/blob/main/docs/http.md#";

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Stable, for programs.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// What it means, in a few words, the same for all of the kind.
    pub title: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident, $code:literal, $title:literal;)*) => {
        impl Kind {
            $(#[doc = $title] pub const $name: Kind = Kind {
                code: $code,
                status: StatusCode::$status,
                title: $title,
            };)*

            /// Every kind there is.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];
        }
    };
}

kinds! {
    BAD_REQUEST = BAD_REQUEST, "bad-request", "The request cannot be understood";
    BAD_JSON = BAD_REQUEST, "bad-json", "The body is not the JSON that is expected";
    BAD_QUERY = BAD_REQUEST, "bad-query", "A query parameter cannot be understood";
    BAD_PATH = BAD_REQUEST, "bad-path", "A part of the path cannot be understood";
    BAD_HEADER = BAD_REQUEST, "bad-header", "A request header cannot be understood";
    INVALID_NAME = BAD_REQUEST, "invalid-name", "The name cannot be one";
    INVALID_SETTING = BAD_REQUEST, "invalid-setting", "A setting is refused";
    INVALID_PARTITIONS = BAD_REQUEST, "invalid-partitions", "The number of partitions cannot be";
    INVALID_RECORD = BAD_REQUEST, "invalid-record", "A record is not one that the topic takes";
    INVALID_POLICY = BAD_REQUEST, "invalid-policy", "The queue cannot be told that";
    CONSUMER_NEEDED = BAD_REQUEST, "consumer-needed", "The queue has to know who receives";
    INVALID_ROUTE = BAD_REQUEST, "invalid-route", "The route cannot be";
    FOREIGN_ORIGIN = FORBIDDEN, "foreign-origin", "The page that asks is not allowed to";
    FOREIGN_HOST = FORBIDDEN, "foreign-host", "The server does not go by that name";
    NOT_FOUND = NOT_FOUND, "not-found", "There is nothing at this path";
    UNKNOWN_TOPIC = NOT_FOUND, "unknown-topic", "There is no such topic";
    UNKNOWN_PARTITION = NOT_FOUND, "unknown-partition", "The topic has no such partition";
    UNKNOWN_GROUP = NOT_FOUND, "unknown-group", "There is no such group";
    UNKNOWN_QUEUE = NOT_FOUND, "unknown-queue", "There is no such queue";
    UNKNOWN_ROUTE = NOT_FOUND, "unknown-route", "There is no such route";
    UNKNOWN_SUBSCRIPTION = NOT_FOUND, "unknown-subscription", "There is no such subscription";
    UNKNOWN_RECORD = NOT_FOUND, "unknown-record", "There is no such record";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not one for this path";
    NOT_ACCEPTABLE = NOT_ACCEPTABLE, "not-acceptable", "The answer does not exist in a form that is accepted";
    BODY_TOO_SLOW = REQUEST_TIMEOUT, "body-too-slow", "The body did not come in time";
    READER_TOO_SLOW = REQUEST_TIMEOUT, "reader-too-slow", "The reader did not keep up";
    UPGRADE_REQUIRED = UPGRADE_REQUIRED, "upgrade-required", "The path is for WebSockets";
    EXISTS = CONFLICT, "exists", "The name is taken";
    GROUP_NOT_EMPTY = CONFLICT, "group-not-empty", "The group has members";
    CONFLICT = CONFLICT, "conflict", "The state of things does not allow it";
    COMPACTED_TOPIC = CONFLICT, "compacted-topic", "The topic is compacted";
    QUEUE_FULL = CONFLICT, "queue-full", "The queue is full";
    QUEUE_TAKEN = CONFLICT, "queue-taken", "Another consumer has the queue";
    RECEIPT_LOST = CONFLICT, "receipt-lost", "The receipt is not valid any more";
    OFFSET_OUT_OF_RANGE = GONE, "offset-out-of-range", "The partition does not hold that offset";
    PRECONDITION_FAILED = PRECONDITION_FAILED, "precondition-failed", "Somebody else was first";
    TOO_LARGE = PAYLOAD_TOO_LARGE, "too-large", "The body or a record is too large";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not of a kind that is read here";
    IDEMPOTENCY_KEY_REUSED = UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The idempotency key belongs to another request";
    INTERNAL = INTERNAL_SERVER_ERROR, "internal", "The server has made a mistake";
    DAMAGED = INTERNAL_SERVER_ERROR, "damaged", "Stored data is damaged";
    OVERLOADED = SERVICE_UNAVAILABLE, "overloaded", "The server is busy";
    MEMORY_FULL = SERVICE_UNAVAILABLE, "memory-full", "The topic is full";
    SHUTTING_DOWN = SERVICE_UNAVAILABLE, "shutting-down", "The server is shutting down";
    FAILED = SERVICE_UNAVAILABLE, "failed", "The server has to be restarted";
    NOT_READY = SERVICE_UNAVAILABLE, "not-ready", "The server is not ready";
    DISK_FULL = INSUFFICIENT_STORAGE, "disk-full", "The disk is full";
}

impl Kind {
    /// Whether the same request may well succeed later.
    fn is_to_be_tried_again(self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }
}

/// A refusal: what kind, and what exactly, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// What happened this time, and what to do.
    pub detail: Cow<'static, str>,
    /// Where the key's last record is, if it was expected elsewhere.
    pub position: Option<KeyPosition>,
    /// Which of several records it is about, by its number.
    pub(crate) record: Option<u32>,
    /// The member of the request's JSON that it is about, as a JSON Pointer in a URI fragment.
    pub pointer: Option<String>,
}

/// Where a key's last record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum KeyPosition {
    /// At that offset.
    At(i64),
    /// The key has no records.
    Nowhere,
}

/// A refusal as a problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// Where this kind of refusal is explained.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What it means, in a few words, the same for all of the kind.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What happened this time, and what to do.
    pub(crate) detail: &'a str,
    /// The kind of refusal, stable, for programs.
    pub(crate) code: &'static str,
    /// With `precondition-failed`: the offset of the key's last record, null if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub(crate) position: Option<KeyPosition>,
    /// With `precondition-failed`: what of the request's JSON it is about, as a JSON Pointer (RFC 6901), for instance
    /// `#/records/3/expected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<&'a str>,
}

impl Problem {
    /// A refusal of that kind.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem {
            kind,
            detail: detail.into(),
            position: None,
            record: None,
            pointer: None,
        }
    }

    /// The same, if it is about one of several records: says where that is.
    #[must_use]
    pub(crate) fn at_record(self, pointer: impl FnOnce(u32) -> String) -> Problem {
        Problem {
            pointer: self.record.map(pointer),
            ..self
        }
    }

    /// The same, said of a part of the request.
    #[must_use]
    pub(crate) fn within(self, part: &str) -> Problem {
        Problem {
            detail: format!("{part}{}", self.detail).into(),
            ..self
        }
    }

    /// The document, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let document = Document {
            kind: format!("{TYPE_BASE}{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: &self.detail,
            code: self.kind.code,
            position: self.position,
            pointer: self.pointer.as_deref(),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.kind.is_to_be_tried_again() {
            headers.insert(header::RETRY_AFTER, HTTP_RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_explained() {
        let page = include_str!("../../../docs/http.md");
        let codes: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for code in codes {
            assert!(
                page.contains(&format!("<a id=\"{code}\"></a>")),
                "docs/http.md does not explain {code}"
            );
        }
    }

    #[test]
    fn a_problem_says_all_that_the_standard_asks_for() {
        let problem = Problem::new(Kind::DISK_FULL, "make room");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["status"], 507);
        assert_eq!(json["code"], "disk-full");
        assert_eq!(json["title"], "The disk is full");
        assert_eq!(json["detail"], "make room");
        assert!(
            json["type"]
                .as_str()
                .unwrap()
                .ends_with("docs/http.md#disk-full")
        );
    }
}
