//! Opening a pack whose header, footer or trailer is damaged.
//!
//! As long as the manifest still has all of its ranges, none of them says anything that the manifest and the batches do
//! not: the ranges lie one after another, and where in a range a batch is can be found out by walking over it. So damage
//! there costs a walk, and no batch. That it has all of them is what the trailer or the directory says: batches do not say
//! whose they are, and another partition's must not be taken for them.

use std::sync::Arc;

use super::footer::{Footer, read_exact};
use super::layout::{
    DIRECTORY_ENTRY_BYTES, DirectoryEntry, HEADER_BYTES, PackHeader, TRAILER_BYTES, Trailer,
};
use super::reader::PackReader;
use super::writer::{OpenRange, encode_footer};
use super::{PackError, PackInfo, blob_name};
use crate::format::{FormatError, Reader};
use crate::media::{Blob, BlobMedium};
use crate::policy::PartitionPolicy;

/// How much is read at a time.
const READ_CHUNK_BYTES: usize = 4 << 20;

/// Opens the pack that the manifest describes so, without what it says of itself. Where its batches are damaged, the
/// index leads up to the damage.
pub(crate) fn rebuild(medium: &dyn BlobMedium, info: &PackInfo) -> Result<PackReader, PackError> {
    let blob = medium.open(&blob_name(info.id))?;
    let trailer = check_identity(&*blob, info)?;
    let header = PackHeader {
        id: info.id,
        created: info.created,
        manifest: 0,
    };
    if let Ok((_, footer)) = Footer::read_behind_batches(&*blob) {
        // Only the header is damaged.
        return Ok(PackReader::new(header, blob, footer));
    }
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
    let all_are_known = match trailer {
        Some(trailer) => {
            trailer.footer_position == position && trailer.directory_entries as usize == bare.len()
        }
        None => blob.len() == position || directory_says_so(&*blob, &bare, position),
    };
    if !all_are_known {
        return Err(malformed(
            "it is damaged, and where its ranges lie cannot be told without what is",
        ));
    }
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

/// Its trailer, if that is not damaged. A file that says to be another pack's must not be taken for this one.
fn check_identity(blob: &dyn Blob, info: &PackInfo) -> Result<Option<Trailer>, PackError> {
    let header = read_exact(blob, 0, HEADER_BYTES)?;
    let header = PackHeader::decode(&header)
        .map(|header| header.id)
        .map_err(|_| ());
    let trailer_position = blob.len().saturating_sub(TRAILER_BYTES as u64);
    let trailer = read_exact(blob, trailer_position, TRAILER_BYTES)?;
    let trailer = Trailer::decode(&trailer);
    let ids = [
        header,
        trailer.as_ref().map(|trailer| trailer.id).map_err(|_| ()),
    ];
    if ids.iter().flatten().any(|id| *id != info.id) {
        return Err(malformed("it has another pack's name"));
    }
    Ok(trailer.ok())
}

/// Whether a directory at `position`, where the footer has to be, says the same of the ranges.
fn directory_says_so(blob: &dyn Blob, ranges: &[DirectoryEntry], position: u64) -> bool {
    let bytes = read_exact(blob, position, ranges.len() * DIRECTORY_ENTRY_BYTES);
    let Ok(bytes) = bytes else { return false };
    let mut reader = Reader::new("directory of a pack", &bytes);
    ranges.iter().all(|range| {
        DirectoryEntry::decode(&mut reader)
            .is_ok_and(|entry| entry.range == range.range && entry.position == range.position)
    })
}

fn malformed(why: &'static str) -> PackError {
    FormatError::Malformed { what: "pack", why }.into()
}
