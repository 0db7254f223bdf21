//! How a client finds its servers and how patient it is.

use std::time::Duration;

/// Settings that every client needs; data only.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `HOST:PORT` of servers to start from; any of them leads to the others.
    pub servers: Vec<String>,
    /// The name under which servers log and meter this client.
    pub client_id: String,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a server may take for an answer, beyond what the request itself allows.
    pub request_timeout: Duration,
    /// How long a call is tried again after errors that may pass.
    pub retry_timeout: Duration,
}

impl ClientConfig {
    /// The defaults, for the server at `address`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            servers: vec![address.into()],
            ..Self::default()
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            servers: vec!["127.0.0.1:9092".to_owned()],
            client_id: "millstream".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(30),
        }
    }
}
