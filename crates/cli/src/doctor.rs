//! `millstream doctor`: what is whole and what is damaged in a data directory.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use millstream_env::Env;
use millstream_store::doctor::{Depth, Diagnosis, Severity, diagnose};

use crate::output::{bytes, grouped, print_json, print_line};

/// Arguments of `millstream doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed. Stop the server first, or look at a backup. The exit code is 1 when something is damaged.

Examples:
  millstream doctor --data-dir /var/lib/millstream
  millstream doctor --data-dir /backup/today --deep --json")]
pub(crate) struct Doctor {
    /// The data directory.
    #[arg(
        long,
        value_name = "DIR",
        env = "MILLSTREAM_DATA_DIR",
        default_value = "millstream-data"
    )]
    data_dir: PathBuf,
    /// Check every batch of every pack, which takes as long as reading the directory.
    #[arg(long)]
    deep: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Looks, and tells.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let depth = if self.deep {
            Depth::Batches
        } else {
            Depth::Structure
        };
        let on_terminal = std::io::stderr().is_terminal();
        let mut progress = |done: u64, all: u64| {
            if on_terminal {
                eprint!("\r{} of {} looked at ", bytes(done), bytes(all));
                let _ = std::io::stderr().flush();
            }
        };
        let diagnosis = diagnose(&Env::real(), &self.data_dir, depth, &mut progress)?;
        if on_terminal && self.deep {
            eprintln!();
        }
        if self.json {
            print_json(&diagnosis)?;
        } else {
            print(&diagnosis)?;
        }
        if !diagnosis.whole {
            bail!("{} is damaged", self.data_dir.display());
        }
        Ok(())
    }
}

fn print(diagnosis: &Diagnosis) -> anyhow::Result<()> {
    if let Some(state) = &diagnosis.state {
        let closed = if state.clean {
            "closed in order"
        } else {
            "not closed in order"
        };
        print_line(format_args!(
            "state     {} partitions, {} producers, {} keys; {closed}",
            grouped(state.partitions),
            grouped(state.producers),
            grouped(state.keys)
        ))?;
    }
    if let Some(manifest) = &diagnosis.manifest {
        print_line(format_args!(
            "manifest  number {}, {} packs of {}",
            manifest.number,
            grouped(manifest.packs),
            bytes(manifest.bytes)
        ))?;
    }
    let packs = &diagnosis.packs;
    print_line(format_args!(
        "packs     {} whole, {} damaged",
        grouped(packs.whole),
        grouped(packs.damaged)
    ))?;
    if let Some(journal) = &diagnosis.journal {
        print_line(format_args!(
            "journal   {} in {} entries not settled yet, {} damaged",
            bytes(journal.end_position - journal.first_position),
            grouped(journal.entries),
            grouped(journal.damaged)
        ))?;
    }
    for finding in &diagnosis.findings {
        let severity = match finding.severity {
            Severity::Notice => "notice",
            Severity::Damage => "damage",
            Severity::Fatal => "fatal",
        };
        print_line(format_args!(
            "{severity}: {}: {}",
            finding.part, finding.problem
        ))?;
    }
    print_line(if diagnosis.whole { "whole" } else { "damaged" })
}
