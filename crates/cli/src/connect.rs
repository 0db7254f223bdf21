//! What every command that talks to a server has in common.

use clap::Args;
use millstream_client::{Client, ClientConfig};

/// Which server, and how to print what it says.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    /// The server to talk to; any of a cluster's.
    #[arg(
        long,
        short = 's',
        global = true,
        env = "MILLSTREAM_SERVER",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT",
        help_heading = "Server"
    )]
    pub server: String,
}

impl Connect {
    /// Connects, or tells at once that it cannot.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let config = ClientConfig {
            client_id: "millstream-cli".to_owned(),
            ..ClientConfig::new(&self.server)
        };
        Client::connect(config).await.map_err(|error| match error {
            millstream_client::ClientError::Connect { address, reason } => anyhow::anyhow!(
                "cannot connect to {address}: {reason}; start a server with `millstream serve`, or name another with \
                 --server or MILLSTREAM_SERVER"
            ),
            other => other.into(),
        })
    }
}

/// Runs a command's work.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(work);
    // A thread may be writing to an output that nobody reads: it is not waited for.
    runtime.shutdown_background();
    outcome
}
