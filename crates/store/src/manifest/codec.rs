//! The manifest as bytes.
//!
//! ```text
//! magic     8 bytes "MSMANI\r\n"
//! version   u16 = 1, then 6 zeros
//! number u64 | next pack u64 | settled journal position u64 | packs u32 | discarded u32
//! packs   x (pack u64 | file size u64 | created i64 | ranges u32 | zero u32 | ranges x 72 bytes)   by pack number
//! discarded x (pack u64)
//! crc32c  u32 of everything before it
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BufMut;
use millstream_record::{Offset, TimestampMs};

use super::Manifest;
use crate::format::{FormatError, Reader, seal, unseal};
use crate::ids::{JournalPosition, PackId, PartitionId};
use crate::pack::{PackInfo, PackRange, RANGE_BYTES};

const MAGIC: [u8; 8] = *b"MSMANI\r\n";
const VERSION: u16 = 1;
const WHAT: &str = "manifest";
const PACK_BYTES: usize = 32;
const DISCARDED_BYTES: usize = 8;

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let ranges: usize = self.packs.values().map(|pack| pack.ranges.len()).sum();
        let mut out = Vec::with_capacity(64 + self.packs.len() * PACK_BYTES + ranges * RANGE_BYTES);
        out.put_slice(&MAGIC);
        out.put_u16(VERSION);
        out.put_bytes(0, 6);
        out.put_u64(self.number);
        out.put_u64(self.next_pack.0);
        out.put_u64(self.settled.0);
        out.put_u32(self.packs.len() as u32);
        out.put_u32(self.discarded.len() as u32);
        for pack in self.packs.values() {
            out.put_u64(pack.id.0);
            out.put_u64(pack.size_bytes);
            out.put_i64(pack.created.0);
            out.put_u32(pack.ranges.len() as u32);
            out.put_u32(0);
            for range in &pack.ranges {
                range.encode(&mut out);
            }
        }
        for id in &self.discarded {
            out.put_u64(id.0);
        }
        seal(&mut out);
        out
    }

    /// Reads a manifest in which all makes sense: packs in order, no offset covered twice.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        // First, so that a newer layout is called newer whatever its checksum is.
        Reader::new(WHAT, bytes).magic(MAGIC, VERSION)?;
        let mut reader = Reader::new(WHAT, unseal(WHAT, bytes)?);
        reader.array::<16>()?;
        let mut manifest = Self {
            number: reader.u64()?,
            next_pack: PackId(reader.u64()?),
            settled: JournalPosition(reader.u64()?),
            packs: BTreeMap::new(),
            discarded: Vec::new(),
        };
        let packs = reader.count(PACK_BYTES)?;
        let discarded = reader.count(DISCARDED_BYTES)?;
        for _ in 0..packs {
            let pack = decode_pack(&mut reader)?;
            let follows = manifest
                .packs
                .last_key_value()
                .is_none_or(|(last, _)| *last < pack.id);
            if !follows || pack.id >= manifest.next_pack {
                return Err(reader.malformed("its packs are out of order"));
            }
            manifest.packs.insert(pack.id, Arc::new(pack));
        }
        for _ in 0..discarded {
            let id = PackId(reader.u64()?);
            if manifest.packs.contains_key(&id) || id >= manifest.next_pack {
                return Err(reader.malformed("a discarded pack is in use"));
            }
            manifest.discarded.push(id);
        }
        if manifest.number == 0 || !manifest.is_free_of_overlaps() {
            return Err(reader.malformed("an offset is covered twice"));
        }
        reader.end()?;
        Ok(manifest)
    }
}

fn decode_pack(reader: &mut Reader<'_>) -> Result<PackInfo, FormatError> {
    let mut pack = PackInfo {
        id: PackId(reader.u64()?),
        size_bytes: reader.u64()?,
        created: TimestampMs(reader.i64()?),
        ranges: Vec::new(),
    };
    let ranges = reader.count(RANGE_BYTES)?;
    if reader.u32()? != 0 {
        return Err(reader.malformed("a pack has flags that are not known"));
    }
    pack.ranges.reserve_exact(ranges);
    let mut before: Option<(PartitionId, Offset)> = None;
    for _ in 0..ranges {
        let range = PackRange::decode(reader)?;
        if before.is_some_and(|before| before > (range.partition, range.first)) {
            return Err(reader.malformed("a pack's ranges are out of order"));
        }
        before = Some((range.partition, range.end));
        pack.ranges.push(range);
    }
    Ok(pack)
}
