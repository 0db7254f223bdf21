//! Configuration, wiring and lifecycle of one Millstream server.
//!
//! [`settings`] is everything the server can be told, from flags, environment and file, in one table. [`run`] turns
//! settings into a running server and returns when that has stopped. What is served, and how, is the business of the
//! crates below; nothing here knows a protocol or where data lies.

#![forbid(unsafe_code)]

pub mod control;
mod error;
mod logging;
mod open_files;
mod run;
pub mod settings;
mod signals;

pub use error::ServeError;
pub use run::run;
pub use settings::{ServeSettings, SettingsError};
pub use signals::Signals;
