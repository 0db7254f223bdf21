//! A walk over the batches of one range, in order.

use std::sync::Arc;

use bytes::Bytes;
use millstream_limits::BATCH_BYTES_MAX;
use millstream_record::header::HEADER_BYTES;
use millstream_record::{Batch, BatchError, BatchHeader};

use super::PackError;
use super::footer::Start;
use super::layout::DirectoryEntry;
use super::range::NextBatch;
use super::reader::{PackReader, check_batch};

/// Reads a range's batches one after another, in chunks. Every batch is checked; after an error the walk can only be
/// given up.
#[derive(Debug)]
pub struct RangeScan {
    pack: Arc<PackReader>,
    entry: DirectoryEntry,
    /// Where what has not been read yet starts, in bytes from the start of the range.
    position: u64,
    /// What has been read and not been given out.
    buffer: Bytes,
    chunk_bytes: usize,
    next: NextBatch,
}

impl RangeScan {
    pub(super) fn new(
        pack: Arc<PackReader>,
        entry: DirectoryEntry,
        start: Start,
        chunk_bytes: usize,
    ) -> Self {
        Self {
            pack,
            entry,
            position: start.position,
            buffer: Bytes::new(),
            chunk_bytes,
            next: start.next,
        }
    }

    /// The next batch, or `None` at the end of the range.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, PackError> {
        let rest_bytes = self.entry.range.bytes - self.position + self.buffer.len() as u64;
        if rest_bytes == 0 {
            return Ok(None);
        }
        self.fill(HEADER_BYTES)?;
        let size_bytes = BatchHeader::peek_size(&self.buffer)? as usize;
        if size_bytes > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge {
                size_bytes,
                max_bytes: BATCH_BYTES_MAX,
            }
            .into());
        }
        self.fill(size_bytes)?;
        let batch = Batch::parse(self.buffer.split_to(size_bytes))?;
        check_batch(&self.entry, &batch, self.next)?;
        self.next = self.entry.range.batch_after(batch.header.last_offset());
        Ok(Some(batch))
    }

    /// Makes sure that `needed` bytes are in the buffer.
    fn fill(&mut self, needed: usize) -> Result<(), PackError> {
        if self.buffer.len() >= needed {
            return Ok(());
        }
        // What is left is the start of a batch: reading it again is simpler than joining two buffers, and it is short.
        let from = self.position - self.buffer.len() as u64;
        let rest_bytes = self.entry.range.bytes - from;
        if (needed as u64) > rest_bytes {
            return Err(BatchError::Truncated {
                needed_bytes: needed,
                available_bytes: rest_bytes as usize,
            }
            .into());
        }
        let len = rest_bytes.min(needed.max(self.chunk_bytes) as u64) as usize;
        self.buffer = self.pack.read_range(&self.entry, from, len)?;
        self.position = from + len as u64;
        Ok(())
    }
}
