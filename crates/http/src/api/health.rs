//! How the server is doing, for those who watch over it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::app::App;
use crate::metrics;
use crate::problem::{Kind, Problem};

/// Whether the process is well: a supervisor restarts it if not.
#[utoipa::path(get, path = "/healthz", tag = "server", operation_id = "healthz",
    responses((status = 200, description = "It is well.", content_type = "text/plain", body = String)))]
pub(crate) async fn healthz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    match app.broker.failed() {
        None => Ok("ok\n"),
        Some(failure) => Err(Problem::new(
            Kind::FAILED,
            format!("the store has failed: {failure}; restart the server"),
        )),
    }
}

/// Whether the server takes records at present: a load balancer passes it over if not.
#[utoipa::path(get, path = "/readyz", tag = "server", operation_id = "readyz",
    responses((status = 200, description = "It takes records.", content_type = "text/plain", body = String)))]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if let Some(failure) = app.broker.failed() {
        return Err(Problem::new(
            Kind::FAILED,
            format!("the store has failed: {failure}; restart the server"),
        ));
    }
    if app.is_stopping() {
        return Err(Problem::new(
            Kind::SHUTTING_DOWN,
            "the server is shutting down",
        ));
    }
    if app.broker.stats().disk_full {
        return Err(Problem::new(
            Kind::NOT_READY,
            "the disk is full: records are refused until there is room; delete records or topics, or free space",
        ));
    }
    Ok("ready\n")
}

/// Everything that is counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", operation_id = "metrics",
    responses((status = 200, description = "The figures, in Prometheus's text format.", content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let page = metrics::page(&app).await;
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page,
    )
        .into_response()
}
