//! What the operator sees: one line per event, on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging by `filter`. A program that has its own logging keeps it.
pub(crate) fn start(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
}
