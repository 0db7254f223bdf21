//! The small files: `FORMAT`, the state table, the manifest.

use std::collections::{BTreeMap, BTreeSet};

use millstream_env::Env;
use millstream_record::Offset;
use serde::Serialize;

use super::{Findings, Severity, disk};
use crate::error::OpenError;
use crate::format::FormatError;
use crate::ids::PartitionId;
use crate::layout::{Layout, SlotFormat};
use crate::manifest::{Manifest, Manifests};
use crate::state::keys::partition::PartitionState;
use crate::state::keys::producer::ProducerState;
use crate::state::keys::slot::SlotState;
use crate::state::keys::{dropped, is_reserved, partition, producer, slot};
use crate::state::{State, StateError};

/// What the state table holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StateSummary {
    /// The journal position before which it has everything.
    pub covered_position: u64,
    /// How often the slot was started after a stop that was not in order.
    pub leader_epoch: i32,
    /// The last stop was in order, unless the journal goes on.
    pub clean: bool,
    /// All keys, those of the layers above the store included.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Partitions.
    pub partitions: u64,
    /// Producers remembered by partitions.
    pub producers: u64,
}

/// What the manifest lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManifestSummary {
    /// Its number.
    pub number: u64,
    /// The journal position before which everything is in packs.
    pub settled_position: u64,
    /// Packs.
    pub packs: u64,
    /// Runs of batches in them.
    pub ranges: u64,
    /// Bytes of the packs.
    pub bytes: u64,
}

impl ManifestSummary {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self {
            number: manifest.number,
            settled_position: manifest.settled.0,
            packs: manifest.packs.len() as u64,
            ranges: manifest
                .packs
                .values()
                .map(|pack| pack.ranges.len() as u64)
                .sum(),
            bytes: manifest.size_bytes(),
        }
    }
}

/// What the rest of the look needs to know of the state.
#[derive(Debug, Default)]
pub(super) struct StateLook {
    pub(super) summary: StateSummary,
    /// Each partition's log start.
    pub(super) partitions: BTreeMap<PartitionId, Offset>,
    pub(super) dropped: BTreeSet<PartitionId>,
}

/// Reads `FORMAT`.
pub(super) fn format(
    env: &Env,
    layout: &Layout,
    findings: &mut Findings,
) -> Result<Option<SlotFormat>, OpenError> {
    match SlotFormat::read(env, layout) {
        Ok(Some(format)) => return Ok(Some(format)),
        Ok(None) => {
            let problem = "it is missing: without it this is no data directory";
            findings.add(Severity::Fatal, "FORMAT", problem);
        }
        Err(error @ OpenError::Io { .. }) => return Err(error),
        Err(error) => findings.add(Severity::Fatal, "FORMAT", error.to_string()),
    }
    Ok(None)
}

/// Reads the state table from end to end.
pub(super) fn state(env: &Env, layout: &Layout, findings: &mut Findings) -> Option<StateLook> {
    let mut look = StateLook::default();
    match read_state(env, layout, &mut look, findings) {
        Ok(()) => Some(look),
        Err(error) => {
            findings.add(Severity::Fatal, "state.redb", error.to_string());
            None
        }
    }
}

fn read_state(
    env: &Env,
    layout: &Layout,
    look: &mut StateLook,
    findings: &mut Findings,
) -> Result<(), StateError> {
    let state = State::open_unchanged(disk(env), &layout.state())?;
    look.summary.covered_position = state.covered_position().0;
    for entry in state.scan(b"")? {
        let (key, value) = entry?;
        look.summary.keys += 1;
        look.summary.bytes += (key.len() + value.len()) as u64;
        if is_reserved(&key)
            && let Err(error) = look.read(&key, &value)
        {
            findings.add(Severity::Fatal, "state.redb", error.to_string());
        }
    }
    Ok(())
}

impl StateLook {
    /// Reads one of the store's own records.
    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        if *key == *slot::key() {
            let state = SlotState::decode(value)?;
            self.summary.leader_epoch = state.leader_epoch.0;
            self.summary.clean = state.clean;
        } else if key.starts_with(&partition::PREFIX) {
            let state = PartitionState::decode(value)?;
            self.partitions
                .insert(partition::parse_key(key)?, state.log_start);
            self.summary.partitions += 1;
        } else if key.starts_with(&producer::PREFIX) {
            producer::parse_key(key)?;
            ProducerState::decode(value)?;
            self.summary.producers += 1;
        } else if key.starts_with(&dropped::PREFIX) {
            dropped::check(value)?;
            self.dropped.insert(dropped::parse_key(key)?);
        } else {
            return Err(FormatError::Malformed {
                what: "state table",
                why: "a key is of no known kind",
            });
        }
        Ok(())
    }
}

/// Reads the newest manifest.
pub(super) fn manifest(env: &Env, layout: &Layout, findings: &mut Findings) -> Option<Manifest> {
    match Manifests::read(&*env.disk, &layout.manifest()) {
        Ok(manifest) => manifest,
        Err(error) => {
            findings.add(Severity::Fatal, "manifest", error.to_string());
            None
        }
    }
}

/// Compares how far the state table and the manifest have come: what the journal may give up is in both.
pub(super) fn compare_positions(
    state: &StateLook,
    manifest: Option<&Manifest>,
    findings: &mut Findings,
) {
    let settled = manifest.map_or(0, |manifest| manifest.settled.0);
    let covered = state.summary.covered_position;
    if covered > settled {
        let problem = format!(
            "packs hold the journal up to {settled}, the state table covers what is before {covered}: the newest manifest is missing"
        );
        findings.add(Severity::Fatal, "manifest", problem);
    }
}

/// Compares what the state table says of partitions with what packs hold of them.
pub(super) fn compare(state: &StateLook, manifest: &Manifest, findings: &mut Findings) {
    // The journal may know partitions that the table has not heard of yet.
    let behind = manifest.settled.0 > state.summary.covered_position;
    for (id, ranges) in manifest.by_partition() {
        if state.dropped.contains(&id) {
            continue;
        }
        let Some(log_start) = state.partitions.get(&id) else {
            if !behind {
                let problem = format!("partition {id} is in packs and nowhere else; it is kept");
                findings.add(Severity::Notice, "packs", problem);
            }
            continue;
        };
        let mut end = *log_start;
        for (_, range) in ranges.iter().filter(|(_, range)| range.end > *log_start) {
            if range.first > end {
                let problem = format!(
                    "partition {id} has nothing from offset {end} to {}",
                    range.first
                );
                findings.add(Severity::Damage, "packs", problem);
            }
            end = range.end;
        }
    }
}
