//! What can go wrong between this client and a server, told so that the reader knows what to do.

use std::time::Duration;

use millstream_kafka_wire::{DecodeError, EncodeError, ErrorCode};
use millstream_record::BatchError;
use thiserror::Error;

/// Why a call did not succeed.
#[derive(Debug, Clone, Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error(
        "cannot connect to {address}: {reason}; check that a server is running there and that the address is right"
    )]
    Connect {
        /// The address that was tried.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// The connection ended before the answer came.
    #[error("the connection to {address} ended: {reason}")]
    Disconnected {
        /// The server's address.
        address: String,
        /// How it ended.
        reason: String,
    },
    /// There was no answer in time.
    #[error("no answer to {what} within {} ms; the server may be overloaded or unreachable", after.as_millis())]
    TimedOut {
        /// What was asked for.
        what: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server's answer is not what the protocol says.
    #[error("the server's answer cannot be understood: {0}")]
    Decode(#[from] DecodeError),
    /// The request cannot be expressed in the protocol.
    #[error("the request cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// The server and this client have no version of an API in common.
    #[error(
        "{address} does not offer {api} in a version that this client knows; it may be too old"
    )]
    UnsupportedApi {
        /// The API's name.
        api: &'static str,
        /// The server's address.
        address: String,
    },
    /// The server refused.
    #[error("{action}: {code}{}{}", Detail(message.as_deref()), Remedy(*code))]
    Refused {
        /// What was asked for.
        action: String,
        /// The protocol's error code.
        code: ErrorCode,
        /// What the server said beside the code.
        message: Option<String>,
    },
    /// An answer lacks what it was asked for.
    #[error("the server's answer to {0} lacks what was asked for")]
    Incomplete(&'static str),
    /// There is no such topic.
    #[error("there is no topic '{0}'; `topic list` shows those there are")]
    NoSuchTopic(String),
    /// There is no such partition.
    #[error("topic '{topic}' has no partition {partition}; its partitions are 0 to {}", partitions - 1)]
    NoSuchPartition {
        /// The topic.
        topic: String,
        /// The partition that was asked for.
        partition: i32,
        /// How many there are.
        partitions: i32,
    },
    /// Records that were read are damaged.
    #[error("partition {partition} of '{topic}' has a batch that cannot be read: {reason}")]
    BadBatch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What is wrong.
        reason: BatchError,
    },
    /// A record is larger than the producer's whole buffer.
    #[error(
        "a record of {size_bytes} bytes does not fit into the producer's buffer of {max_bytes}"
    )]
    RecordTooLarge {
        /// The record's size.
        size_bytes: usize,
        /// The buffer's size.
        max_bytes: usize,
    },
    /// A record could not be delivered in time; whether it was written is unknown.
    #[error("records were not acknowledged within {} ms; they may or may not have been written. Last problem: {last}", after.as_millis())]
    DeliveryTimedOut {
        /// The time there was.
        after: Duration,
        /// The last problem on the way.
        last: String,
    },
    /// The producer, the consumer or the connection has been closed.
    #[error("already closed")]
    Closed,
}

impl ClientError {
    pub(crate) fn refused(
        code: ErrorCode,
        action: impl Into<String>,
        message: Option<impl ToString>,
    ) -> Self {
        Self::Refused {
            action: action.into(),
            code,
            message: message.map(|message| message.to_string()),
        }
    }

    /// Whether the same call may succeed a little later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Disconnected { .. } | Self::TimedOut { .. } => true,
            Self::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// The code with which the server refused, if it did.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// `Ok` unless `code` is an error, which then tells that `action` was refused.
pub(crate) fn check(code: ErrorCode, action: impl Into<String>) -> Result<(), ClientError> {
    check_with(code, action, None::<&str>)
}

/// The same with what the server said.
pub(crate) fn check_with(
    code: ErrorCode,
    action: impl Into<String>,
    message: Option<impl ToString>,
) -> Result<(), ClientError> {
    if code.is_error() {
        Err(ClientError::refused(code, action, message))
    } else {
        Ok(())
    }
}

struct Detail<'a>(Option<&'a str>);

impl std::fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(message) if !message.is_empty() => write!(f, " ({message})"),
            _ => Ok(()),
        }
    }
}

struct Remedy(ErrorCode);

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match remedy(self.0) {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// What a user can do about a refusal, where the code alone tells.
fn remedy(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            "check its name: `topic list` shows the topics there are"
        }
        ErrorCode::TOPIC_ALREADY_EXISTS => {
            "choose another name, or alter or delete the topic there is"
        }
        ErrorCode::INVALID_TOPIC_EXCEPTION => {
            "a Kafka topic name has 1 to 249 of the characters a-z A-Z 0-9 . _ -"
        }
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
            "send smaller batches or raise the topic's max.message.bytes"
        }
        ErrorCode::INVALID_PARTITIONS => {
            "the number of partitions must be positive and can only grow"
        }
        ErrorCode::INVALID_REPLICATION_FACTOR => {
            "use a replication factor that the servers can meet, or -1 for the default"
        }
        ErrorCode::NON_EMPTY_GROUP => "stop the group's members first",
        ErrorCode::GROUP_ID_NOT_FOUND => "`group list` shows the groups there are",
        ErrorCode::OFFSET_OUT_OF_RANGE => {
            "the records there were deleted or never written; start from earliest or latest"
        }
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE => "use gzip, snappy, lz4, zstd or none",
        ErrorCode::INVALID_TIMESTAMP => {
            "the topic's message.timestamp settings do not take this time"
        }
        ErrorCode::KAFKA_STORAGE_ERROR => {
            "look at the server's log: its disk may be full or failing"
        }
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        | ErrorCode::UNKNOWN_PRODUCER_ID
        | ErrorCode::INVALID_PRODUCER_EPOCH => {
            "the server has lost track of this producer; start a new one"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_code_message_and_remedy() {
        let error = ClientError::refused(
            ErrorCode::NON_EMPTY_GROUP,
            "delete group 'g'",
            Some("2 members"),
        );
        assert_eq!(
            error.to_string(),
            "delete group 'g': NON_EMPTY_GROUP (2 members); stop the group's members first"
        );
        let plain = check(ErrorCode::INVALID_CONFIG, "alter topic 't'").unwrap_err();
        assert_eq!(plain.to_string(), "alter topic 't': INVALID_CONFIG");
        assert!(check(ErrorCode::NONE, "anything").is_ok());
    }
}
