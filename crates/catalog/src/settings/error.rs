//! Why a setting is refused.

use thiserror::Error;

/// Why a setting is refused. Every message names the setting and says what would be taken instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// No setting has that key.
    #[error("unknown topic setting {key}{}", nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// The key that was asked for.
        key: String,
        /// A key that looks like it.
        nearest: Option<&'static str>,
    },
    /// The value is not one the setting takes.
    #[error("{key} cannot be {value:?}: {expected}")]
    InvalidValue {
        /// The setting.
        key: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// Kafka has this setting and Millstream does not do what it asks for.
    #[error("{key}={value} is refused: {reason}")]
    Refused {
        /// The setting.
        key: &'static str,
        /// What it was given.
        value: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Two settings exclude each other.
    #[error("{key} conflicts with another setting: {reason}")]
    Conflict {
        /// One of the settings.
        key: &'static str,
        /// Which other, and what to do.
        reason: &'static str,
    },
    /// The setting is decided when the topic is created.
    #[error("{key} is fixed when the topic is created; create another topic to change it")]
    Fixed {
        /// The setting.
        key: &'static str,
    },
    /// It is a setting of the server, or none at all, and cannot be changed while the server runs.
    #[error(
        "{key} cannot be changed while the server runs; what the server is told by flags, environment or millstream.toml is read when it starts"
    )]
    ToldAtStart {
        /// The key that was asked for.
        key: String,
    },
    /// Only a list can be appended to or subtracted from.
    #[error("{key} is not a list: set it or delete it")]
    NotAList {
        /// The setting.
        key: &'static str,
    },
}

impl SettingError {
    /// The setting at fault.
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key, .. } | Self::ToldAtStart { key } => key,
            Self::InvalidValue { key, .. }
            | Self::Refused { key, .. }
            | Self::Conflict { key, .. }
            | Self::Fixed { key }
            | Self::NotAList { key } => key,
        }
    }
}
