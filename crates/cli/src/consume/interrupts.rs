//! Being asked to end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a reader of the output has to take what is being written when a signal comes.
const PATIENCE: Duration = Duration::from_secs(1);

/// SIGINT, which is Ctrl-C, SIGTERM, and that nobody reads the output any more. While this is there, neither signal ends the
/// process by itself.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// The standard output, of which only its end is looked for; none where nobody can go away, such as a file.
    output: Option<pipe::Sender>,
    /// How many signals have come.
    signals: u32,
}

impl Interrupts {
    /// Takes them from now on.
    pub(super) fn take() -> io::Result<Self> {
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            output: pipe::Sender::from_owned_fd_unchecked(output).ok(),
            signals: 0,
        })
    }

    /// Waits for the first, if none has come yet.
    pub(super) async fn next(&mut self) {
        if self.signals > 0 {
            return;
        }
        let interrupt = self.interrupt.recv();
        let terminate = self.terminate.recv();
        tokio::select! {
            () = closed(self.output.as_ref()) => return,
            _ = interrupt => {}
            _ = terminate => {}
        }
        self.signals += 1;
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
        if self.signals < 2 {
            self.signal().await;
        }
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.signals += 1;
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
