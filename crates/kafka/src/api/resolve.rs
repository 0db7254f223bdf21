//! From the names in a request to the broker's topics and partitions.

use std::sync::Arc;

use millstream_broker::topics::{PartitionHandle, TopicHandle};
use millstream_broker::{Broker, TopicId};
use millstream_kafka_wire::ErrorCode;
use uuid::Uuid;

use crate::errors::Refusal;
use crate::fetch_sessions::TopicRef;

/// The longest topic name in Kafka's own alphabet.
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Whether Kafka takes `name` for a new topic: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
pub(crate) fn check_topic_name(name: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let refused = |reason: String| Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason));
    match name {
        "" => refused("a topic name needs at least one character".to_owned()),
        "." | ".." => refused(format!("a topic cannot be called `{name}`")),
        _ if name.len() > TOPIC_NAME_BYTES_MAX => refused(format!(
            "a topic name of {} bytes is longer than {TOPIC_NAME_BYTES_MAX}",
            name.len()
        )),
        _ if !name.bytes().all(allowed) => refused(format!(
            "topic name {name:?}: only a-z, A-Z, 0-9, `.`, `_` and `-` are allowed"
        )),
        _ => Ok(()),
    }
}

/// The topic of that name, to be administered. Those of other protocols may have names that Kafka would not give; one that is not
/// there is refused for such a name first, as in Kafka.
pub(crate) fn administered(broker: &Broker, name: &str) -> Result<Arc<TopicHandle>, Refusal> {
    if let Some(topic) = broker.topic(name) {
        return Ok(topic);
    }
    check_topic_name(name)?;
    Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into())
}

/// The topic of that name.
pub(crate) fn topic_by_name(broker: &Broker, name: &str) -> Result<Arc<TopicHandle>, ErrorCode> {
    broker
        .topic(name)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

/// The topic of that id.
pub(crate) fn topic_by_id(broker: &Broker, id: Uuid) -> Result<Arc<TopicHandle>, ErrorCode> {
    broker
        .topic_by_id(TopicId(id))
        .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
}

/// The topic, however the request names it.
pub(crate) fn topic(broker: &Broker, topic: &TopicRef) -> Result<Arc<TopicHandle>, ErrorCode> {
    match topic {
        TopicRef::Name(name) => topic_by_name(broker, name),
        TopicRef::Id(id) => topic_by_id(broker, *id),
    }
}

/// The partition of `topic` with that index.
pub(crate) fn partition(
    topic: &Arc<TopicHandle>,
    index: i32,
) -> Result<PartitionHandle, ErrorCode> {
    u32::try_from(index)
        .ok()
        .and_then(|index| topic.partition(index))
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_kafkas() {
        for name in ["a", "orders.eu-west_1", &"x".repeat(249), "..."] {
            assert_eq!(check_topic_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a b",
            "a/b",
            "ä",
            "a\0",
            &"x".repeat(250),
        ] {
            let refusal = check_topic_name(name).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::INVALID_TOPIC_EXCEPTION, "{name}");
        }
    }
}
