//! Everything the server can be told.
//!
//! [`table::SETTINGS`] lists every setting once: its key, what it takes, what it means. The key is the flag
//! (`--data-dir`), the key in `millstream.toml` (`data-dir`) and, in capitals with underscores, the environment
//! variable (`MILLSTREAM_DATA_DIR`). [`load`] lays the three over the defaults: flags win over the environment, that
//! over the file. [`markdown`] renders the table for people.
//!
//! [`ServeSettings`] is the outcome: plain data, typed by the crates that act on it.

mod error;
mod load;
pub mod markdown;
mod nearest;
pub mod table;
#[cfg(test)]
mod tests;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use millstream_broker::BrokerSettings;
use millstream_http::HttpSettings;
use millstream_kafka::KafkaSettings;

pub use error::{Origin, SettingsError};
pub use load::{CONFIG_KEY, Given, load};
pub use table::{SETTINGS, Setting};

/// Where data lies unless told otherwise: relative to the directory the server is started in.
pub const DATA_DIR_DEFAULT: &str = "millstream-data";

/// What one server is told.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Topics, groups and the store below them.
    pub broker: BrokerSettings,
    /// Where Kafka clients connect to. Loopback by default: nothing here asks who a client is.
    pub kafka_addr: SocketAddr,
    /// How they are served.
    pub kafka: KafkaSettings,
    /// Where HTTP clients connect to; `None` serves no HTTP.
    pub http_addr: Option<SocketAddr>,
    /// How they are served.
    pub http: HttpSettings,
    /// Whether HTTP may be served beyond loopback although nobody is asked who they are.
    pub http_allow_unauthenticated: bool,
    /// What is logged: a level, or a filter in the syntax of `tracing-subscriber`'s `EnvFilter`.
    pub log: String,
    /// Worth telling the operator, though not wrong.
    pub remarks: Vec<String>,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            broker: BrokerSettings::new(PathBuf::from(DATA_DIR_DEFAULT)),
            kafka_addr: SocketAddr::from(([127, 0, 0, 1], 9092)),
            kafka: KafkaSettings::default(),
            http_addr: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            http: HttpSettings::default(),
            http_allow_unauthenticated: false,
            log: "info".to_owned(),
            remarks: Vec::new(),
        }
    }
}
