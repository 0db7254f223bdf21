//! How a command on the same machine asks a running server for something no client protocol has: a socket in the data
//! directory.
//!
//! Whoever may write the data directory may connect, and nobody else: the directory's permissions are the access control,
//! and a request needs no other. One connection carries one [`Request`] and its [`Answer`], each a line of JSON.
//! [`ask`] is the command's side, [`Socket`] the server's.

mod ask;
mod socket;

use std::path::{Path, PathBuf};

use millstream_broker::BackupSummary;
use serde::{Deserialize, Serialize};

pub use ask::{AskError, ask};
pub(crate) use socket::Socket;

/// What a running server can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Back up everything acknowledged so far.
    Backup {
        /// An absolute path: a directory that is empty or does not exist.
        target: PathBuf,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The backup is complete.
    BackedUp(BackupSummary),
    /// Nothing came of it, and why.
    Refused(String),
}

/// Where the socket of the server on `data_dir` is.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}
