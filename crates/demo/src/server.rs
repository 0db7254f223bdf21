//! The server under demonstration: the binary that was built beside this program, as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// What the server says once it answers, before its address.
const LISTENING: &str = "kafka listening on ";

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    data: PathBuf,
    address: String,
    started_in: Duration,
    child: Child,
}

impl Server {
    /// Starts on a free port and waits until it answers.
    pub(crate) async fn start(data: &Path) -> anyhow::Result<Self> {
        Self::launch(data, "127.0.0.1:0").await
    }

    /// Starts again on the same directory and the same port.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        *self = Self::launch(&self.data, &self.address).await?;
        Ok(())
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// `SIGKILL`: the process gets no chance to finish anything.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("killing the server")
    }

    /// The demo is over; its directory goes with it, so there is nothing to finish.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.kill().await
    }

    async fn launch(data: &Path, address: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let binary = std::env::current_exe()?.with_file_name("millstream");
        let mut child = Command::new(&binary)
            .arg("serve")
            .arg("--data-dir")
            .arg(data)
            .args(["--kafka-addr", address, "--http-addr", "off"])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {} (`make build` builds it)", binary.display()))?;
        let stderr = child.stderr.take().context("the server's log")?;
        let mut lines = BufReader::new(stderr).lines();
        let address = listening(&mut lines).await?;
        let started_in = begun.elapsed();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            data: data.to_owned(),
            address,
            started_in,
            child,
        })
    }
}

/// Reads the log up to the line that names the address.
async fn listening(lines: &mut Lines<BufReader<ChildStderr>>) -> anyhow::Result<String> {
    let mut log = Vec::new();
    while let Some(line) = lines.next_line().await? {
        if let Some((_, address)) = line.split_once(LISTENING) {
            return Ok(address
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned());
        }
        log.push(line);
    }
    bail!("the server did not start:\n{}", log.join("\n"))
}
