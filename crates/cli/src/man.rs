//! `millstream man`: manual pages, made from the same definitions as the help.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

/// Arguments of `millstream man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream man | man -l -
  millstream man --dir ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for every command into this directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints the page, or writes all of them.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let command = crate::Arguments::command();
        match self.dir {
            None => clap_mangen::Man::new(command).render(&mut std::io::stdout())?,
            Some(dir) => {
                std::fs::create_dir_all(&dir)
                    .with_context(|| format!("cannot create {}", dir.display()))?;
                clap_mangen::generate_to(command, &dir)
                    .with_context(|| format!("cannot write into {}", dir.display()))?;
            }
        }
        Ok(())
    }
}
