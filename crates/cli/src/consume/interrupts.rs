//! Being asked to end.

use std::io;
use std::os::fd::AsFd;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, which is Ctrl-C, SIGTERM, and that nobody reads the output any more. While this is there, neither signal ends the
/// process by itself.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// The standard output, of which only its end is looked for; none where nobody can go away, such as a file.
    output: Option<pipe::Sender>,
}

impl Interrupts {
    /// Takes them from now on.
    pub(super) fn take() -> io::Result<Self> {
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            output: pipe::Sender::from_owned_fd_unchecked(output).ok(),
        })
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            () = closed(self.output.as_ref()) => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for the next signal.
    pub(super) async fn signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
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
