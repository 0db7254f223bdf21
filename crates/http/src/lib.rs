//! The native HTTP API served from a broker.
//!
//! Topics, records, groups, routes, queues and live feeds get paths and JSON here: requests are read, turned into calls of the broker, and
//! what comes back is written as JSON, or as a problem document (RFC 9457) where it is refused. Every decision about data
//! is the broker's; this crate must never know the store's files nor another protocol.
//!
//! Where to start: [`app`] is the table of what is served and what every request goes through; `connection` guards
//! sockets; `guard` keeps foreign web pages out; `api/` has one file per family of paths; `errors.rs` is the one place
//! where the broker's errors become statuses and codes; `openapi.rs` describes all of it.

#![forbid(unsafe_code)]
#![allow(clippy::doc_markdown, reason = "names of standards are words here")]

mod api;
mod app;
mod body;
mod connection;
mod errors;
mod extract;
mod guard;
mod json;
mod listener;
mod metrics;
mod openapi;
mod problem;
mod refusals;
mod settings;

pub use listener::serve;
pub use openapi::openapi_document;
pub use problem::{KeyPosition, Kind, Problem};
pub use settings::HttpSettings;
