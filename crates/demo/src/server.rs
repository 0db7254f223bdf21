//! The server under demonstration: the binary that was built beside this program, as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// What the server says once it answers, before its addresses.
const KAFKA_LISTENING: &str = "kafka listening on ";
const HTTP_LISTENING: &str = "http listening on ";

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    data: PathBuf,
    address: String,
    http_address: String,
    started_in: Duration,
    child: Child,
}

impl Server {
    /// Starts on free ports and waits until it answers.
    pub(crate) async fn start(data: &Path) -> anyhow::Result<Self> {
        Self::launch(data, "127.0.0.1:0", "127.0.0.1:0").await
    }

    /// Starts again on the same directory and the same ports.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        *self = Self::launch(&self.data, &self.address, &self.http_address).await?;
        Ok(())
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn http_address(&self) -> &str {
        &self.http_address
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

    async fn launch(data: &Path, kafka: &str, http: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let binary = std::env::current_exe()?.with_file_name("millstream");
        let mut child = Command::new(&binary)
            .arg("serve")
            .arg("--data-dir")
            .arg(data)
            .args(["--kafka-addr", kafka, "--http-addr", http])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {} (`make build` builds it)", binary.display()))?;
        let stderr = child.stderr.take().context("the server's log")?;
        let mut lines = BufReader::new(stderr).lines();
        let (address, http_address) = listening(&mut lines).await?;
        let started_in = begun.elapsed();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            data: data.to_owned(),
            address,
            http_address,
            started_in,
            child,
        })
    }
}

/// Reads the log until it has named both addresses.
async fn listening(lines: &mut Lines<BufReader<ChildStderr>>) -> anyhow::Result<(String, String)> {
    let mut log = Vec::new();
    let (mut kafka, mut http) = (None, None);
    while let Some(line) = lines.next_line().await? {
        kafka = address_in(&line, KAFKA_LISTENING).or(kafka);
        http = address_in(&line, HTTP_LISTENING).or(http);
        if let (Some(kafka), Some(http)) = (&kafka, &http) {
            return Ok((kafka.clone(), http.clone()));
        }
        log.push(line);
    }
    bail!("the server did not start:\n{}", log.join("\n"))
}

fn address_in(line: &str, before: &str) -> Option<String> {
    let (_, rest) = line.split_once(before)?;
    rest.split_whitespace().next().map(str::to_owned)
}
