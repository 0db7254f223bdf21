//! What all stored formats share: big-endian numbers, CRC32C, and how they fail.

use bytes::BufMut;
use thiserror::Error;

/// Why stored bytes could not be taken for what they should be. None of these goes away by trying again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The bytes end too early.
    #[error("{0} is cut off")]
    Truncated(&'static str),
    /// The bytes do not start (or end) as this kind of file does.
    #[error("this is not a {0}")]
    Magic(&'static str),
    /// A later release wrote this.
    #[error(
        "{what} has format version {found}, this release reads up to {supported}; use a newer release"
    )]
    Newer {
        /// What kind of thing.
        what: &'static str,
        /// The version it has.
        found: u16,
        /// The newest version known here.
        supported: u16,
    },
    /// The checksum does not fit the bytes.
    #[error("{0} does not match its checksum")]
    Checksum(&'static str),
    /// The checksum fits and the content makes no sense.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What kind of thing.
        what: &'static str,
        /// What does not fit.
        why: &'static str,
    },
}

/// CRC32C (Castagnoli), as record batches use it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Appends the checksum of everything in `out`.
pub(crate) fn seal(out: &mut Vec<u8>) {
    let crc = crc32c(out);
    out.put_u32(crc);
}

/// Cuts the checksum off the end of `bytes` after checking it.
pub(crate) fn unseal<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let (content, crc) = bytes
        .split_last_chunk::<4>()
        .ok_or(FormatError::Truncated(what))?;
    if u32::from_be_bytes(*crc) != crc32c(content) {
        return Err(FormatError::Checksum(what));
    }
    Ok(content)
}

/// Reads big-endian numbers off the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which errors will call `what`.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(FormatError::Truncated(self.what))?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `len` bytes.
    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(FormatError::Truncated(self.what))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, FormatError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, FormatError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A count of things that take at least `least_bytes` each: never more than the bytes left can hold.
    pub(crate) fn count(&mut self, least_bytes: usize) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        self.check_count(count, least_bytes)?;
        Ok(count)
    }

    /// Refuses a count of things that the bytes left cannot hold.
    pub(crate) fn check_count(&self, count: usize, least_bytes: usize) -> Result<(), FormatError> {
        if count > self.rest.len() / least_bytes {
            return Err(self.malformed("a count exceeds the bytes that are there"));
        }
        Ok(())
    }

    /// Checks the magic and the version that a file starts with.
    pub(crate) fn magic(&mut self, magic: [u8; 8], supported: u16) -> Result<u16, FormatError> {
        if self.array::<8>()? != magic {
            return Err(FormatError::Magic(self.what));
        }
        let found = self.u16()?;
        if found > supported {
            return Err(FormatError::Newer {
                what: self.what,
                found,
                supported,
            });
        }
        if found == 0 {
            return Err(self.malformed("version 0 does not exist"));
        }
        Ok(found)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, FormatError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a flag is neither 0 nor 1")),
        }
    }

    /// Checks the version that a value of the state table starts with.
    pub(crate) fn value_version(&mut self, supported: u8) -> Result<u8, FormatError> {
        let found = self.u8()?;
        if found > supported {
            return Err(FormatError::Newer {
                what: self.what,
                found: found.into(),
                supported: supported.into(),
            });
        }
        if found == 0 {
            return Err(self.malformed("version 0 does not exist"));
        }
        Ok(found)
    }

    /// Checks the two bytes that a key of the store starts with.
    pub(crate) fn key_prefix(&mut self, prefix: [u8; 2]) -> Result<(), FormatError> {
        if self.array::<2>()? == prefix {
            Ok(())
        } else {
            Err(FormatError::Magic(self.what))
        }
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("there are more bytes than it should have"))
        }
    }

    pub(crate) fn malformed(&self, why: &'static str) -> FormatError {
        FormatError::Malformed {
            what: self.what,
            why,
        }
    }
}
