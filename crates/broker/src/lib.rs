//! Topics, and every way to write and read them, over one slot of the store.
//!
//! The broker is what all protocols share, and a library for programs that need no protocol: [`Broker::open`] on a
//! directory is all there is to start. It knows records, topics and cursors, and must never know a protocol: no request
//! types, no error codes, no wire formats. Every change it makes is one [`millstream_store::Commit`].
//!
//! Start with [`Broker`]. Its methods lie where their subject is:
//!
//! - [`topics`]: creating, altering and deleting topics; the handles that everything else takes.
//! - [`produce`]: checking a batch against its topic and giving it its place; ids for idempotent producers.
//! - [`headers`]: what records say of themselves to a queue: priority, delay, time to live, id.
//! - [`streams`]: the stream cursor: fetching, finding offsets, cutting a partition's start.
//! - [`filter`]: saying which records and which topics are meant.
//! - [`groups`]: consumer groups and the offsets they commit.
//! - [`live`]: the live cursor: records pushed to subscribers as they come.
//! - [`queues`]: the queue cursor: a state for each record.
//! - [`routes`]: from topics to topics, in the same commit.
//!
//! Transactions will lie beside them.

#![forbid(unsafe_code)]

pub mod filter;
pub mod groups;
pub mod headers;
pub mod live;
pub mod produce;
pub mod queues;
pub mod routes;
pub mod streams;
pub mod topics;

mod blocking;
mod broker;
mod error;
mod fields;
mod identity;
mod keys;
mod metrics;
mod server_settings;
mod settings;

pub use broker::Broker;
pub use error::{BrokerError, OpenError};
pub use settings::BrokerSettings;

pub use millstream_catalog::settings as topic_settings;
pub use millstream_catalog::{
    SettingChange, SettingError, SettingOp, Topic, TopicId, TopicName, TopicSettings,
};
pub use millstream_store::{
    Admission, Appended, BackupError, BackupSummary, Offsets, SlotFailure, SlotSettings, SlotStats,
};
