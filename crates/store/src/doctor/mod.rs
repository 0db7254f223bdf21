//! Looks into a data directory that no server has open, and says what is whole and what is damaged.
//!
//! Nothing is changed: not by repairing, not by sweeping up. Start with [`diagnose`]; what it finds is a [`Diagnosis`],
//! plain data that serialises. `parts.rs` looks at the small files, `packs.rs` at the packs, `journal.rs` at the journal.

mod journal;
mod packs;
mod parts;

use std::io;
use std::path::Path;
use std::sync::Arc;

use millstream_env::Env;
use serde::Serialize;

use crate::error::OpenError;
use crate::layout::Layout;
pub use journal::JournalSummary;
pub use packs::PackSummary;
pub use parts::{ManifestSummary, StateSummary};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything but the batches in packs. Takes seconds.
    Structure,
    /// Every byte. Takes as long as reading the directory.
    Batches,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Notice,
    /// Something that was stored cannot be read. The rest can.
    Damage,
    /// A server will not start on this directory.
    Fatal,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which file or directory it is about, relative to the data directory.
    pub part: String,
    /// What is wrong, and what it means.
    pub problem: String,
}

/// What is in a data directory, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The directory.
    pub data_dir: String,
    /// Nothing is damaged.
    pub whole: bool,
    /// The state table; `None` if there is none or it cannot be read.
    pub state: Option<StateSummary>,
    /// The manifest; `None` if there is none or it cannot be read.
    pub manifest: Option<ManifestSummary>,
    /// The packs that the manifest lists.
    pub packs: PackSummary,
    /// The journal from where the state table ends; `None` if it cannot be read.
    pub journal: Option<JournalSummary>,
    /// What is not as it should be, the worst first.
    pub findings: Vec<Finding>,
}

/// Collects findings.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, part: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Finding {
            severity,
            part: part.into(),
            problem: problem.into(),
        });
    }
}

/// Looks at the data directory in `data_dir`. `progress` is told how many bytes of how many in packs have been looked at.
///
/// Fails when a server has the directory open, when it is no data directory, or when the disk fails.
pub fn diagnose(
    env: &Env,
    data_dir: &Path,
    depth: Depth,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Diagnosis, OpenError> {
    let layout = Layout::new(data_dir);
    let _lock = take_lock(env, &layout)?;
    diagnose_locked(env, &layout, depth, progress)
}

/// The same for who holds the directory already.
pub(crate) fn diagnose_locked(
    env: &Env,
    layout: &Layout,
    depth: Depth,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Diagnosis, OpenError> {
    let data_dir = layout.root();
    let mut findings = Findings::default();
    let failed = || format!("looking into {}", data_dir.display());

    let format = parts::format(env, layout, &mut findings)?;
    let state = parts::state(env, layout, &mut findings);
    let manifest = parts::manifest(env, layout, &mut findings);
    let packs = packs::look(
        env,
        layout,
        manifest.as_ref(),
        depth,
        &mut findings,
        progress,
    )
    .map_err(OpenError::io(failed()))?;
    if let Some(state) = &state {
        parts::compare_positions(state, manifest.as_ref(), &mut findings);
    }
    if let (Some(state), Some(manifest)) = (&state, &manifest) {
        parts::compare(state, manifest, &mut findings);
    }
    let journal = match (format, &state) {
        (Some(format), Some(state)) => journal::look(env, layout, format, state, &mut findings)
            .map_err(OpenError::io(failed()))?,
        _ => None,
    };
    let mut findings = findings.0;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(Diagnosis {
        data_dir: data_dir.display().to_string(),
        whole: findings
            .iter()
            .all(|finding| finding.severity == Severity::Notice),
        state: state.map(|state| state.summary),
        manifest: manifest.as_ref().map(ManifestSummary::of),
        packs,
        journal,
        findings,
    })
}

/// Holds the directory so that no server starts meanwhile.
pub(crate) fn take_lock(env: &Env, layout: &Layout) -> Result<millstream_env::DiskLock, OpenError> {
    let root = layout.root();
    let locking = || format!("locking {}", root.display());
    let exists = env.disk.exists(root).map_err(OpenError::io(locking()))?;
    let used = exists
        && !env
            .disk
            .list(root)
            .map_err(OpenError::io(locking()))?
            .is_empty();
    if !used {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no data directory");
        return Err(OpenError::io(root.display().to_string())(error));
    }
    env.disk
        .lock(&layout.lock())
        .map_err(OpenError::io(locking()))?
        .ok_or_else(|| OpenError::Locked(root.to_owned()))
}

/// The disk, to be handed on.
fn disk(env: &Env) -> Arc<dyn millstream_env::Disk> {
    Arc::clone(&env.disk)
}
