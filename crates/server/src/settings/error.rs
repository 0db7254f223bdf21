//! What is wrong with what the server was told.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In this file.
    File(PathBuf),
}

impl Origin {
    /// The key as it is written there.
    pub(super) fn spelled(&self, key: &str) -> String {
        match self {
            Origin::Flag => format!("--{key}"),
            Origin::Environment => super::table::variable(key),
            Origin::File(_) => key.to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("on the command line"),
            Origin::Environment => f.write_str("in the environment"),
            Origin::File(path) => write!(f, "in {}", path.display()),
        }
    }
}

/// What is wrong with what the server was told. It has not started.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// No setting has that key.
    #[error("unknown setting {key} {origin}{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    UnknownKey {
        /// The key, as it was written.
        key: String,
        /// Where.
        origin: Origin,
        /// The setting that looks most like it, as it would be written there.
        nearest: Option<String>,
    },
    /// A setting does not take that value.
    #[error("{key} {origin} cannot be {value:?}: {reason}")]
    BadValue {
        /// The key, as it was written.
        key: String,
        /// Where.
        origin: Origin,
        /// The value.
        value: String,
        /// What it takes.
        reason: String,
    },
    /// Two settings that cannot both hold.
    #[error("{least} is {least_value} and {most} only {most_value}: nothing is between them")]
    Contradiction {
        /// The setting that is the lower bound.
        least: &'static str,
        /// Its value, by default or as it was given.
        least_value: String,
        /// The setting that is the upper bound.
        most: &'static str,
        /// Its value, by default or as it was given.
        most_value: String,
    },
    /// The configuration file cannot be read.
    #[error(
        "cannot read the configuration file {path}: {source}; name another with --config, or leave it out"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration file is not TOML.
    #[error("the configuration file {path} is not TOML: {reason}")]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}
