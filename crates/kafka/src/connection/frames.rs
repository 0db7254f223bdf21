//! Cuts what a socket delivers into request frames, without copying the large ones.
//!
//! While a connection is idle it holds no buffer. When bytes arrive, one read fills a staging buffer and every whole
//! frame in it is handed over at once. The staging buffer of a connection grows while it delivers small frames faster
//! than one read takes them, so slow peers have small ones. A frame larger than the staging buffer gets a buffer of its
//! exact size and the rest of it is read straight into that; a stream of large frames is read with the smallest staging
//! buffer and so copied by a few per cent at most.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use millstream_limits as limits;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::{FrameBudget, Room};
use super::refusal::Refusal;

/// Bytes of the length that precedes every frame.
const LENGTH_BYTES: usize = 4;

/// The shortest request there is: api key, version and correlation id.
const HEADER_BYTES_MIN: usize = 8;

/// One request as it was read, without its length prefix.
#[derive(Debug)]
pub(crate) struct Frame {
    /// From the api key on.
    pub(crate) bytes: Bytes,
    /// The share of the listener's receive budget that a large frame holds until its request is answered.
    pub(crate) room: Option<Room>,
}

/// Why no more frames come.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer closed its side between two frames.
    Closed,
    /// Nothing arrived for the connection's idle time.
    Idle,
    /// A frame was begun and not finished in the time its size allows.
    Stalled,
    /// The bytes are not a Kafka request that this server accepts.
    Refused(Refusal),
    /// The socket failed, or closed inside a frame.
    Io(io::Error),
}

/// The reading side of a connection.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// What the frame being read into `buffer` holds of the receive budget.
    room: Option<Room>,
    budget: FrameBudget,
    /// How large the next staging buffer is.
    staging_bytes: usize,
    before_first: bool,
    idle: Duration,
}

impl FrameReader {
    pub(crate) fn new(budget: FrameBudget, idle: Duration) -> FrameReader {
        FrameReader {
            buffer: BytesMut::new(),
            room: None,
            budget,
            staging_bytes: limits::KAFKA_STAGING_BYTES_MIN,
            before_first: true,
            idle,
        }
    }

    /// Waits until at least one whole frame is there and appends all whole frames to `frames`.
    ///
    /// Cancelling it loses nothing: what was read stays with the reader.
    pub(crate) async fn read(
        &mut self,
        socket: &mut OwnedReadHalf,
        frames: &mut Vec<Frame>,
    ) -> Result<(), ReadError> {
        loop {
            self.take_whole_frames(frames)?;
            if !frames.is_empty() {
                return Ok(());
            }
            if self.buffer.is_empty() {
                self.wait_for_bytes(socket).await?;
            } else {
                self.read_on(socket).await?;
            }
        }
    }

    fn take_whole_frames(&mut self, frames: &mut Vec<Frame>) -> Result<(), ReadError> {
        while let Some(total) = self.frame_bytes()? {
            if self.buffer.len() < total {
                return Ok(());
            }
            let mut bytes = self.buffer.split_to(total).freeze();
            bytes.advance(LENGTH_BYTES);
            self.before_first = false;
            if total <= limits::KAFKA_FRAME_COPY_BYTES && !is_produce(&bytes) {
                // A request that may wait for minutes must not hold a whole staging buffer meanwhile.
                bytes = Bytes::copy_from_slice(&bytes);
            }
            frames.push(Frame {
                bytes,
                room: self.room.take(),
            });
        }
        Ok(())
    }

    /// The length of the frame at the front of the buffer, prefix included, as soon as it is known.
    fn frame_bytes(&self) -> Result<Option<usize>, ReadError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*prefix);
        match usize::try_from(length) {
            Ok(bytes) if (HEADER_BYTES_MIN..=limits::KAFKA_FRAME_BYTES_MAX).contains(&bytes) => {
                Ok(Some(LENGTH_BYTES + bytes))
            }
            _ => Err(ReadError::Refused(Refusal::of_length(
                *prefix,
                self.before_first,
            ))),
        }
    }

    /// Between frames: waits without holding a buffer, then reads once.
    async fn wait_for_bytes(&mut self, socket: &mut OwnedReadHalf) -> Result<(), ReadError> {
        self.buffer = BytesMut::new();
        match timeout(self.idle, socket.readable()).await {
            Err(_) => return Err(ReadError::Idle),
            Ok(ready) => ready.map_err(ReadError::Io)?,
        }
        self.buffer = BytesMut::with_capacity(self.staging_bytes);
        match read_now(socket, &mut self.buffer).await {
            Some(Ok(0)) => Err(ReadError::Closed),
            None => Ok(()),
            Some(Ok(read)) => self.adapt(read),
            Some(Err(error)) => Err(ReadError::Io(error)),
        }
    }

    /// Fits the next staging buffer to what the last one took.
    fn adapt(&mut self, read: usize) -> Result<(), ReadError> {
        let capacity = self.staging_bytes;
        let is_large = self
            .frame_bytes()?
            .is_some_and(|total| total > limits::KAFKA_STAGING_BYTES_MAX);
        self.staging_bytes = if is_large {
            limits::KAFKA_STAGING_BYTES_MIN
        } else if read == capacity {
            limits::KAFKA_STAGING_BYTES_MAX.min(2 * capacity)
        } else if read < capacity / 4 {
            limits::KAFKA_STAGING_BYTES_MIN.max(capacity / 2)
        } else {
            capacity
        };
        Ok(())
    }

    /// Inside a frame: makes room for the rest of it and reads until it is whole.
    ///
    /// A peer is given time for what it has sent, never for what it has merely announced.
    async fn read_on(&mut self, socket: &mut OwnedReadHalf) -> Result<(), ReadError> {
        let wanted = self.frame_bytes()?.unwrap_or(LENGTH_BYTES);
        let mut began = Instant::now();
        while self.buffer.len() < wanted {
            let claiming = Instant::now();
            self.claim_room(wanted).await;
            began += claiming.elapsed();
            make_room(&mut self.buffer, wanted);
            let allowed =
                limits::kafka_transfer_time(limits::KAFKA_FRAME_BASE_MS, self.buffer.len());
            match timeout_at(began + allowed, socket.read_buf(&mut self.buffer)).await {
                Err(_) => return Err(ReadError::Stalled),
                Ok(Ok(0)) => return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(ReadError::Io(error)),
            }
        }
        Ok(())
    }

    /// Claims room for what has arrived of a large frame of `total` bytes, and for as much again.
    async fn claim_room(&mut self, total: usize) {
        if total > limits::KAFKA_STAGING_BYTES_MAX {
            let ahead = (2 * self.buffer.len()).max(limits::KAFKA_STAGING_BYTES_MAX);
            self.budget.claim(&mut self.room, ahead.min(total)).await;
        }
    }
}

/// Gives `buffer` the capacity to take the rest of a frame of `total` bytes. A very large frame grows by doubling as its
/// bytes arrive: its length alone, which anyone can send, reserves no more than a step.
fn make_room(buffer: &mut BytesMut, total: usize) {
    let step = limits::KAFKA_FRAME_STEP_BYTES;
    let capacity = if buffer.len() < step {
        total.min(step)
    } else {
        total.min(2 * buffer.len())
    };
    if buffer.capacity() < capacity || buffer.capacity() == buffer.len() {
        let mut larger = BytesMut::with_capacity(capacity.max(buffer.len() + 1));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
}

fn is_produce(frame: &[u8]) -> bool {
    frame.first_chunk() == Some(&[0, 0])
}

/// Reads what is there, or `None` if the socket was woken for nothing.
async fn read_now(socket: &mut OwnedReadHalf, buffer: &mut BytesMut) -> Option<io::Result<usize>> {
    tokio::select! {
        biased;
        read = socket.read_buf(buffer) => Some(read),
        () = std::future::ready(()) => None,
    }
}
