//! Reads back what a journal holds, up to where a crash cut it off.
//!
//! An entry counts if its framing and its batches match their checksums, it names its own position, and its leader epoch
//! is not older than that of the entry before it: what an earlier incarnation wrote beyond a cut never comes back.
//!
//! Where no such entry follows, two things are told apart. If some later entry names a position beyond that place as
//! synced, what was there had been durable and is *damaged*: it is skipped and reported. Otherwise it was never
//! acknowledged as durable, and the journal is *cut* there, even if whole entries follow: unsynced writes reach the disk
//! in any order.
//!
//! What the device cannot read is as good as overwritten. If nothing says that it had been durable, and the next entry
//! could lie there, that entry may have been acknowledged all the same: the journal is cut there too, and that is told.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millstream_env::DIRECT_ALIGNMENT;
use millstream_record::{BatchHeader, LeaderEpoch};
use smallvec::SmallVec;
use thiserror::Error;

use super::entry::{self, ENTRY_ALIGNMENT, EntryHeader, Frame, HEADER_BYTES};
use super::salvage::Unreadable;
use crate::format::FormatError;
use crate::ids::JournalPosition;
use crate::media::JournalMedium;

/// How much is read at a time, at first and at most. Small at first, because mostly there is nothing.
const CHUNK_BYTES_FIRST: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// What is said of a part of the journal that the device cannot read.
const UNREADABLE: &str = "the disk cannot read it";

/// Why a journal could not be read.
#[derive(Debug, Error)]
pub(crate) enum ScanError {
    /// The medium failed.
    #[error("reading the journal: {0}")]
    Io(#[from] io::Error),
    /// A later release wrote an entry.
    #[error(transparent)]
    Newer(FormatError),
}

/// One thing that was found.
pub(crate) enum Found {
    /// A whole entry.
    Entry {
        header: EntryHeader,
        frame: Frame,
        batches: SmallVec<[(BatchHeader, Bytes); 1]>,
        /// The number of the chunk that the batches are slices of.
        chunk: u64,
    },
    /// An entry that is not whole, but whose framing is.
    Damaged { header: EntryHeader, frame: Frame },
    /// A chunk of so many bytes that nothing further will be sliced from; all in it lies before `end`.
    ChunkDone {
        capacity: usize,
        end: JournalPosition,
    },
}

/// A stretch of the journal that cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    /// Where it starts.
    pub from: JournalPosition,
    /// Where it ends.
    pub to: JournalPosition,
    /// What is wrong with its start.
    pub reason: String,
    /// It had been durable. Otherwise it is where the journal ends: the device cannot read it, so nobody can tell whether
    /// anything had been written there.
    pub was_durable: bool,
}

/// Where a scan ended.
#[derive(Debug)]
pub(crate) struct ScanEnd {
    /// The end of the last entry that counts.
    pub(crate) end: JournalPosition,
    /// The highest position that is known to have been synced; never beyond `end` unless what follows is damaged.
    pub(crate) synced: JournalPosition,
    /// How many entries count.
    pub(crate) entries: u64,
    /// The latest leader epoch of any entry.
    pub(crate) epoch: LeaderEpoch,
    /// How many chunks were read.
    pub(crate) chunks: u64,
    /// What was skipped.
    pub(crate) damaged: Vec<DamagedRange>,
    /// What the device could not read, skipped or never written.
    pub(crate) unreadable: Unreadable,
}

/// Reads the journal of `slot` from `from`, before which everything was synced, and shows each thing found to `visit`.
/// `epoch` is the latest that is known.
pub(crate) fn scan(
    medium: &Arc<dyn JournalMedium>,
    slot: u64,
    from: JournalPosition,
    epoch: LeaderEpoch,
    mut visit: impl FnMut(Found),
) -> Result<ScanEnd, ScanError> {
    let limit = medium.extent()?.end.max(from);
    let mut walk = Walk {
        chunks: Chunks::new(Arc::clone(medium), limit),
        slot,
        at: ScanEnd {
            end: from,
            synced: from,
            entries: 0,
            epoch,
            chunks: 0,
            damaged: Vec::new(),
            unreadable: Unreadable::default(),
        },
    };
    loop {
        let found = walk.next(walk.at.end);
        walk.chunks.report(&mut visit);
        match found? {
            Next::Entry(header, frame, batches) => {
                walk.at.accept(&header);
                visit(Found::Entry {
                    header,
                    frame,
                    batches,
                    chunk: walk.chunks.number,
                });
            }
            Next::Bad(bad) => {
                if walk.at.synced <= bad.at {
                    let (medium, chunks) = (Arc::clone(medium), walk.chunks.number);
                    let synced = walk
                        .search(Chunks::new(medium, limit), bad.at, |_| true)?
                        .synced;
                    walk.chunks.number = chunks;
                    walk.at.synced = walk.at.synced.max(synced);
                }
                if walk.at.synced <= bad.at {
                    walk.doubt_end()?;
                    break;
                }
                let resumed = walk.skip(Arc::clone(medium), limit, &bad)?;
                if let Some((header, frame)) = bad.framing {
                    visit(Found::Damaged { header, frame });
                }
                let Some(resumed) = resumed else { break };
                walk.at.end = resumed;
            }
        }
    }
    walk.chunks.finish();
    walk.chunks.report(&mut visit);
    walk.at.chunks = walk.chunks.number;
    walk.at.unreadable = std::mem::take(&mut walk.chunks.unreadable);
    Ok(walk.at)
}

impl ScanEnd {
    fn accept(&mut self, header: &EntryHeader) {
        self.end = header.next();
        self.synced = self.synced.max(header.synced);
        self.epoch = self.epoch.max(header.epoch);
        self.entries += 1;
    }
}

enum Next {
    Entry(EntryHeader, Frame, SmallVec<[(BatchHeader, Bytes); 1]>),
    Bad(Bad),
}

/// No entry that counts.
struct Bad {
    at: JournalPosition,
    reason: FormatError,
    /// Its framing, if at least that is whole.
    framing: Option<(EntryHeader, Frame)>,
}

struct Walk {
    chunks: Chunks,
    slot: u64,
    at: ScanEnd,
}

/// What a search came upon.
struct Search {
    /// The first entry that fits.
    first: Option<JournalPosition>,
    /// The highest position that any entry names as synced.
    synced: JournalPosition,
}

impl Walk {
    /// The entry after `end`: right there, or in the next group or file if it says that it follows.
    fn next(&mut self, end: JournalPosition) -> Result<Next, ScanError> {
        let bad = match self.entry(end)? {
            Next::Bad(bad) => bad,
            found @ Next::Entry(..) => return Ok(found),
        };
        for elsewhere in self.elsewhere(end) {
            if let Ok(header) = self.header(elsewhere)?
                && header.follows == end
            {
                return self.entry(elsewhere);
            }
        }
        Ok(Next::Bad(bad))
    }

    /// Where the entry after `end` may lie but for there.
    fn elsewhere(&self, end: JournalPosition) -> impl Iterator<Item = JournalPosition> + use<> {
        let group = JournalPosition(end.0.next_multiple_of(DIRECT_ALIGNMENT as u64));
        let file = end.advance(self.chunks.medium.room(end));
        let limit = self.chunks.limit;
        let places = [group, file].into_iter();
        places.filter(move |place| *place != end && *place < limit)
    }

    fn entry(&mut self, at: JournalPosition) -> Result<Next, ScanError> {
        let bad = |reason| {
            Ok(Next::Bad(Bad {
                at,
                reason,
                framing: None,
            }))
        };
        let header = match self.header(at)? {
            Ok(header) => header,
            Err(reason) => return bad(reason),
        };
        let Some(bytes) = self.chunks.get(at, header.length as usize)? else {
            return bad(FormatError::Truncated("journal entry"));
        };
        let frame = match Frame::decode(&bytes.slice(..header.framing_length as usize)) {
            Ok(frame) => frame,
            Err(reason) => return bad(reason),
        };
        Ok(match entry::batches(&bytes, &header, &frame) {
            Ok(batches) => Next::Entry(header, frame, batches),
            Err(reason) => Next::Bad(Bad {
                at,
                reason,
                framing: Some((header, frame)),
            }),
        })
    }

    /// The framing at `at`, if it is whole and of this incarnation.
    fn header(
        &mut self,
        at: JournalPosition,
    ) -> Result<Result<EntryHeader, FormatError>, ScanError> {
        let Some(fixed) = self.chunks.get(at, HEADER_BYTES)? else {
            return Ok(Err(FormatError::Truncated("journal entry")));
        };
        if !entry::looks_like_entry(&fixed, self.slot, at) {
            return Ok(Err(FormatError::Magic("journal entry")));
        }
        let framing_length = u32::from_be_bytes([fixed[44], fixed[45], fixed[46], fixed[47]]);
        let Some(framing) = self.chunks.get(at, framing_length as usize)? else {
            return Ok(Err(FormatError::Truncated("journal entry")));
        };
        match entry::decode_header(&framing, self.slot, at) {
            Ok(header) if header.epoch < self.at.epoch => Ok(Err(FormatError::Malformed {
                what: "journal entry",
                why: "it was left behind by an earlier incarnation",
            })),
            Err(newer @ FormatError::Newer { .. }) => Err(ScanError::Newer(newer)),
            outcome => Ok(outcome),
        }
    }

    /// Notes the damage at `bad` and finds where to go on.
    fn skip(
        &mut self,
        medium: Arc<dyn JournalMedium>,
        limit: JournalPosition,
        bad: &Bad,
    ) -> Result<Option<JournalPosition>, ScanError> {
        let after = match &bad.framing {
            Some((header, _)) => bad.at.advance(u64::from(header.length)),
            None => bad.at.advance(ENTRY_ALIGNMENT as u64),
        };
        let claimed = self.claimed_bytes(bad.at)?;
        let is_unreadable = self.chunks.unreadable.touches(bad.at, claimed);
        let reason = if is_unreadable {
            UNREADABLE.to_owned()
        } else {
            bad.reason.to_string()
        };
        let epoch = self.at.epoch;
        let search = self.search(Chunks::new(medium, limit), after, |header| {
            header.epoch >= epoch
        })?;
        self.at.damaged.push(DamagedRange {
            from: bad.at,
            to: search.first.unwrap_or(self.at.synced).max(after),
            reason,
            was_durable: true,
        });
        Ok(search.first)
    }

    /// Notes it if the entry after the last one may lie where the device cannot read.
    fn doubt_end(&mut self) -> Result<(), ScanError> {
        let end = self.at.end;
        for from in std::iter::once(end).chain(self.elsewhere(end)) {
            let claimed = self.claimed_bytes(from)?;
            if let Some(to) = self.chunks.unreadable.end_of(from, claimed) {
                self.at.damaged.push(DamagedRange {
                    from,
                    to,
                    reason: UNREADABLE.to_owned(),
                    was_durable: false,
                });
                break;
            }
        }
        Ok(())
    }

    /// How long the entry at `at` says to be, or else the least that an entry takes.
    fn claimed_bytes(&mut self, at: JournalPosition) -> Result<u64, ScanError> {
        let fixed = self.chunks.get(at, HEADER_BYTES)?;
        let entry = fixed.filter(|fixed| entry::looks_like_entry(fixed, self.slot, at));
        let length = entry.map_or(0, |fixed| {
            u32::from_be_bytes([fixed[40], fixed[41], fixed[42], fixed[43]])
        });
        Ok(u64::from(length).max(HEADER_BYTES as u64))
    }

    /// Looks at every place from `from` on where an entry could start.
    fn search(
        &mut self,
        mut chunks: Chunks,
        from: JournalPosition,
        fits: impl Fn(&EntryHeader) -> bool,
    ) -> Result<Search, ScanError> {
        let mut search = Search {
            first: None,
            synced: JournalPosition::ZERO,
        };
        let mut at = JournalPosition(from.0.next_multiple_of(ENTRY_ALIGNMENT as u64));
        while let Some(window) = chunks.window(at)? {
            let mut offset = 0;
            while offset + HEADER_BYTES <= window.len() {
                let here = at.advance(offset as u64);
                if entry::looks_like_entry(&window[offset..], self.slot, here)
                    && let Some(header) = whole_framing(&mut chunks, self.slot, here)?
                {
                    search.synced = search.synced.max(header.synced);
                    if search.first.is_none() && fits(&header) {
                        search.first = Some(here);
                    }
                }
                offset += ENTRY_ALIGNMENT;
            }
            // The last header of a window may reach into the next, unless a file ends there.
            let step = if window.len() as u64 == chunks.medium.room(at) {
                window.len()
            } else {
                offset
            };
            at = at.advance(step.max(ENTRY_ALIGNMENT) as u64);
        }
        self.chunks.unreadable.merge(chunks.unreadable);
        Ok(search)
    }
}

fn whole_framing(
    chunks: &mut Chunks,
    slot: u64,
    at: JournalPosition,
) -> Result<Option<EntryHeader>, ScanError> {
    let Some(fixed) = chunks.get(at, HEADER_BYTES)? else {
        return Ok(None);
    };
    let framing_length = u32::from_be_bytes([fixed[44], fixed[45], fixed[46], fixed[47]]);
    let framing = chunks.get(at, framing_length as usize)?;
    Ok(framing.and_then(|framing| entry::decode_header(&framing, slot, at).ok()))
}

/// Reads the journal in large pieces and hands out slices of them.
struct Chunks {
    medium: Arc<dyn JournalMedium>,
    limit: JournalPosition,
    start: JournalPosition,
    chunk: Bytes,
    capacity: usize,
    next_bytes: usize,
    number: u64,
    done: Vec<(usize, JournalPosition)>,
    unreadable: Unreadable,
}

impl Chunks {
    fn new(medium: Arc<dyn JournalMedium>, limit: JournalPosition) -> Self {
        Self {
            medium,
            limit,
            start: JournalPosition::ZERO,
            chunk: Bytes::new(),
            capacity: 0,
            next_bytes: CHUNK_BYTES_FIRST,
            number: 0,
            done: Vec::new(),
            unreadable: Unreadable::default(),
        }
    }

    /// `len` bytes at `at`, or `None` if a file or the journal ends before.
    fn get(&mut self, at: JournalPosition, len: usize) -> io::Result<Option<Bytes>> {
        if at >= self.limit || len as u64 > self.medium.room(at).min(self.limit.0 - at.0) {
            return Ok(None);
        }
        if !self.covers(at, len) {
            self.load(at, len)?;
        }
        if !self.covers(at, len) {
            return Ok(None);
        }
        let offset = (at.0 - self.start.0) as usize;
        Ok(Some(self.chunk.slice(offset..offset + len)))
    }

    /// Whatever lies at `at`, as much as one chunk has of it; `None` at the end of the journal.
    fn window(&mut self, at: JournalPosition) -> io::Result<Option<Bytes>> {
        if at >= self.limit {
            return Ok(None);
        }
        let room = self.medium.room(at).min(self.limit.0 - at.0);
        let least = (HEADER_BYTES as u64).min(room) as usize;
        if !self.covers(at, least) {
            self.load(at, least)?;
        }
        let offset = (at.0 - self.start.0) as usize;
        if offset >= self.chunk.len() {
            // A file is missing, or shorter than it should be.
            return Ok(Some(Bytes::from(vec![
                0;
                room.min(CHUNK_BYTES_MAX as u64)
                    as usize
            ])));
        }
        Ok(Some(self.chunk.slice(offset..)))
    }

    fn covers(&self, at: JournalPosition, len: usize) -> bool {
        at >= self.start && at.0 + len as u64 <= self.start.0 + self.chunk.len() as u64
    }

    fn load(&mut self, at: JournalPosition, least: usize) -> io::Result<()> {
        self.finish();
        let start = JournalPosition(at.0 - at.0 % DIRECT_ALIGNMENT as u64);
        let skipped = (at.0 - start.0) as usize;
        let room = self.medium.room(start).min(self.limit.0 - start.0) as usize;
        let want = (least + skipped).max(self.next_bytes).min(room);
        self.next_bytes = (self.next_bytes * 4).min(CHUNK_BYTES_MAX);
        let mut buffer = BytesMut::zeroed(want);
        let read = self.unreadable.read(&*self.medium, start, &mut buffer)?;
        buffer.truncate(read);
        self.start = start;
        self.capacity = want;
        self.chunk = buffer.freeze();
        self.number += 1;
        Ok(())
    }

    /// Nothing more will be sliced from the chunk at hand.
    fn finish(&mut self) {
        if self.capacity > 0 {
            let end = self.start.advance(self.chunk.len() as u64);
            self.done.push((self.capacity, end));
            self.capacity = 0;
            self.chunk = Bytes::new();
        }
    }

    fn report(&mut self, visit: &mut impl FnMut(Found)) {
        for (capacity, end) in self.done.drain(..) {
            visit(Found::ChunkDone { capacity, end });
        }
    }
}
