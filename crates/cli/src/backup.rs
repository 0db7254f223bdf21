//! `millstream backup`: a consistent copy of a data directory, whether or not a server runs on it.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use millstream_env::Env;
use millstream_server::control::{self, Answer, AskError, Request};
use millstream_store::{BackupSummary, backup_closed};

use crate::output::{bytes, print_json, print_line};

/// Arguments of `millstream backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
The backup is a data directory of its own: start a server on it, or copy it back with `millstream restore`. It holds
everything that was acknowledged when the backup began. On one file system, packs are linked rather than copied.

Examples:
  millstream backup /backup/today
  millstream backup --data-dir /var/lib/millstream /backup/today --json")]
pub(crate) struct Backup {
    /// Where to put it: a directory that is empty or does not exist.
    target: PathBuf,
    /// The server's data directory. If no server runs on it, it is copied as it lies.
    #[arg(
        long,
        value_name = "DIR",
        env = "MILLSTREAM_DATA_DIR",
        default_value = "millstream-data"
    )]
    data_dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Backup {
    /// Makes the backup.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = std::path::absolute(&self.target)?;
        let request = Request::Backup {
            target: target.clone(),
        };
        let summary = match control::ask(&self.data_dir, &request) {
            Ok(Answer::BackedUp(summary)) => summary,
            Ok(Answer::Refused(reason)) => bail!(reason),
            Err(AskError::NoServer) => backup_closed(&Env::real(), &self.data_dir, &target)?,
            Err(error) => return Err(error.into()),
        };
        report("backed up", &summary, self.json)
    }
}

/// Prints what a copy of a data directory holds.
pub(crate) fn report(what: &str, summary: &BackupSummary, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(summary);
    }
    print_line(format_args!(
        "{what}: {} packs of {}, {} of them linked, and {} of journal",
        summary.packs,
        bytes(summary.pack_bytes),
        summary.linked,
        bytes(summary.journal_bytes)
    ))
}
