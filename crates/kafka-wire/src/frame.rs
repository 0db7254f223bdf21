//! An encoded frame: what is written to a socket in one go.

use bytes::{Bytes, BytesMut};

/// A frame with its 4-byte length in front, as the segments of a vectored write.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    segments: Vec<Bytes>,
    length_bytes: usize,
}

impl Frame {
    pub(crate) fn new(segments: Vec<Bytes>, length_bytes: usize) -> Self {
        Self {
            segments,
            length_bytes,
        }
    }

    /// The segments in the order in which they go to the wire; none is empty.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// The segments, for a writer that consumes them.
    pub fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// Bytes of all segments together, the length prefix included.
    pub fn len(&self) -> usize {
        self.length_bytes
    }

    /// Never true for a frame that a [`Writer`](crate::Writer) finished: it has its length prefix.
    pub fn is_empty(&self) -> bool {
        self.length_bytes == 0
    }

    /// The frame in one piece, which copies it: for tests and small frames.
    pub fn to_bytes(&self) -> Bytes {
        match self.segments.as_slice() {
            [only] => only.clone(),
            segments => {
                let mut whole = BytesMut::with_capacity(self.length_bytes);
                for segment in segments {
                    whole.extend_from_slice(segment);
                }
                whole.freeze()
            }
        }
    }

    /// The frame in one piece and without its length prefix: what a [`Reader`](crate::Reader) reads.
    pub fn to_body(&self) -> Bytes {
        let whole = self.to_bytes();
        whole.slice(whole.len().min(LENGTH_PREFIX_BYTES)..)
    }
}

/// Bytes of the big-endian length in front of every frame, which does not count itself.
pub(crate) const LENGTH_PREFIX_BYTES: usize = 4;
