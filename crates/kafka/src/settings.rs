//! How the Kafka protocol is served.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use millstream_limits as limits;

/// How the Kafka protocol is served. Plain data; what topics and groups may do is the broker's to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// The address clients are told to connect to; `None` for the one that is listened on.
    pub advertised: Option<HostPort>,
    /// The id of this server as a Kafka node, broker and controller; not negative.
    pub node_id: i32,
    /// More connections than this are refused.
    pub connections_max: usize,
    /// A connection on which nothing has happened for this long is closed.
    pub connection_idle: Duration,
    /// Whether a topic may ask for a replication factor above 1. It gets 1 all the same.
    pub any_replication_factor: bool,
    /// Bytes that large requests of all connections may hold together until they are answered.
    pub receive_bytes_max: usize,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            advertised: None,
            node_id: limits::KAFKA_NODE_ID_DEFAULT,
            connections_max: limits::KAFKA_CONNECTIONS_DEFAULT,
            connection_idle: Duration::from_millis(limits::KAFKA_CONNECTION_IDLE_MS_DEFAULT),
            any_replication_factor: false,
            receive_bytes_max: limits::KAFKA_RECEIVE_BYTES_DEFAULT,
        }
    }
}

/// A host, by name or address, and a port, as `HOST:PORT`; an IPv6 address is in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// A text that is not `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not HOST:PORT, for example localhost:9092 or [::1]:9092")]
pub struct NotHostPort(String);

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let refused = || NotHostPort(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let port = port.parse().map_err(|_| refused())?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match bracketed {
            None if host.is_empty() || host.contains(':') => Err(refused()),
            _ => Ok(Self {
                host: bracketed.unwrap_or(host).to_owned(),
                port,
            }),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_port_survive_printing() {
        for text in ["localhost:9092", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in [
            "",
            "localhost",
            ":9092",
            "localhost:",
            "localhost:70000",
            "::1:9092",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
