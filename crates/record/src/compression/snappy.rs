//! Snappy in the two shapes that Kafka clients send: one raw block (librdkafka), or the framing of xerial's
//! snappy-java (the Java client and most others).
//!
//! xerial's framing is a magic of 8 bytes, two versions of 4 bytes, then blocks, each with its compressed length as a
//! big-endian `u32` before it. Snappy's own framing format is a third thing that Kafka does not use.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

/// What xerial's writer starts with: the magic, its version 1, and the oldest version that can read it, 1.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_MAGIC: &[u8] = XERIAL_HEADER.split_at(8).0;

/// Block size of xerial's writer as Kafka uses it.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

/// No element of a Snappy block turns one byte into more than this: the densest is a copy of 64 bytes in three.
const EXPANSION_MAX: usize = 32;

/// Appends `plain` in xerial's framing, which every Kafka client reads.
pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(&XERIAL_HEADER);
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let length_at = out.len();
        let block_at = length_at + 4;
        out.resize(block_at + snap::raw::max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut out[block_at..])?;
        out[length_at..block_at].copy_from_slice(&(length as u32).to_be_bytes());
        out.truncate(block_at + length);
    }
    Ok(())
}

/// Decompresses block by block; a raw payload is one block.
pub(crate) struct SnappyDecoder {
    compressed: Bytes,
    xerial: bool,
    block_bytes_max: usize,
    block: Bytes,
}

impl SnappyDecoder {
    pub(super) fn new(mut payload: Bytes, block_bytes_max: usize) -> Self {
        let xerial = payload.len() >= XERIAL_HEADER.len() && payload.starts_with(XERIAL_MAGIC);
        if xerial {
            payload.advance(XERIAL_HEADER.len());
        }
        Self {
            compressed: payload,
            xerial,
            block_bytes_max,
            block: Bytes::new(),
        }
    }

    fn next_compressed(&mut self) -> io::Result<Bytes> {
        if !self.xerial {
            return Ok(std::mem::take(&mut self.compressed));
        }
        if self.compressed.len() < 4 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = self.compressed.get_u32() as usize;
        if length > self.compressed.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.compressed.split_to(length))
    }

    fn decompress_next(&mut self) -> io::Result<()> {
        let compressed = self.next_compressed()?;
        let length = snap::raw::decompress_len(&compressed)?;
        if length > self.block_bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if length > compressed.len().saturating_mul(EXPANSION_MAX) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "stated length is beyond what the block can hold",
            ));
        }
        self.block = snap::raw::Decoder::new()
            .decompress_vec(&compressed)?
            .into();
        Ok(())
    }
}

impl Read for SnappyDecoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            if self.compressed.is_empty() {
                return Ok(0);
            }
            self.decompress_next()?;
        }
        let length = self.block.len().min(out.len());
        self.block.copy_to_slice(&mut out[..length]);
        Ok(length)
    }
}
