//! The command's side of the socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use thiserror::Error;

use super::{Answer, Request, socket_path};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// No server has this data directory open.
    #[error("no server runs on this data directory")]
    NoServer,
    /// The server went away, or it is not one.
    #[error("the server on this data directory did not answer: {0}")]
    Io(#[from] io::Error),
    /// The other side is of another version.
    #[error("the server on this data directory answers in a way this version does not know: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// Asks the server on `data_dir`, and waits for its answer however long that takes.
pub fn ask(data_dir: &Path, request: &Request) -> Result<Answer, AskError> {
    let stream =
        UnixStream::connect(socket_path(data_dir)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoServer,
            _ => AskError::Io(error),
        })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(AskError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(serde_json::from_str(&answer)?)
}
