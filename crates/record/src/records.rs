//! Decoding the records of a batch, with bounded memory whatever the batch claims.

use std::io::{self, Read};

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use millstream_limits::RECORD_ENCODED_BYTES_MAX;

use crate::batch::Batch;
use crate::compression::Decoder;
use crate::error::BatchError;
use crate::header::{BatchHeader, Codec, HEADER_BYTES};
use crate::ids::{Offset, TimestampMs};
use crate::record::{self, Record};
use crate::varint;

/// How much is decompressed at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The shortest record body: attributes, two deltas, two lengths, a count.
const RECORD_BODY_BYTES_MIN: usize = 6;

impl Batch {
    /// Decodes the records one by one.
    ///
    /// A compressed batch is decompressed as the iteration goes, a chunk at a time, and the iteration fails with
    /// [`BatchError::Bomb`] as soon as it has produced more than `decompressed_bytes_max`. After an error it ends.
    ///
    /// The checksum is not looked at, and offsets have to rise from record to record.
    pub fn records(&self, decompressed_bytes_max: usize) -> Records {
        let payload = self.payload();
        Records {
            source: None,
            payload,
            decompressed_bytes_max,
            ..Records::of_plain(self.header, Bytes::new())
        }
    }

    /// Whether `text`, which is short, stands anywhere in the records' bytes: in a key, a value, a header or across them.
    /// Nothing is decoded for it; decompression is bounded as in [`Self::records`].
    pub fn mentions(&self, text: &[u8], decompressed_bytes_max: usize) -> Result<bool, BatchError> {
        let finder = memmem::Finder::new(text);
        match Source::open(&self.header, self.payload(), decompressed_bytes_max)? {
            Source::Plain(bytes) => Ok(finder.find(&bytes).is_some()),
            Source::Compressed(mut stream) => {
                while stream.fill()? {
                    if finder.find(&stream.buffer).is_some() {
                        return Ok(true);
                    }
                    // It may begin in one chunk and end in the next.
                    let kept = stream.buffer.len().min(text.len().saturating_sub(1));
                    stream.buffer.advance(stream.buffer.len() - kept);
                }
                Ok(false)
            }
        }
    }

    /// The latest timestamp that a producer gave a record, whatever the header says. Of each record only the beginning is
    /// looked at, and only if the batch is not compressed; `None` if it is, or if one makes no sense.
    pub(crate) fn latest_plain_timestamp(&self) -> Option<TimestampMs> {
        if self.header.codec != Codec::None {
            return None;
        }
        let mut rest = &self.bytes[HEADER_BYTES..];
        let mut latest = None;
        for _ in 0..self.header.record_count {
            let record = record::peek(rest)?;
            rest = &rest[record.end..];
            let base = self.header.base_timestamp.0;
            latest = latest.max(Some(base.wrapping_add(record.timestamp_delta)));
        }
        latest.map(TimestampMs)
    }

    /// The records' bytes, decompressed. Fails with [`BatchError::Bomb`] beyond `bytes_max`.
    pub(crate) fn decompressed_payload(&self, bytes_max: usize) -> Result<Bytes, BatchError> {
        match Source::open(&self.header, self.payload(), bytes_max)? {
            Source::Plain(bytes) => Ok(bytes),
            Source::Compressed(mut stream) => {
                while stream.fill()? {}
                Ok(stream.buffer.freeze())
            }
        }
    }
}

/// Iterator over a batch's records; see [`Batch::records`].
pub struct Records {
    header: BatchHeader,
    /// Opened by the first step, so that its errors come out of the iteration like all others.
    source: Option<Source>,
    payload: Bytes,
    decompressed_bytes_max: usize,
    index: i32,
    last_offset_delta: i32,
    ended: bool,
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.step().transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}

impl Records {
    /// Decodes `plain`, which is what `header` says but for the codec: it is not compressed.
    pub(crate) fn of_plain(header: BatchHeader, plain: Bytes) -> Self {
        Self {
            header,
            source: Some(Source::Plain(plain)),
            payload: Bytes::new(),
            decompressed_bytes_max: 0,
            index: 0,
            last_offset_delta: -1,
            ended: false,
        }
    }

    /// Passes over records before `offset` without decoding them, where that is cheap: in a batch that is not compressed.
    /// Of those only their lengths are looked at; what is wrong with one of those is what the next step says.
    pub fn skip_before(&mut self, offset: Offset) {
        if self.source.is_none() && self.header.codec == Codec::None {
            self.source = Some(Source::Plain(std::mem::take(&mut self.payload)));
        }
        let Some(Source::Plain(bytes)) = &mut self.source else {
            return;
        };
        let mut at = 0;
        while self.index < self.header.record_count
            && let Some(record) = record::peek(&bytes[at..])
            && self.header.base_offset + i64::from(record.offset_delta) < offset
            && record.offset_delta > self.last_offset_delta
        {
            self.last_offset_delta = record.offset_delta;
            self.index += 1;
            at += record.end;
        }
        bytes.advance(at);
    }

    fn step(&mut self) -> Result<Option<Record>, BatchError> {
        let index = self.index;
        let bad_record = |reason| BatchError::BadRecord { index, reason };
        let mut source = match self.source.take() {
            Some(source) => source,
            None => Source::open(
                &self.header,
                std::mem::take(&mut self.payload),
                self.decompressed_bytes_max,
            )?,
        };
        if index == self.header.record_count {
            return if source.has(1)? {
                Err(bad_record("is one more than the batch counts"))
            } else {
                Ok(None)
            };
        }
        let body = source.take_body(index)?;
        let (record, offset_delta) = record::decode(&body, &self.header).map_err(bad_record)?;
        if offset_delta <= self.last_offset_delta {
            return Err(bad_record("offset does not rise"));
        }
        self.last_offset_delta = offset_delta;
        self.index += 1;
        self.source = Some(source);
        Ok(Some(record))
    }
}

/// Where encoded records come from.
enum Source {
    Plain(Bytes),
    Compressed(Box<Stream>),
}

impl Source {
    fn open(
        header: &BatchHeader,
        payload: Bytes,
        decompressed_bytes_max: usize,
    ) -> Result<Self, BatchError> {
        // A batch that compaction has emptied keeps no payload, so there is nothing for a codec to start on.
        if header.record_count == 0 {
            return Ok(Self::Plain(payload));
        }
        match Decoder::new(header.codec, payload.clone(), decompressed_bytes_max) {
            Ok(None) => Ok(Self::Plain(payload)),
            Ok(Some(decoder)) => Ok(Self::Compressed(Box::new(Stream {
                decoder,
                codec: header.codec,
                buffer: BytesMut::new(),
                bytes_left: decompressed_bytes_max,
                bytes_max: decompressed_bytes_max,
            }))),
            Err(error) => Err(decompression_error(
                header.codec,
                decompressed_bytes_max,
                &error,
            )),
        }
    }

    /// Takes the body of the next record, which is number `index`, without its length field.
    fn take_body(&mut self, index: i32) -> Result<Bytes, BatchError> {
        let bad_record = |reason| BatchError::BadRecord { index, reason };
        self.has(varint::I32_BYTES_MAX)?;
        let (length, used) =
            varint::take_i32(self.peek()).ok_or_else(|| bad_record("has no length"))?;
        let length = usize::try_from(length).map_err(|_| bad_record("has a negative length"))?;
        if length < RECORD_BODY_BYTES_MIN {
            return Err(bad_record("is shorter than a record can be"));
        }
        // Before anything is decompressed for it.
        if length > RECORD_ENCODED_BYTES_MAX {
            return Err(BatchError::RecordTooLarge {
                index,
                size_bytes: length,
                max_bytes: RECORD_ENCODED_BYTES_MAX,
            });
        }
        if !self.has(used + length)? {
            return Err(bad_record("runs past the end of the batch"));
        }
        self.take(used);
        Ok(self.take(length))
    }

    /// Whether there are `length` more bytes, decompressing as many as it takes to know.
    fn has(&mut self, length: usize) -> Result<bool, BatchError> {
        match self {
            Self::Plain(bytes) => Ok(bytes.len() >= length),
            Self::Compressed(stream) => stream.fill_to(length),
        }
    }

    fn peek(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Compressed(stream) => &stream.buffer,
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        match self {
            Self::Plain(bytes) => bytes.split_to(length),
            Self::Compressed(stream) => stream.buffer.split_to(length).freeze(),
        }
    }
}

/// A decoder and what it has produced that is not consumed yet.
struct Stream {
    decoder: Decoder,
    codec: Codec,
    buffer: BytesMut,
    bytes_left: usize,
    bytes_max: usize,
}

impl Stream {
    /// Decompresses until the buffer holds `length` bytes; false if the data ends before. The buffer grows by what
    /// really comes out, never by what a length field claims.
    fn fill_to(&mut self, length: usize) -> Result<bool, BatchError> {
        while self.buffer.len() < length {
            if !self.fill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Decompresses one chunk; false at the end.
    fn fill(&mut self) -> Result<bool, BatchError> {
        let filled = self.buffer.len();
        // One byte beyond the bound shows that there is more.
        self.buffer
            .resize(filled + CHUNK_BYTES.min(self.bytes_left + 1), 0);
        let read = loop {
            match self.decoder.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer
            .truncate(filled + read.as_ref().map_or(0, |&read| read));
        let read = read.map_err(|error| decompression_error(self.codec, self.bytes_max, &error))?;
        self.bytes_left = self.bytes_left.checked_sub(read).ok_or(BatchError::Bomb {
            max_bytes: self.bytes_max,
        })?;
        Ok(read > 0)
    }
}

fn decompression_error(codec: Codec, max_bytes: usize, error: &io::Error) -> BatchError {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return BatchError::Bomb { max_bytes };
    }
    BatchError::Decompression {
        codec: codec.name(),
        reason: error.to_string(),
    }
}
