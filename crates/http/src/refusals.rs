//! How each operation may refuse, for the description of the API.

use std::collections::BTreeMap;
use std::fmt::Write;

use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use crate::problem::{Kind, PROBLEM_JSON};

/// What any request may meet.
const ANY: &[Kind] = &[
    Kind::BAD_HEADER,
    Kind::FOREIGN_ORIGIN,
    Kind::FOREIGN_HOST,
    Kind::INTERNAL,
];

/// What a request with a body may meet.
const WITH_BODY: &[Kind] = &[
    Kind::BAD_REQUEST,
    Kind::BODY_TOO_SLOW,
    Kind::TOO_LARGE,
    Kind::UNSUPPORTED_MEDIA_TYPE,
    Kind::OVERLOADED,
];

/// What a request with a body in JSON may meet.
const WITH_JSON: &[Kind] = &[Kind::BAD_JSON];

/// What a change may meet that makes room.
const REMOVAL: &[Kind] = &[Kind::SHUTTING_DOWN, Kind::FAILED];

/// What any other change may meet.
const CHANGE: &[Kind] = &[Kind::SHUTTING_DOWN, Kind::FAILED, Kind::DISK_FULL];

/// What may be met where records are appended.
const APPEND: &[Kind] = &[
    Kind::SHUTTING_DOWN,
    Kind::FAILED,
    Kind::BAD_JSON,
    Kind::INVALID_RECORD,
    Kind::INVALID_ROUTE,
    Kind::UNKNOWN_TOPIC,
    Kind::UNKNOWN_PARTITION,
    Kind::QUEUE_FULL,
    Kind::PRECONDITION_FAILED,
    Kind::TOO_LARGE,
    Kind::MEMORY_FULL,
    Kind::DISK_FULL,
];

/// What may be met where records are read.
const READ: &[Kind] = &[
    Kind::DAMAGED,
    Kind::FAILED,
    Kind::OVERLOADED,
    Kind::SHUTTING_DOWN,
];

const TOPIC_SPEC: &[Kind] = &[
    Kind::INVALID_NAME,
    Kind::INVALID_PARTITIONS,
    Kind::INVALID_SETTING,
    Kind::EXISTS,
];

/// What the operation of that id may meet beside what its parameters and its body bring with them. `None` for an operation
/// that is not known.
fn of_operation(id: &str) -> Option<Vec<Kind>> {
    let kinds: &[&[Kind]] = match id {
        "list_topics" | "list_groups" | "list_routes" | "list_queues" | "metrics" | "openapi"
        | "docs" => &[],
        "create_topic" => &[TOPIC_SPEC, CHANGE],
        "put_topic" => &[TOPIC_SPEC, CHANGE, &[Kind::UNKNOWN_TOPIC]],
        "describe_topic" => &[&[Kind::UNKNOWN_TOPIC]],
        "alter_topic" => &[
            &[
                Kind::INVALID_PARTITIONS,
                Kind::INVALID_SETTING,
                Kind::UNKNOWN_TOPIC,
            ],
            CHANGE,
        ],
        "delete_topic" => &[&[Kind::UNKNOWN_TOPIC], REMOVAL],
        "publish" => &[APPEND, &[Kind::IDEMPOTENCY_KEY_REUSED]],
        "read" => &[
            READ,
            &[
                Kind::UNKNOWN_TOPIC,
                Kind::UNKNOWN_PARTITION,
                Kind::UNKNOWN_RECORD,
                Kind::OFFSET_OUT_OF_RANGE,
            ],
        ],
        "read_key" => &[
            READ,
            &[
                Kind::UNKNOWN_TOPIC,
                Kind::UNKNOWN_PARTITION,
                Kind::OFFSET_OUT_OF_RANGE,
            ],
        ],
        "delete_records" => &[
            &[
                Kind::UNKNOWN_TOPIC,
                Kind::UNKNOWN_PARTITION,
                Kind::OFFSET_OUT_OF_RANGE,
                Kind::COMPACTED_TOPIC,
            ],
            REMOVAL,
        ],
        "describe_group" => &[&[Kind::UNKNOWN_GROUP, Kind::OVERLOADED]],
        "delete_group" => &[
            &[Kind::UNKNOWN_GROUP, Kind::GROUP_NOT_EMPTY, Kind::OVERLOADED],
            REMOVAL,
        ],
        "put_route" => &[
            &[Kind::INVALID_ROUTE, Kind::INVALID_NAME, Kind::EXISTS],
            CHANGE,
        ],
        "describe_route" => &[&[Kind::UNKNOWN_ROUTE]],
        "delete_route" => &[&[Kind::UNKNOWN_ROUTE], REMOVAL],
        "create_queue" => &[
            &[
                Kind::INVALID_NAME,
                Kind::INVALID_POLICY,
                Kind::INVALID_SETTING,
                Kind::UNKNOWN_TOPIC,
                Kind::EXISTS,
                Kind::CONFLICT,
            ],
            CHANGE,
            READ,
        ],
        "describe_queue" | "peek" => &[&[Kind::UNKNOWN_QUEUE], READ],
        "receive" => &[
            &[
                Kind::UNKNOWN_QUEUE,
                Kind::CONSUMER_NEEDED,
                Kind::QUEUE_TAKEN,
                Kind::DISK_FULL,
            ],
            READ,
        ],
        "alter_queue" => &[&[Kind::INVALID_POLICY, Kind::UNKNOWN_QUEUE], CHANGE, READ],
        "delete_queue" => &[&[Kind::UNKNOWN_QUEUE], REMOVAL],
        "purge_queue" | "pause_queue" | "resume_queue" | "ack" | "nack" | "reject" | "extend" => {
            &[&[Kind::UNKNOWN_QUEUE], CHANGE]
        }
        "redrive_queue" => &[&[Kind::UNKNOWN_QUEUE, Kind::CONFLICT], APPEND, READ],
        "ack_and_publish" => &[&[Kind::UNKNOWN_QUEUE, Kind::RECEIPT_LOST], APPEND],
        "follow" => &[
            READ,
            &[
                Kind::UNKNOWN_TOPIC,
                Kind::UNKNOWN_PARTITION,
                Kind::CONFLICT,
                Kind::OFFSET_OUT_OF_RANGE,
            ],
        ],
        "socket" => &[&[Kind::UPGRADE_REQUIRED, Kind::SHUTTING_DOWN]],
        "healthz" => &[&[Kind::FAILED]],
        "readyz" => &[&[Kind::FAILED, Kind::SHUTTING_DOWN, Kind::NOT_READY]],
        _ => return None,
    };
    Some(kinds.concat())
}

/// Adds how an operation may refuse to what it may answer.
pub(crate) fn describe(operation: &mut Operation) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    // An operation that is forgotten above says nothing of refusals, and a test tells.
    let Some(own) = of_operation(id) else {
        return;
    };
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in own.into_iter().chain(of_form(operation)) {
        let kinds = by_status.entry(kind.status.as_u16()).or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (status, kinds) in by_status {
        let mut description = String::new();
        for kind in kinds {
            let separator = if description.is_empty() { "" } else { " " };
            let _ = write!(description, "{separator}`{}`: {}.", kind.code, kind.title);
        }
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content(PROBLEM_JSON, content)
            .build();
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_string(), RefOr::T(response));
    }
}

/// What an operation may meet because of its parameters and its body.
fn of_form(operation: &Operation) -> Vec<Kind> {
    let mut kinds = ANY.to_vec();
    for parameter in operation.parameters.iter().flatten() {
        match parameter.parameter_in {
            ParameterIn::Path => kinds.push(Kind::BAD_PATH),
            ParameterIn::Query => kinds.push(Kind::BAD_QUERY),
            ParameterIn::Header | ParameterIn::Cookie => {}
        }
    }
    if let Some(body) = &operation.request_body {
        kinds.extend_from_slice(WITH_BODY);
        if body.content.len() == 1 && body.content.contains_key("application/json") {
            kinds.extend_from_slice(WITH_JSON);
        }
    }
    kinds
}
