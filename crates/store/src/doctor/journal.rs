//! The journal, from where the state table ends.

use std::io;
use std::sync::Arc;

use millstream_env::Env;
use millstream_record::LeaderEpoch;
use serde::Serialize;

use super::parts::StateLook;
use super::{Findings, Severity, disk};
use crate::ids::JournalPosition;
use crate::journal::scan::{Found, ScanError, scan};
use crate::layout::{Layout, SlotFormat};
use crate::media::{JournalMedium, LocalJournal};

/// What the journal holds beyond the state table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalSummary {
    /// The oldest position there is.
    pub first_position: u64,
    /// Where its last whole entry ends: what lies beyond was never acknowledged as durable.
    pub end_position: u64,
    /// Everything before this is known to have been synced.
    pub synced_position: u64,
    /// Entries that recovery will replay.
    pub entries: u64,
    /// Batches in these entries.
    pub batches: u64,
    /// Stretches that were durable and cannot be read.
    pub damaged: u64,
}

/// Reads the journal as recovery would.
pub(super) fn look(
    env: &Env,
    layout: &Layout,
    format: SlotFormat,
    state: &StateLook,
    findings: &mut Findings,
) -> io::Result<Option<JournalSummary>> {
    let dir = layout.journal();
    if !env.disk.exists(&dir)? {
        findings.add(Severity::Fatal, "journal", "it is missing");
        return Ok(None);
    }
    let journal = LocalJournal::open(
        disk(env),
        Arc::clone(&env.clock),
        &dir,
        format.journal_file_bytes,
    )?;
    let covered = JournalPosition(state.summary.covered_position);
    let extent = journal.extent()?;
    if extent.first > covered || extent.end < covered {
        let problem = format!(
            "it holds positions {} to {} and the state table ends at {covered}: what is in between is gone",
            extent.first, extent.end
        );
        findings.add(Severity::Fatal, "journal", problem);
        return Ok(None);
    }
    let medium: Arc<dyn JournalMedium> = Arc::new(journal);
    let epoch = LeaderEpoch(state.summary.leader_epoch);
    let mut batches_found = 0;
    let end = scan(&medium, format.slot, covered, epoch, |found| {
        if let Found::Entry { batches, .. } = found {
            batches_found += batches.len() as u64;
        }
    });
    let end = match end {
        Ok(end) => end,
        Err(ScanError::Io(error)) => return Err(error),
        Err(ScanError::Newer(error)) => {
            findings.add(Severity::Fatal, "journal", error.to_string());
            return Ok(None);
        }
    };
    for damage in &end.damaged {
        let (from, to, reason) = (damage.from, damage.to, &damage.reason);
        let problem = if damage.was_durable {
            format!(
                "positions {from} to {to} were durable and cannot be read ({reason}): the commits in them are lost"
            )
        } else {
            format!(
                "positions {from} to {to}, where it seems to end, cannot be read ({reason}): commits that may have been written there are lost"
            )
        };
        findings.add(Severity::Damage, "journal", problem);
    }
    let damaged = end.damaged.iter().map(|damage| (damage.from, damage.to));
    let unused = end.unreadable.outside(damaged).count();
    if unused > 0 {
        let problem =
            format!("the disk cannot read {unused} blocks in which nothing lies: it is failing");
        findings.add(Severity::Notice, "journal", problem);
    }
    Ok(Some(JournalSummary {
        first_position: extent.first.0,
        end_position: end.end.0,
        synced_position: end.synced.min(end.end).0,
        entries: end.entries,
        batches: batches_found,
        damaged: end.damaged.len() as u64,
    }))
}
