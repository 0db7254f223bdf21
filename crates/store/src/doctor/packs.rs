//! The packs: whether they are there, hold what the manifest says, and have whole batches.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use millstream_env::Env;
use serde::Serialize;

use super::{Depth, Findings, Severity, disk};
use crate::ids::PackId;
use crate::layout::Layout;
use crate::manifest::Manifest;
use crate::media::{BlobMedium, LocalBlobs};
use crate::pack::{
    PackError, PackInfo, PackRange, PackReader, blob_name, parse_blob_name, rebuild,
};

/// How much is read at a time.
const READ_CHUNK_BYTES: usize = 4 << 20;

/// What was found in packs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PackSummary {
    /// Packs in which nothing is wrong.
    pub whole: u64,
    /// Packs that are missing or in which something is wrong.
    pub damaged: u64,
    /// Batches that were read and are whole.
    pub batches: u64,
    /// Bytes of these batches.
    pub batch_bytes: u64,
}

/// Looks at all packs that `manifest` lists, and for those that it does not.
pub(super) fn look(
    env: &Env,
    layout: &Layout,
    manifest: Option<&Manifest>,
    depth: Depth,
    findings: &mut Findings,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<PackSummary> {
    let mut summary = PackSummary::default();
    let dir = layout.packs();
    let medium = LocalBlobs::open_unchanged(disk(env), &dir);
    let blobs = if env.disk.exists(&dir)? {
        medium.list()?
    } else {
        Vec::new()
    };
    let Some(manifest) = manifest else {
        if !blobs.is_empty() {
            let problem = format!(
                "there are {} packs and no manifest says which count",
                blobs.len()
            );
            findings.add(Severity::Fatal, "manifest", problem);
        }
        return Ok(summary);
    };
    let sizes: BTreeMap<&str, Option<u64>> = blobs
        .iter()
        .map(|(name, size)| (name.as_str(), *size))
        .collect();
    let total = manifest.size_bytes();
    let mut done = 0;
    for pack in manifest.packs.values() {
        let part = part(pack.id);
        let found = findings.0.len();
        match sizes.get(blob_name(pack.id).as_str()) {
            None => findings.add(Severity::Damage, part, lost("it is missing", pack)),
            Some(Some(size)) if *size != pack.size_bytes => {
                let problem = format!("it has {size} bytes instead of {}", pack.size_bytes);
                findings.add(Severity::Damage, part, lost(&problem, pack));
            }
            Some(_) => match PackReader::open(&medium, pack.id) {
                Ok(reader) => look_into(&Arc::new(reader), pack, depth, findings, &mut summary),
                Err(error @ PackError::Io(_)) => {
                    findings.add(Severity::Damage, part, lost(&error.to_string(), pack));
                }
                Err(error) => {
                    let problem = format!("{error}; the server reads its batches without that");
                    findings.add(Severity::Damage, part, problem);
                    if let Ok(reader) = rebuild(&medium, pack) {
                        look_into(&Arc::new(reader), pack, depth, findings, &mut summary);
                    }
                }
            },
        }
        if findings.0.len() == found {
            summary.whole += 1;
        } else {
            summary.damaged += 1;
        }
        done += pack.size_bytes;
        progress(done, total);
    }
    look_for_others(manifest, sizes.keys().copied(), findings);
    Ok(summary)
}

/// Checks that a pack holds the ranges it should, and at [`Depth::Batches`] that all their batches are whole.
fn look_into(
    reader: &Arc<PackReader>,
    pack: &PackInfo,
    depth: Depth,
    findings: &mut Findings,
    summary: &mut PackSummary,
) {
    for range in &pack.ranges {
        let entry = reader.range(range.partition, range.first);
        let Some(entry) = entry.filter(|entry| entry.range == *range) else {
            let problem = format!("it does not hold {}", describe(range));
            findings.add(Severity::Damage, part(pack.id), problem);
            continue;
        };
        if depth == Depth::Structure {
            continue;
        }
        let mut scan = reader.scan(&entry, READ_CHUNK_BYTES);
        let mut next = range.first;
        let result = loop {
            match scan.next_batch() {
                Ok(Some(batch)) => {
                    summary.batches += 1;
                    summary.batch_bytes += batch.bytes.len() as u64;
                    next = batch.header.next_offset();
                }
                Ok(None) => break Ok::<(), PackError>(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = result {
            let problem = format!("{}, from offset {next} on: {error}", describe(range));
            findings.add(Severity::Damage, part(pack.id), problem);
        }
    }
}

/// Reports what lies among the packs and is not in the manifest.
fn look_for_others<'a>(
    manifest: &Manifest,
    names: impl Iterator<Item = &'a str>,
    findings: &mut Findings,
) {
    for name in names {
        let problem = match parse_blob_name(name) {
            Some(id) if manifest.packs.contains_key(&id) => continue,
            Some(id) if manifest.discarded.contains(&id) || id >= manifest.next_pack => {
                "left over from an interrupted round; the next start removes it or says why not"
            }
            _ => "nothing says what it is; it is left alone",
        };
        findings.add(Severity::Notice, format!("packs/{name}"), problem);
    }
}

fn part(id: PackId) -> String {
    format!("packs/{}", blob_name(id))
}

fn lost(problem: &str, pack: &PackInfo) -> String {
    let bytes: u64 = pack.ranges.iter().map(|range| range.bytes).sum();
    let of = match pack.ranges.as_slice() {
        [range] => describe(range),
        ranges => format!("{} runs of batches", ranges.len()),
    };
    format!("{problem}: {of} with {bytes} bytes cannot be read")
}

fn describe(range: &PackRange) -> String {
    format!(
        "partition {}, offsets {} to {}",
        range.partition, range.first, range.end
    )
}
