//! What property tests and fuzz targets share: values of every message, made from a string of bytes, and the check
//! that a request survives the codec.
//!
//! A message's table gives its generator too, so a new message or field is covered from the start. The bytes decide
//! everything: the same bytes give the same value, and shorter or lower bytes give a smaller one, so that a
//! property test that shrinks the bytes shrinks the value.

use bytes::Bytes;

use crate::api::decode_any_request;
use crate::writer::Writer;

/// Bytes that decide a value; zeros follow when they have run out.
#[derive(Debug)]
pub struct Entropy<'a> {
    bytes: &'a [u8],
}

impl<'a> Entropy<'a> {
    /// Decides by `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `N` bytes.
    pub fn chunk<const N: usize>(&mut self) -> [u8; N] {
        let mut chunk = [0; N];
        let (taken, rest) = self.bytes.split_at(N.min(self.bytes.len()));
        chunk[..taken.len()].copy_from_slice(taken);
        self.bytes = rest;
        chunk
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        let [byte] = self.chunk();
        byte & 1 == 1
    }

    /// A number of elements, 3 at most.
    pub fn count(&mut self) -> usize {
        let [byte] = self.chunk();
        usize::from(byte & 3)
    }

    /// Text of 0 to 200 bytes, mostly short, not only ASCII.
    pub fn string(&mut self) -> String {
        let [length, filler] = self.chunk();
        let length = if length < 240 {
            length & 7
        } else {
            length - 200
        };
        let letters = ['a', 'ß', '中', '🦀'];
        (0..length / 2)
            .map(|index| letters[usize::from(filler.wrapping_add(index) & 3)])
            .collect()
    }

    /// Bytes, mostly few, sometimes enough to be attached to a frame instead of copied.
    pub fn bytes(&mut self) -> Bytes {
        let [length, filler] = self.chunk();
        let length = if length < 240 {
            usize::from(length & 15)
        } else {
            usize::from(length) * 10
        };
        Bytes::from(vec![filler; length])
    }
}

/// Decodes `frame` as a request and, if it is one, checks that it encodes and decodes to the same again. The entry of
/// the `kafka_request` fuzz target.
///
/// # Panics
///
/// If it does not.
pub fn check_request_frame(frame: &Bytes) {
    let Ok((header, request)) = decode_any_request(frame) else {
        return;
    };
    let mut writer = Writer::new();
    header.encode(&mut writer);
    request.encode(&mut writer, header.api_version);
    let encoded = writer.finish().expect("what was decoded fits into a frame");
    assert_eq!(
        decode_any_request(&encoded.to_body()),
        Ok((header, request))
    );
}
