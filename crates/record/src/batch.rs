//! One batch with its bytes, and an iterator over batches that lie one after another.

use bytes::{Bytes, BytesMut};

use crate::error::BatchError;
use crate::header::{BatchHeader, HEADER_BYTES, computed_crc};

/// A whole batch: its decoded header and its bytes, which share the memory they were received or read in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The decoded header.
    pub header: BatchHeader,
    /// The batch, header included; exactly `header.size_bytes` long.
    pub bytes: Bytes,
}

impl Batch {
    /// Takes `bytes` as exactly one batch. The checksum is not looked at.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let size_bytes = header.size_bytes as usize;
        if bytes.len() < size_bytes {
            return Err(BatchError::Truncated {
                needed_bytes: size_bytes,
                available_bytes: bytes.len(),
            });
        }
        if bytes.len() > size_bytes {
            return Err(BatchError::MoreThanOne(bytes.len() - size_bytes));
        }
        Ok(Self { header, bytes })
    }

    /// Checks the content against the checksum in the header.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = computed_crc(&self.bytes);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchError::Checksum {
                stored: self.header.crc,
                computed,
            })
        }
    }

    /// The batch as `edit` makes it, which leaves its length alone. Its bytes are written in place where nobody else holds
    /// them.
    pub fn edited(self, edit: impl FnOnce(&mut [u8])) -> Result<Self, BatchError> {
        let mut bytes = self
            .bytes
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        edit(&mut bytes);
        Self::parse(bytes.freeze())
    }

    /// The records as they are stored, compressed or not.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }
}

/// Iterates over batches that lie one after another, as in a fetch answer or a stored segment.
///
/// Nothing is copied. After an error there is nothing more to find, and the iteration ends: [`Batches::rest`] is what
/// was not consumed. Checksums are not looked at.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self {
            rest: bytes,
            failed: false,
        }
    }

    /// What has not been consumed yet; after an error, from the start of what could not be read.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let batch = split_first(&mut self.rest);
        self.failed = batch.is_err();
        Some(batch)
    }
}

/// Takes the first batch off `bytes`, or leaves them alone.
fn split_first(bytes: &mut Bytes) -> Result<Batch, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    let size_bytes = header.size_bytes as usize;
    if bytes.len() < size_bytes {
        return Err(BatchError::Truncated {
            needed_bytes: size_bytes,
            available_bytes: bytes.len(),
        });
    }
    Ok(Batch {
        header,
        bytes: bytes.split_to(size_bytes),
    })
}
