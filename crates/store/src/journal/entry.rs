//! One journal entry, byte by byte.
//!
//! ```text
//!  0  magic            u32   "MSJE"
//!  4  crc32c           u32   of bytes 8 up to the end of the framing
//!  8  slot             u64   random, given to the slot when it was made: nothing a client sends can pass for an entry
//! 16  position         u64   of this entry; its file number is the generation of the file
//! 24  synced           u64   everything before this position was durable when the entry was written
//! 32  follows          u64   where the entry before it ended
//! 40  length           u32   of the whole entry, a multiple of 8
//! 44  framing length   u32   of the header and the parts listed below: what the checksum covers
//! 48  leader epoch     i32
//! 52  kind             u8    1 start, 2 commit, 3 seal; 4 prepare and 5 decide are reserved for commits across slots
//! 53  flags            u8    bit 0: last of its group, the next entry starts at the next multiple of 4096
//! 54  version          u16   1; 2 if an append has a foreign producer
//! 56  wall clock       i64   milliseconds since 1970
//! 64  a commit's parts, each a count u32 and so many of:
//!       opens       partition u32 | durability u8
//!       appends     batch length u32 | last offset delta u32 | max timestamp i64
//!                   target count u32 | targets: partition u32 | base offset i64
//!                   bit 31 of the target count: the producer is foreign, none of these targets remembers it;
//!                   else the first one does
//!       trims       partition u32 | log start i64
//!       drops       partition u32
//!       reserves    partition u32 | offset i64
//!       puts        key length u32 | value length u32 | key | value
//!       deletes     key length u32 | key
//!     the batches, back to back, in the order of the appends, each as for its first target
//!     zeros up to a multiple of 8
//! ```
//!
//! All numbers are big-endian. The batches carry checksums of their own, so their bytes are not read twice; what those
//! do not cover (base offset, length, leader epoch) is in the framing and taken from there.

use bytes::{BufMut, Bytes, BytesMut};
use millstream_record::{BatchHeader, LeaderEpoch, Offset, TimestampMs, header};
use smallvec::SmallVec;

use crate::format::{FormatError, Reader, crc32c};
use crate::ids::{JournalPosition, PartitionId};
use crate::policy::Durability;

/// The fixed part of an entry, in bytes.
pub const HEADER_BYTES: usize = 64;

/// Entries start and end at multiples of this.
pub const ENTRY_ALIGNMENT: usize = 8;

const MAGIC: [u8; 4] = *b"MSJE";
const VERSION: u16 = 2;
/// The version of entries that no reader of version 1 would take for something else.
const PLAIN_VERSION: u16 = 1;
const FOREIGN_PRODUCER: u32 = 1 << 31;

/// What a partition and an offset take.
const OFFSET_BYTES: usize = 12;
const WHAT: &str = "journal entry";
const LAST_OF_GROUP: u8 = 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The slot was opened; what follows has the entry's leader epoch.
    Start = 1,
    /// A commit.
    Commit = 2,
    /// A boundary up to which a checkpoint will cover the journal.
    Seal = 3,
}

/// The fixed part of an entry, less what follows from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    /// The slot it belongs to.
    pub slot: u64,
    /// Where it lies.
    pub position: JournalPosition,
    /// Up to where the journal was known to be durable.
    pub synced: JournalPosition,
    /// Where the entry before it ended.
    pub follows: JournalPosition,
    /// Its length in bytes.
    pub length: u32,
    /// The length of what its checksum covers.
    pub framing_length: u32,
    /// The leader epoch it was written in.
    pub epoch: LeaderEpoch,
    /// What it is.
    pub kind: Kind,
    /// Whether a new group follows.
    pub last_of_group: bool,
    /// When it was sequenced.
    pub wall: TimestampMs,
}

impl EntryHeader {
    /// Where the next entry lies, unless it is in another file.
    pub fn next(&self) -> JournalPosition {
        let end = self.position.0 + u64::from(self.length);
        if self.last_of_group {
            JournalPosition(end.next_multiple_of(millstream_env::DIRECT_ALIGNMENT as u64))
        } else {
            JournalPosition(end)
        }
    }
}

/// What a commit's entry says of one append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendFrame {
    /// The batch's length in bytes.
    pub batch_bytes: u32,
    /// How many offsets it takes up, less one.
    pub last_offset_delta: u32,
    /// Its latest timestamp.
    pub max_timestamp: TimestampMs,
    /// Where it goes, and its base offset there.
    pub targets: SmallVec<[(PartitionId, Offset); 1]>,
    /// The batch's producer is remembered by a partition that is not among the targets, a memory partition. Otherwise
    /// the first target remembers it, and no other.
    pub foreign_producer: bool,
}

/// What a commit's entry holds besides the batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// Partitions that start to exist.
    pub opens: Vec<(PartitionId, Durability)>,
    /// Batches.
    pub appends: SmallVec<[AppendFrame; 1]>,
    /// Log starts that move up.
    pub trims: Vec<(PartitionId, Offset)>,
    /// Partitions that cease to exist.
    pub drops: Vec<PartitionId>,
    /// Offsets that memory partitions may give out, so that a restart resumes above them.
    pub reserves: Vec<(PartitionId, Offset)>,
    /// State to set.
    pub puts: Vec<(Bytes, Bytes)>,
    /// State to remove.
    pub deletes: Vec<Bytes>,
}

impl Frame {
    /// How long the framing is, header included.
    pub fn encoded_bytes(&self) -> usize {
        let appends: usize = self
            .appends
            .iter()
            .map(|append| 20 + append.targets.len() * 12)
            .sum();
        let puts: usize = self
            .puts
            .iter()
            .map(|(key, value)| 8 + key.len() + value.len())
            .sum();
        let deletes: usize = self.deletes.iter().map(|key| 4 + key.len()).sum();
        HEADER_BYTES
            + 7 * 4
            + self.opens.len() * 5
            + appends
            + self.trims.len() * 12
            + self.drops.len() * 4
            + self.reserves.len() * 12
            + puts
            + deletes
    }

    /// How many bytes of batches go with it.
    pub fn batch_bytes(&self) -> usize {
        self.appends
            .iter()
            .map(|append| append.batch_bytes as usize)
            .sum()
    }

    /// How long the whole entry is.
    pub fn entry_bytes(&self) -> usize {
        (self.encoded_bytes() + self.batch_bytes()).next_multiple_of(ENTRY_ALIGNMENT)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.opens.len() as u32);
        for (partition, durability) in &self.opens {
            out.put_u32(partition.0);
            out.put_u8(*durability as u8);
        }
        out.put_u32(self.appends.len() as u32);
        for append in &self.appends {
            out.put_u32(append.batch_bytes);
            out.put_u32(append.last_offset_delta);
            out.put_i64(append.max_timestamp.0);
            let flags = if append.foreign_producer {
                FOREIGN_PRODUCER
            } else {
                0
            };
            out.put_u32(append.targets.len() as u32 | flags);
            put_each_offset(out, &append.targets);
        }
        put_offsets(out, &self.trims);
        out.put_u32(self.drops.len() as u32);
        for partition in &self.drops {
            out.put_u32(partition.0);
        }
        put_offsets(out, &self.reserves);
        out.put_u32(self.puts.len() as u32);
        for (key, value) in &self.puts {
            out.put_u32(key.len() as u32);
            out.put_u32(value.len() as u32);
            out.put_slice(key);
            out.put_slice(value);
        }
        out.put_u32(self.deletes.len() as u32);
        for key in &self.deletes {
            out.put_u32(key.len() as u32);
            out.put_slice(key);
        }
    }

    /// Reads the parts out of `framing`, a whole entry's framing with its header.
    pub fn decode(framing: &Bytes) -> Result<Self, FormatError> {
        let parts = framing
            .get(HEADER_BYTES..)
            .ok_or(FormatError::Truncated(WHAT))?;
        let mut reader = Reader::new(WHAT, parts);
        let mut frame = Self::default();
        for _ in 0..reader.count(5)? {
            let partition = PartitionId(reader.u32()?);
            let durability = Durability::from_u8(reader.u8()?)
                .ok_or_else(|| reader.malformed("there is no such durability"))?;
            frame.opens.push((partition, durability));
        }
        for _ in 0..reader.count(20)? {
            let (batch_bytes, last_offset_delta) = (reader.u32()?, reader.u32()?);
            let max_timestamp = TimestampMs(reader.i64()?);
            let count = reader.u32()?;
            let targets = (count & !FOREIGN_PRODUCER) as usize;
            let append = AppendFrame {
                batch_bytes,
                last_offset_delta,
                max_timestamp,
                targets: each_offset(&mut reader, targets)?,
                foreign_producer: count & FOREIGN_PRODUCER != 0,
            };
            if append.targets.is_empty() {
                return Err(reader.malformed("a batch for no partition"));
            }
            frame.appends.push(append);
        }
        frame.trims = offsets(&mut reader)?;
        for _ in 0..reader.count(4)? {
            frame.drops.push(PartitionId(reader.u32()?));
        }
        frame.reserves = offsets(&mut reader)?;
        for _ in 0..reader.count(8)? {
            let (key, value) = (reader.u32()? as usize, reader.u32()? as usize);
            let key = framing.slice_ref(reader.slice(key)?);
            frame
                .puts
                .push((key, framing.slice_ref(reader.slice(value)?)));
        }
        for _ in 0..reader.count(4)? {
            let key = reader.u32()? as usize;
            frame.deletes.push(framing.slice_ref(reader.slice(key)?));
        }
        reader.end()?;
        Ok(frame)
    }
}

fn put_offsets(out: &mut BytesMut, offsets: &[(PartitionId, Offset)]) {
    out.put_u32(offsets.len() as u32);
    put_each_offset(out, offsets);
}

fn put_each_offset(out: &mut BytesMut, offsets: &[(PartitionId, Offset)]) {
    for (partition, offset) in offsets {
        out.put_u32(partition.0);
        out.put_i64(offset.0);
    }
}

fn offsets(reader: &mut Reader<'_>) -> Result<Vec<(PartitionId, Offset)>, FormatError> {
    let count = reader.count(OFFSET_BYTES)?;
    each_offset(reader, count)
}

/// `count` of them; so many have to be there.
fn each_offset<T: FromIterator<(PartitionId, Offset)>>(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<T, FormatError> {
    reader.check_count(count, OFFSET_BYTES)?;
    (0..count)
        .map(|_| Ok((PartitionId(reader.u32()?), Offset(reader.i64()?))))
        .collect()
}

/// Appends an entry to `out`. `header` says all but the lengths; `batches` are those of `frame`'s appends, and are given
/// the base offsets of their first targets and the entry's leader epoch while they are copied.
///
/// Returns where in `out` each batch lies.
pub fn encode<'a>(
    out: &mut BytesMut,
    header: &EntryHeader,
    frame: &Frame,
    batches: impl Iterator<Item = &'a Bytes>,
) -> SmallVec<[std::ops::Range<usize>; 1]> {
    let start = out.len();
    let length = frame.entry_bytes();
    let framing_length = frame.encoded_bytes();
    out.put_slice(&MAGIC);
    out.put_u32(0);
    out.put_u64(header.slot);
    out.put_u64(header.position.0);
    out.put_u64(header.synced.0);
    out.put_u64(header.follows.0);
    out.put_u32(length as u32);
    out.put_u32(framing_length as u32);
    out.put_i32(header.epoch.0);
    out.put_u8(header.kind as u8);
    out.put_u8(if header.last_of_group {
        LAST_OF_GROUP
    } else {
        0
    });
    let newer = frame.appends.iter().any(|append| append.foreign_producer);
    out.put_u16(if newer { VERSION } else { PLAIN_VERSION });
    out.put_i64(header.wall.0);
    frame.encode(out);
    debug_assert_eq!(
        out.len() - start,
        framing_length,
        "the framing's length is known ahead"
    );
    let crc = crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());

    let ranges = frame
        .appends
        .iter()
        .zip(batches)
        .map(|(append, batch)| {
            let from = out.len();
            out.put_i64(append.targets[0].1.0);
            out.put_slice(&batch[8..12]);
            out.put_i32(header.epoch.0);
            out.put_slice(&batch[16..]);
            from..out.len()
        })
        .collect();
    out.put_bytes(0, start + length - out.len());
    ranges
}

/// Reads the entry that lies at `at` of the journal of `slot`, from the front of `bytes`, which may be longer.
///
/// The framing has been checked then; the batches have not.
pub fn decode_header(
    bytes: &[u8],
    slot: u64,
    at: JournalPosition,
) -> Result<EntryHeader, FormatError> {
    let mut reader = Reader::new(WHAT, bytes);
    if reader.array::<4>()? != MAGIC {
        return Err(FormatError::Magic(WHAT));
    }
    let crc = reader.u32()?;
    let header_slot = reader.u64()?;
    let position = JournalPosition(reader.u64()?);
    if header_slot != slot || position != at {
        return Err(reader.malformed("it belongs elsewhere"));
    }
    let synced = JournalPosition(reader.u64()?);
    let follows = JournalPosition(reader.u64()?);
    let length = reader.u32()?;
    let framing_length = reader.u32()?;
    if (framing_length as usize) < HEADER_BYTES || framing_length > length {
        return Err(reader.malformed("its lengths contradict each other"));
    }
    let framing = bytes
        .get(8..framing_length as usize)
        .ok_or(FormatError::Truncated(WHAT))?;
    if crc32c(framing) != crc {
        return Err(FormatError::Checksum(WHAT));
    }
    let epoch = LeaderEpoch(reader.i32()?);
    let kind = reader.u8()?;
    let flags = reader.u8()?;
    let version = reader.u16()?;
    if version > VERSION {
        return Err(FormatError::Newer {
            what: WHAT,
            found: version,
            supported: VERSION,
        });
    }
    let kind = match kind {
        1 => Kind::Start,
        2 => Kind::Commit,
        3 => Kind::Seal,
        _ => return Err(reader.malformed("there is no such kind of entry")),
    };
    if !(length as usize).is_multiple_of(ENTRY_ALIGNMENT) {
        return Err(reader.malformed("its length is not a multiple of 8"));
    }
    Ok(EntryHeader {
        slot,
        position,
        synced,
        follows,
        length,
        framing_length,
        epoch,
        kind,
        last_of_group: flags & LAST_OF_GROUP != 0,
        wall: TimestampMs(reader.i64()?),
    })
}

/// Whether `bytes` could be the start of an entry of `slot` at `at`: a quick look, for searching.
pub fn looks_like_entry(bytes: &[u8], slot: u64, at: JournalPosition) -> bool {
    bytes.len() >= HEADER_BYTES
        && bytes[..4] == MAGIC
        && bytes[8..16] == slot.to_be_bytes()
        && bytes[16..24] == at.0.to_be_bytes()
}

/// Cuts the batches out of a whole entry and checks each of them against its own checksum and against the framing.
pub fn batches(
    entry: &Bytes,
    header: &EntryHeader,
    frame: &Frame,
) -> Result<SmallVec<[(BatchHeader, Bytes); 1]>, FormatError> {
    if header.length as usize != frame.entry_bytes() || entry.len() < frame.entry_bytes() {
        return Err(malformed("its length does not fit its parts"));
    }
    let mut at = header.framing_length as usize;
    let mut found = SmallVec::new();
    for append in &frame.appends {
        let end = at + append.batch_bytes as usize;
        let batch = entry.slice(at..end);
        let batch_header = BatchHeader::parse(&batch).map_err(|_| malformed("not a batch"))?;
        if batch_header.size_bytes != append.batch_bytes
            || batch_header.base_offset != append.targets[0].1
            || batch_header.leader_epoch != header.epoch
            || i64::from(batch_header.last_offset_delta) != i64::from(append.last_offset_delta)
        {
            return Err(malformed("a batch is not the one that was written"));
        }
        if header::computed_crc(&batch) != batch_header.crc {
            return Err(FormatError::Checksum("batch in a journal entry"));
        }
        found.push((batch_header, batch));
        at = end;
    }
    Ok(found)
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: WHAT, why }
}
