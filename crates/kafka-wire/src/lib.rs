//! The Kafka protocol's messages: a declarative codec without I/O.
//!
//! Every message is a table in its API's file under [`messages`]: fields in wire order, each with the versions that
//! carry it. One macro, `message!`, turns a table into a struct with public fields, its defaults, a decoder and an
//! encoder for both directions, so that the server, the client and the tests share one definition. The tables state
//! what Apache Kafka's message definitions state (KIP-482 describes flexible versions and tagged fields).
//!
//! This crate must never know a socket, a broker or what is inside a record batch. It never panics and never
//! allocates more than a frame's length justifies, whatever bytes it is given.
//!
//! Nothing that is large is copied: strings, bytes and records of a decoded message are slices of its frame, and an
//! encoded [`Frame`] is a list of segments for a vectored write in which large payloads are attached as they are.
//! So a decoded value **keeps its whole frame alive**: copy what outlives the request.
//!
//! Where to start: `messages/heartbeat.rs` for a table, [`wire`] for how a field type is encoded, [`api`] for the list
//! of APIs and for whole frames. To add an API (transactions, the new consumer protocol, share groups): write its file
//! under `messages/`, and add one row to `each_api!` in `api.rs`.

#![forbid(unsafe_code)]

#[macro_use]
mod table;
#[macro_use]
mod codes;

pub mod api;
pub mod consumer_protocol;
mod error;
mod error_code;
mod frame;
mod header;
pub mod messages;
mod primitives;
mod reader;
mod records;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wire;
mod writer;

pub use api::{AnyRequest, AnyResponse, ApiKey, Request, Response, decode_any_request};
pub use bytestring::ByteString as Str;
pub use codes::{
    ConfigOperation, ConfigSource, ConfigType, CoordinatorType, EndpointType, IsolationLevel,
    ResourceType,
};
pub use error::{DecodeError, DecodeReason, EncodeError};
pub use error_code::ErrorCode;
pub use frame::Frame;
pub use header::{RequestHeader, ResponseHeader};
pub use reader::Reader;
pub use records::Records;
pub use wire::{Message, VersionRange};
pub use writer::Writer;
