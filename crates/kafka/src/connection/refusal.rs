//! What a peer sent that is no Kafka request, told in words an operator can act on.

use std::fmt;

use millstream_limits as limits;

/// Why the bytes of a connection are not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The first bytes are those of another protocol.
    Foreign(&'static str),
    /// The first bytes are no protocol that is known here.
    Garbage([u8; 4]),
    /// A later frame's length is negative, too small or above the limit.
    Length(i32),
}

/// Openings of protocols that end up on a Kafka port by mistake, as they appear in the four bytes that should be a
/// length.
const OPENINGS: [(&[u8], &str); 14] = [
    (b"GET ", "an HTTP request"),
    (b"HEAD", "an HTTP request"),
    (b"POST", "an HTTP request"),
    (b"PUT ", "an HTTP request"),
    (b"DELE", "an HTTP request"),
    (b"OPTI", "an HTTP request"),
    (b"PATC", "an HTTP request"),
    (b"CONN", "an HTTP or MQTT CONNECT"),
    (b"PRI ", "an HTTP/2 request"),
    (b"AMQP", "an AMQP connection"),
    (b"SSH-", "an SSH connection"),
    (b"PROX", "a PROXY protocol header"),
    (b"\r\n\r\n", "a PROXY protocol header"),
    (
        b"\x16\x03",
        "a TLS handshake; this listener speaks plain text (security.protocol=PLAINTEXT)",
    ),
];

impl Refusal {
    /// Names what the four bytes of an unacceptable length are.
    pub(crate) fn of_length(prefix: [u8; 4], first_frame: bool) -> Refusal {
        let opening = OPENINGS.iter().find(|(bytes, _)| prefix.starts_with(bytes));
        match opening {
            Some((_, name)) if first_frame => Refusal::Foreign(name),
            _ if first_frame => Refusal::Garbage(prefix),
            _ => Refusal::Length(i32::from_be_bytes(prefix)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Foreign(name) => write!(f, "this is a Kafka port, but the peer sent {name}"),
            Refusal::Garbage(bytes) => write!(
                f,
                "the peer does not speak Kafka: its first bytes are {:02x} {:02x} {:02x} {:02x}, \
                 which is no request length from 8 to {}",
                bytes[0],
                bytes[1],
                bytes[2],
                bytes[3],
                limits::KAFKA_FRAME_BYTES_MAX
            ),
            Refusal::Length(length) => write!(
                f,
                "a request of {length} bytes: lengths from 8 to {} are accepted",
                limits::KAFKA_FRAME_BYTES_MAX
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_arrived() {
        let http = Refusal::of_length(*b"GET ", true).to_string();
        assert!(http.contains("an HTTP request"), "{http}");
        let tls = Refusal::of_length([0x16, 3, 1, 2], true).to_string();
        assert!(tls.contains("TLS"), "{tls}");
        let garbage = Refusal::of_length([0xde, 0xad, 0xbe, 0xef], true).to_string();
        assert!(garbage.contains("de ad be ef"), "{garbage}");
        let length = Refusal::of_length(i32::MAX.to_be_bytes(), false).to_string();
        assert!(length.contains("2147483647"), "{length}");
    }
}
