//! Why a server did not start, or had to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use millstream_broker::{OpenError, SlotFailure};
use thiserror::Error;

/// Why a server did not start, or had to stop. Every message says what to do.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error(
        "{address} is in use: stop what listens there, or choose another address with --{setting}"
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
        /// The setting that named it.
        setting: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --{setting}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that named it.
        setting: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Clients could not be told where to connect to.
    #[error(
        "--kafka-addr {address} listens on all addresses, so say which one clients shall connect to: \
         --kafka-advertised HOST:{}", address.port()
    )]
    NothingToAdvertise {
        /// The address.
        address: SocketAddr,
    },
    /// Anybody on the network could do anything.
    #[error(
        "--http-addr {address} can be reached from other machines, and nobody is asked who they are: listen on 127.0.0.1, or \
         say --http-allow-unauthenticated true if the network is yours"
    )]
    Unauthenticated {
        /// The address.
        address: SocketAddr,
    },
    /// The data directory cannot be opened.
    #[error("cannot open the data directory {}: {source}{}", data_dir.display(), remedy(source))]
    Open {
        /// The directory.
        data_dir: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The process lacks something of the system.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The store failed while the server ran. What was acknowledged is safe.
    #[error(
        "the store has failed: {0}; nothing was acknowledged since. Look after the disk, then start the server again: \
         it recovers what was acknowledged"
    )]
    Failed(SlotFailure),
    /// Shutting down did not go through to its end. What was acknowledged is safe.
    #[error("the shutdown was not clean: {0}; the next start recovers from the journal")]
    Shutdown(String),
    /// A second signal came while the server was shutting down.
    #[error("stopped at once by a second signal; the next start recovers from the journal")]
    Interrupted,
}

/// What to do about a directory that cannot be opened, where the error itself does not say.
fn remedy(error: &OpenError) -> &'static str {
    match error {
        OpenError::Store(millstream_store::OpenError::Io { .. }) => {
            "; check that this user may read and write it, or choose another with --data-dir"
        }
        _ => "",
    }
}
