//! The Kafka protocol served from a broker.
//!
//! Here a [`Broker`](millstream_broker::Broker)'s topics, cursors and groups get Kafka's words: requests are read from
//! connections, turned into calls of the broker, and what comes back is turned into responses. Every decision about
//! data is the broker's; this crate must never know the store's files nor another protocol.
//!
//! Where to start: [`dispatch`] is the table of what is served; `connection` moves frames; `api/` has one file per
//! family of requests; `errors.rs` is the one place where the broker's errors become Kafka's codes.

#![forbid(unsafe_code)]
#![allow(
    clippy::doc_markdown,
    reason = "the names of Kafka's APIs are words here"
)]

mod api;
mod compatibility;
mod connection;
mod dispatch;
mod errors;
mod fetch_sessions;
mod log_limit;
mod server;
mod settings;

pub use compatibility::served_apis_page;
pub use server::serve;
pub use settings::{HostPort, KafkaSettings, NotHostPort};
