//! Being asked to end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use millstream_server::Signals;
use tokio::io::Interest;
use tokio::net::unix::pipe;

/// How long a reader of the output has to take what is being written when a signal comes.
const PATIENCE: Duration = Duration::from_secs(1);

/// SIGINT, which is Ctrl-C, SIGTERM, and that nobody reads the output any more. While this is there, neither signal ends the
/// process by itself.
pub(super) struct Interrupts {
    signals: Signals,
    /// How many have come.
    count: u32,
    /// The standard output, of which only its end is looked for; none where nobody can go away, such as a file.
    output: Option<pipe::Sender>,
}

impl Interrupts {
    /// Takes them from now on.
    pub(super) fn take() -> io::Result<Self> {
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self {
            signals: Signals::take()?,
            count: 0,
            output: pipe::Sender::from_owned_fd_unchecked(output).ok(),
        })
    }

    /// Waits for the first, if none has come yet.
    pub(super) async fn next(&mut self) {
        if self.count > 0 {
            return;
        }
        tokio::select! {
            () = closed(self.output.as_ref()) => {}
            _ = self.signals.next() => self.count += 1,
        }
    }

    /// Waits for a signal, and then until whoever reads the output has had time to take the rest, or a second signal comes.
    pub(super) async fn patience_ends(&mut self) {
        self.signal().await;
        tokio::select! {
            () = tokio::time::sleep(PATIENCE) => {}
            () = self.signal() => {}
        }
    }

    /// Waits for one more signal, unless there have been two.
    pub(super) async fn insisted(&mut self) {
        if self.count < 2 {
            self.signal().await;
        }
    }

    async fn signal(&mut self) {
        self.signals.next().await;
        self.count += 1;
    }
}

/// Waits until `output` has no reader any more.
async fn closed(output: Option<&pipe::Sender>) {
    if let Some(output) = output
        && output.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
