//! Memory that direct I/O accepts.

use bytes::{Buf, BytesMut};

/// What the address, the length and the file offset of a direct write are multiples of, in bytes. It covers every
/// device whose logical blocks are 512 or 4096 bytes.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// An empty buffer whose first byte lies at a multiple of [`DIRECT_ALIGNMENT`] and that takes `capacity_bytes` without
/// moving.
pub fn aligned_buffer(capacity_bytes: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(capacity_bytes + DIRECT_ALIGNMENT);
    let skip = buffer.as_ptr().align_offset(DIRECT_ALIGNMENT);
    buffer.resize(skip, 0);
    buffer.advance(skip);
    buffer
}

/// Whether `bytes` can be written directly at `offset`.
pub fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    bytes.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT)
        && bytes.len().is_multiple_of(DIRECT_ALIGNMENT)
        && offset.is_multiple_of(DIRECT_ALIGNMENT as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_aligned_and_keep_their_capacity() {
        for capacity in [1, 4096, 100_000, 1 << 20] {
            let mut buffer = aligned_buffer(capacity);
            assert!(buffer.capacity() >= capacity);
            let before = buffer.as_ptr();
            buffer.resize(capacity, 7);
            assert_eq!(buffer.as_ptr(), before, "filling it must not move it");
            assert!(is_aligned(&buffer[..0], 0));
        }
    }
}
