//! WebSocket (RFC 6455): publish, follow and consume on one socket, as JSON in text messages.
//!
//! [`frames`] is what clients send and [`answers`] what they get; docs/http-websocket.md shows each. `session` is one socket:
//! it reads frames, carries requests out and writes answers. What it is subscribed to, `channels`, runs in a task each and
//! hands over what comes when the socket has room.

mod answers;
mod channels;
mod frames;
mod session;

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use millstream_limits::{HTTP_SOCKET_FRAME_BYTES_MAX, HTTP_SOCKET_WRITE_BYTES};

use crate::app::App;
use crate::problem::{Kind, Problem};

/// Open a WebSocket: publish, follow topics and consume queues on one connection.
///
/// The frames, each a JSON object, are described in docs/http-websocket.md.
#[utoipa::path(get, path = "/v1/ws", tag = "live", operation_id = "socket",
    responses((status = 101, description = "The connection is a WebSocket now.")))]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => upgrade
            .read_buffer_size(HTTP_SOCKET_WRITE_BYTES)
            .write_buffer_size(HTTP_SOCKET_WRITE_BYTES)
            .max_frame_size(HTTP_SOCKET_FRAME_BYTES_MAX)
            .max_message_size(HTTP_SOCKET_FRAME_BYTES_MAX)
            .on_upgrade(move |socket| session::run(app, socket)),
        Err(rejection) => refusal(&rejection),
    }
}

fn refusal(rejection: &WebSocketUpgradeRejection) -> Response {
    let detail = format!("this path is for WebSockets: {}", rejection.body_text());
    let mut response = Problem::new(Kind::UPGRADE_REQUIRED, detail).into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(
        header::SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static("13"),
    );
    response
}
