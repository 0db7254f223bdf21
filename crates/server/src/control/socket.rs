//! The server's side of the socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_broker::Broker;
use millstream_limits::CONTROL_REQUEST_BYTES_MAX;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Answer, Request, socket_path};

/// A command writes its request at once; whoever does not is not one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket of an open broker. Closed, and gone from the directory, when dropped.
pub(crate) struct Socket {
    path: PathBuf,
    listening: JoinHandle<()>,
}

impl Socket {
    /// Listens in the broker's data directory. A server without it does everything else, so that it cannot be had is a
    /// warning: a path that is too long for a socket, a file system that has none.
    pub(crate) fn open(broker: &Broker) -> Option<Self> {
        let path = socket_path(broker.data_dir());
        match listen(&path) {
            Ok(listener) => {
                let listening = tokio::spawn(accept(listener, broker.clone()));
                Some(Self { path, listening })
            }
            Err(error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "no control socket: `millstream backup` will not find this server"
                );
                None
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.listening.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A socket that a server which was killed has left is replaced: the data directory's lock says that it is not in use.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// One connection after the other: what can be asked is nothing to be done twice at once.
async fn accept(listener: UnixListener, broker: Broker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, &broker).await,
            Err(error) => {
                tracing::warn!(%error, "accepting on the control socket failed");
                tokio::time::sleep(REQUEST_TIMEOUT).await;
            }
        }
    }
}

async fn serve(mut stream: UnixStream, broker: &Broker) {
    let answer = match timeout(REQUEST_TIMEOUT, read(&mut stream)).await {
        Ok(Ok(request)) => carry_out(request, broker).await,
        Ok(Err(error)) => Answer::Refused(format!("the request was not understood: {error}")),
        Err(_) => Answer::Refused("the request did not come".to_owned()),
    };
    let mut line = serde_json::to_vec(&answer).expect("an answer has nothing that JSON cannot say");
    line.push(b'\n');
    // Whoever asked may have gone; what was asked for is done all the same.
    let _ = timeout(REQUEST_TIMEOUT, stream.write_all(&line)).await;
}

async fn read(stream: &mut UnixStream) -> io::Result<Request> {
    let mut line = String::new();
    let bounded = stream.take(CONTROL_REQUEST_BYTES_MAX);
    BufReader::new(bounded).read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}

async fn carry_out(request: Request, broker: &Broker) -> Answer {
    match request {
        Request::Backup { target } => {
            tracing::info!(target_dir = %target.display(), "backup begins");
            match broker.backup(target).await {
                Ok(summary) => {
                    tracing::info!(
                        packs = summary.packs,
                        pack_bytes = summary.pack_bytes,
                        journal_bytes = summary.journal_bytes,
                        "backup complete"
                    );
                    Answer::BackedUp(summary)
                }
                Err(error) => {
                    tracing::warn!(%error, "backup failed");
                    Answer::Refused(error.to_string())
                }
            }
        }
    }
}
