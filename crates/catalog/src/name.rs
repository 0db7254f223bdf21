//! A topic's name.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use millstream_limits::TOPIC_NAME_BYTES_MAX;
use thiserror::Error;

/// A topic's name: 1 to 255 bytes of UTF-8 without control characters. Cheap to clone.
///
/// Protocols with a narrower alphabet check theirs before they come here, or escape. Nothing on disk is ever named
/// after a topic, so a name may look like a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text cannot be a topic's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// There is nothing in it.
    #[error("a topic name needs at least one character")]
    Empty,
    /// It is too long.
    #[error("a topic name of {0} bytes is longer than the {TOPIC_NAME_BYTES_MAX} allowed")]
    TooLong(usize),
    /// It would break logs and terminals.
    #[error("a topic name may not contain the control character {0:?}")]
    ControlCharacter(char),
}

impl TopicName {
    /// Takes `name` if it can be one.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() {
            return Err(InvalidName::Empty);
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(InvalidName::TooLong(name.len()));
        }
        if let Some(control) = name.chars().find(|c| c.is_control()) {
            return Err(InvalidName::ControlCharacter(control));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked() {
        assert_eq!(TopicName::new("orders").unwrap().as_str(), "orders");
        assert!(TopicName::new("größe/../x").is_ok());
        assert_eq!(TopicName::new(""), Err(InvalidName::Empty));
        assert_eq!(
            TopicName::new("a\nb"),
            Err(InvalidName::ControlCharacter('\n'))
        );
        assert!(TopicName::new(&"ä".repeat(127)).is_ok());
        assert_eq!(
            TopicName::new(&"ä".repeat(128)),
            Err(InvalidName::TooLong(256))
        );
    }
}
