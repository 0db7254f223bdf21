//! The description of the API (OpenAPI 3.1), generated from the code, and a page to browse it.

use std::sync::LazyLock;

use axum::response::{Html, IntoResponse, Response};
use http::header;
use utoipa::{Modify, OpenApi};

use crate::api::queues::{ack_and_publish, admin, messages, policy_schema, settle};
use crate::api::{groups, health, live, records, routes, socket, topics};
use crate::problem::Document;
use crate::refusals;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millstream",
        description = "Topics, records, groups, routes, queues and live feeds over HTTP. Whatever is refused is refused with a problem document (RFC 9457) that has a stable code; what is no HTTP, or has a head that is too large, gets a bare status.",
    ),
    paths(
        topics::list,
        topics::create,
        topics::describe,
        topics::put,
        topics::alter,
        topics::delete,
        records::publish,
        records::read,
        records::by_key,
        records::trim,
        groups::list,
        groups::describe,
        groups::delete,
        routes::list,
        routes::put,
        routes::describe,
        routes::delete,
        admin::list,
        admin::create,
        admin::describe,
        admin::alter,
        admin::delete,
        admin::purge,
        admin::pause,
        admin::resume,
        admin::redrive,
        messages::receive,
        messages::peek,
        settle::ack,
        settle::nack,
        settle::reject,
        settle::extend,
        ack_and_publish::ack_and_publish,
        live::follow,
        socket::open,
        health::healthz,
        health::readyz,
        health::metrics,
        serve_document,
        serve_page,
    ),
    components(schemas(Document)),
    modifiers(&Rest),
    tags(
        (name = "topics", description = "Logs of records, cut into partitions."),
        (name = "records", description = "Writing and reading records."),
        (name = "groups", description = "Readers that share a topic's partitions, and how far they are."),
        (name = "routes", description = "What is published to one topic goes to others too, in the same commit."),
        (name = "queues", description = "Messages that are each one consumer's to finish."),
        (name = "live", description = "Records pushed to readers as they come."),
        (name = "server", description = "How the server is doing."),
    ),
)]
struct Description;

/// What is not written at each operation and type: what is refused has always the same form, and defaults are the broker's.
struct Rest;

impl Modify for Rest {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        document.info.version = env!("CARGO_PKG_VERSION").to_owned();
        policy_schema::add_defaults(document);
        for item in document.paths.paths.values_mut() {
            let operations = [
                &mut item.get,
                &mut item.put,
                &mut item.post,
                &mut item.delete,
                &mut item.patch,
            ];
            operations
                .into_iter()
                .flatten()
                .for_each(refusals::describe);
        }
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut json = Description::openapi()
        .to_pretty_json()
        .expect("the description can be written as JSON");
    json.push('\n');
    json
});

/// The description of the API, as JSON.
pub fn openapi_document() -> &'static str {
    &DOCUMENT
}

/// The description of the API, as OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "server", operation_id = "openapi",
    responses((status = 200, description = "The document.", content_type = "application/json", body = Object)))]
pub(crate) async fn serve_document() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        openapi_document(),
    )
        .into_response()
}

/// The description of the API, as a page.
#[utoipa::path(get, path = "/docs", tag = "server", operation_id = "docs",
    responses((status = 200, description = "The page.", content_type = "text/html", body = String)))]
pub(crate) async fn serve_page() -> Response {
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";
    (
        [(header::CONTENT_SECURITY_POLICY, policy)],
        Html(include_str!("docs.html")),
    )
        .into_response()
}
