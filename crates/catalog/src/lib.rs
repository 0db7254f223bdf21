//! What topics exist and how each is configured.
//!
//! The catalogue is metadata only: it decides whether a topic may be created, what its settings mean and which records
//! of the state table say so. It does no I/O, asks no clock and draws no random number: the broker hands those in and
//! commits the [`Change`]s that come out. It must never know a protocol, nor what a partition holds.
//!
//! Start with [`Topic`] and [`settings`], the one table of everything a topic can be told; then [`Catalog`], the
//! registry, and [`entry`], how a topic is written down. [`server_entry`] does the same for the server's own settings.

#![forbid(unsafe_code)]

pub mod entry;
pub mod server_entry;
pub mod settings;

mod catalog;
mod error;
mod name;
mod topic;

pub use catalog::{Catalog, Change};
pub use error::CatalogError;
pub use name::{InvalidName, TopicName};
pub use settings::{SettingChange, SettingError, SettingOp, TopicSettings};
pub use topic::{Topic, TopicId};
