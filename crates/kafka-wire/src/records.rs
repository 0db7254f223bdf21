//! The record batches of one partition, as opaque bytes in one or several slices.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// Record batches, back to back. A decoded value is one slice of its frame; one to be encoded may be several, so that
/// a batch whose header was rewritten goes out as that header and the shared rest, without a copy.
///
/// Two values are equal if their bytes are, however they are cut.
#[derive(Clone, Default)]
pub struct Records {
    /// Kept apart so that a single slice needs no allocation. Empty only if all is.
    first: Bytes,
    more: Vec<Bytes>,
}

impl Records {
    /// No batches.
    pub const fn new() -> Self {
        Self {
            first: Bytes::new(),
            more: Vec::new(),
        }
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, segment: Bytes) {
        if segment.is_empty() {
            return;
        }
        if self.first.is_empty() {
            self.first = segment;
        } else {
            self.more.push(segment);
        }
    }

    /// The slices, in order.
    pub fn segments(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first)
            .chain(&self.more)
            .filter(|segment| !segment.is_empty())
    }

    /// Bytes of all slices together.
    pub fn len(&self) -> usize {
        self.first.len() + self.more.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// All bytes in one piece: no copy for a decoded value, which is one slice.
    pub fn into_bytes(self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for segment in self.segments() {
            whole.extend_from_slice(segment);
        }
        whole.freeze()
    }
}

impl From<Bytes> for Records {
    fn from(first: Bytes) -> Self {
        Self {
            first,
            more: Vec::new(),
        }
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(segments: I) -> Self {
        let mut records = Self::new();
        for segment in segments {
            records.push(segment);
        }
        records
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.segments().flatten().eq(other.segments().flatten())
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    /// The size alone: the bytes are a peer's payload, and may be megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Records({} bytes in {} segments)",
            self.len(),
            self.segments().count()
        )
    }
}
