//! `millstream restore`: a data directory from a backup.

use std::path::PathBuf;

use clap::Args;
use millstream_env::Env;
use millstream_store::restore;

use crate::backup::report;

/// Arguments of `millstream restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
The backup is checked first, and stays as it is. A damaged one is refused, and the error names what is damaged.

Example:
  millstream restore /backup/today --data-dir /var/lib/millstream")]
pub(crate) struct Restore {
    /// The backup.
    backup: PathBuf,
    /// The data directory to make: it is empty or does not exist.
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

impl Restore {
    /// Makes the data directory.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let summary = restore(&Env::real(), &self.backup, &self.data_dir)?;
        report("restored", &summary, self.json)
    }
}
