//! Opening a pack whose header, footer or trailer is damaged.
//!
//! None of them says anything that the manifest and the batches do not: which ranges the pack has is in the manifest,
//! they lie one after another, and where in a range a batch is can be found out by walking over it. So damage there
//! costs a walk, and no batch.

use std::sync::Arc;

use super::footer::{Footer, read_exact};
use super::layout::{DirectoryEntry, HEADER_BYTES, PackHeader, TRAILER_BYTES, Trailer};
use super::reader::PackReader;
use super::writer::{OpenRange, encode_footer};
use super::{PackError, PackInfo, blob_name};
use crate::format::FormatError;
use crate::media::{Blob, BlobMedium};
use crate::policy::PartitionPolicy;

/// How much is read at a time.
const READ_CHUNK_BYTES: usize = 4 << 20;

/// Opens the pack that the manifest describes so, without what it says of itself. Where its batches are damaged, the
/// index leads up to the damage.
pub(crate) fn rebuild(medium: &dyn BlobMedium, info: &PackInfo) -> Result<PackReader, PackError> {
    let blob = medium.open(&blob_name(info.id))?;
    check_identity(&*blob, info)?;
    let header = PackHeader {
        id: info.id,
        created: info.created,
        manifest: 0,
    };
    let mut position = HEADER_BYTES as u64;
    let bare: Vec<DirectoryEntry> = info
        .ranges
        .iter()
        .map(|range| {
            let entry = DirectoryEntry::bare(*range, position);
            position = entry.end_position();
            entry
        })
        .collect();
    let footer = Footer::new(encode_footer(&bare, &[]), bare.len());
    let unindexed = Arc::new(PackReader::new(header, Arc::clone(&blob), footer));

    let interval_bytes = PartitionPolicy::default().index_interval_bytes;
    let (mut directory, mut index) = (Vec::with_capacity(bare.len()), Vec::new());
    for entry in bare {
        let (range, position) = (entry.range, entry.position);
        let mut walked = OpenRange::begin(&range, position, index.len() as u32, interval_bytes);
        let mut scan = unindexed.scan(&entry, READ_CHUNK_BYTES);
        while let Ok(Some(batch)) = scan.next_batch() {
            walked.push(&batch.header, &mut index);
        }
        directory.push(walked.end(range));
    }
    let footer = Footer::new(encode_footer(&directory, &index), directory.len());
    Ok(PackReader::new(header, blob, footer))
}

/// Batches do not say whose they are: a file that says to be another pack's must not be taken for this one.
fn check_identity(blob: &dyn Blob, info: &PackInfo) -> Result<(), PackError> {
    let header = read_exact(blob, 0, HEADER_BYTES)?;
    let header = PackHeader::decode(&header).map(|header| header.id);
    let trailer_position = blob.len().saturating_sub(TRAILER_BYTES as u64);
    let trailer = read_exact(blob, trailer_position, TRAILER_BYTES)?;
    let trailer = Trailer::decode(&trailer).map(|trailer| trailer.id);
    if [header, trailer].iter().flatten().any(|id| *id != info.id) {
        return Err(FormatError::Malformed {
            what: "pack",
            why: "it has another pack's name",
        }
        .into());
    }
    Ok(())
}
