//! The journal's bytes: groups of entries at logical positions.

use std::io;

use crate::ids::JournalPosition;

/// What a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalExtent {
    /// The oldest position that can still be read.
    pub first: JournalPosition,
    /// Nothing has been written at or beyond this position. What lies before it need not have been written either.
    pub end: JournalPosition,
}

/// How much room may be claimed beyond what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// As far ahead as makes writing fastest.
    Ahead,
    /// No more than what is to be written takes: for what makes room.
    Needed,
    /// None, nor what is kept to go on in: that is for what makes room.
    Nothing,
}

/// Holds the journal. It knows nothing of entries: what a group means, and which of its bytes are whole, is found out by
/// who reads them.
///
/// Positions are bytes. Groups start at, and are as long as, multiples of [`millstream_env::DIRECT_ALIGNMENT`].
pub trait JournalMedium: Send + Sync {
    /// Makes every other owner's appends fail from now on, or fails with `ResourceBusy` while another owner lives.
    fn fence(&self) -> io::Result<()>;

    /// What there is to read.
    fn extent(&self) -> io::Result<JournalExtent>;

    /// How many bytes can be written at `at` before a boundary that no group crosses; behind it the next group can go.
    fn room(&self, at: JournalPosition) -> u64;

    /// Claims room for everything from the last group on and before `upto`, so that appends up to there do not fail for
    /// want of it. `false` when there is no room, or more would have to be claimed than may be.
    fn claim(&self, upto: JournalPosition, claim: Claim) -> io::Result<bool>;

    /// Writes a group, after everything before it. With `sync` it and all groups before it are durable on return;
    /// without, they have left the process.
    fn append(&self, at: JournalPosition, group: &[u8], sync: bool) -> io::Result<()>;

    /// Reads up to `buf.len()` bytes; fewer at a boundary or at the end. What was never written reads as anything.
    fn read(&self, at: JournalPosition, buf: &mut [u8]) -> io::Result<usize>;

    /// Gives up everything before `before`. Bytes after it stay; some before it may too.
    fn trim(&self, before: JournalPosition) -> io::Result<()>;

    /// Does one piece of work that makes later appends faster; `true` when there is more to do. Unless there is `ample`
    /// room, gives back what is kept only for that.
    fn prepare(&self, ample: bool) -> io::Result<bool>;
}
