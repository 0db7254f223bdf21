//! Compressing a batch's records in one go, and decompressing them as a stream.

mod snappy;

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, buf::Reader};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use self::snappy::SnappyDecoder;
use crate::header::Codec;

/// A codec and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// The codec's own level: gzip 1 to 9, zstd 1 to 22 and negative ones. `None` is the codec's default. Snappy and
    /// LZ4 have no levels here and ignore it.
    pub level: Option<i32>,
}

impl Compression {
    /// Records as they are.
    pub const NONE: Self = Self {
        codec: Codec::None,
        level: None,
    };
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// The largest window a zstd frame may ask for, as a power of two: 128 MiB, the decoder's own default and what
/// level 22 uses. Its memory is touched only as far as data is really decompressed.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Appends `plain`, compressed, to `out`.
pub(crate) fn compress(compression: Compression, plain: &[u8], out: &mut Vec<u8>) {
    let level = compression.level;
    let written = match compression.codec {
        Codec::None => out.write_all(plain),
        Codec::Gzip => gzip(level, plain, out),
        Codec::Snappy => snappy::compress(plain, out),
        Codec::Lz4 => lz4(plain, out),
        Codec::Zstd => zstd(level, plain, out),
    };
    written.expect("writing to memory does not fail");
}

fn gzip(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.map_or_else(flate2::Compression::default, |level| {
        flate2::Compression::new(level.clamp(1, 9) as u32)
    });
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

/// Kafka's own reader takes independent blocks only.
fn lz4(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let frame = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

fn zstd(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let range = zstd::compression_level_range();
    let level = level
        .unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)
        .clamp(*range.start(), *range.end());
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    encoder.set_pledged_src_size(Some(plain.len() as u64))?;
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

/// Decompresses a payload bit by bit. It holds a block or a window of its codec, never the whole.
pub(crate) enum Decoder {
    Gzip(MultiGzDecoder<Reader<Bytes>>),
    Snappy(SnappyDecoder),
    Lz4(FrameDecoder<Reader<Bytes>>),
    Zstd(zstd::stream::read::Decoder<'static, Reader<Bytes>>),
}

impl Decoder {
    /// Starts on `payload`; none for [`Codec::None`]. No single step produces more than about `block_bytes_max`.
    pub(crate) fn new(
        codec: Codec,
        payload: Bytes,
        block_bytes_max: usize,
    ) -> io::Result<Option<Self>> {
        Ok(Some(match codec {
            Codec::None => return Ok(None),
            Codec::Gzip => Self::Gzip(MultiGzDecoder::new(payload.reader())),
            Codec::Snappy => Self::Snappy(SnappyDecoder::new(payload, block_bytes_max)),
            Codec::Lz4 => Self::Lz4(FrameDecoder::new(payload.reader())),
            Codec::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(payload.reader())?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Self::Zstd(decoder)
            }
        }))
    }
}

impl Read for Decoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Snappy(decoder) => decoder.read(out),
            Self::Lz4(decoder) => decoder.read(out),
            Self::Zstd(decoder) => decoder.read(out),
        }
    }
}
