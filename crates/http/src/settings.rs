//! How the HTTP API is served.

use std::time::Duration;

use millstream_limits as limits;

/// How the HTTP API is served. Plain data; what topics, groups and queues may do is the broker's to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Connections beyond this number are refused.
    pub connections_max: usize,
    /// A connection that sends no whole request head for so long, and has none under way, is closed.
    pub connection_idle: Duration,
    /// A live feed that has nothing to say shows so often that it is there.
    pub keep_alive: Duration,
    /// Bytes that the bodies of all requests may hold together until they are answered.
    pub receive_bytes_max: usize,
    /// Origins, as `https://app.example.com`, whose pages may use the API beside those of this machine; `*` is any.
    pub allowed_origins: Vec<String>,
    /// Names that clients may call this server by beside its address and the names of this machine; `*` is any.
    pub allowed_hosts: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connections_max: limits::HTTP_CONNECTIONS_DEFAULT,
            connection_idle: Duration::from_millis(limits::HTTP_CONNECTION_IDLE_MS_DEFAULT),
            keep_alive: Duration::from_millis(limits::HTTP_KEEP_ALIVE_MS_DEFAULT),
            receive_bytes_max: limits::HTTP_RECEIVE_BYTES_DEFAULT,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
        }
    }
}
