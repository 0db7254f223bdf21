//! What the tests of the binary share: a server that can be killed and started again, and clients to talk to it.
//!
//! A [`Site`] is a data directory, an address and the flags to serve them with; [`Site::start`] runs the `millstream`
//! binary on it, and the [`Server`] that comes back is killed when it is dropped. Nothing here knows what a test is
//! about.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod log;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod records;
mod server;

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub(crate) use server::{Exit, Server, Site};

use std::time::Duration;

use millstream_client::{Client, ClientConfig, ClientError};

/// Nothing in these tests takes this long unless it hangs, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A number from the environment, for tests that can run shorter or longer.
pub(crate) fn number_from_env(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} takes a number, not {text:?}")),
        Err(_) => default,
    }
}

/// The seed of this run: from `MILLSTREAM_SEED`, to repeat one, or a new one. It is printed either way.
pub(crate) fn seed() -> u64 {
    let seed = number_from_env("MILLSTREAM_SEED", rand::random());
    eprintln!("repeat with MILLSTREAM_SEED={seed}");
    seed
}

/// A client of the server at `address` that gives up soon: for what should work at once.
pub(crate) async fn connect(address: std::net::SocketAddr) -> Result<Client, ClientError> {
    let config = ClientConfig {
        retry_timeout: Duration::from_secs(10),
        ..ClientConfig::new(address.to_string())
    };
    Client::connect(config).await
}

/// Tries `attempt` every 20 ms until it gives something; after [`PATIENCE`] the test fails for want of `what`.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, tries).await;
    found.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}
