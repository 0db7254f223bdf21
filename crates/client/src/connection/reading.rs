//! The task that reads answers and hands each to the one who waits for it.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_limits::KAFKA_FRAME_BYTES_MAX;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;

use super::Shared;

/// Small answers are read together; a large one goes past this buffer into its own.
const BUFFER_BYTES: usize = 64 << 10;

pub(super) async fn run(socket: OwnedReadHalf, shared: Arc<Shared>) {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, socket);
    loop {
        let outcome = match read_frame(&mut reader).await {
            Ok(Some(frame)) => dispatch(&shared, frame),
            Ok(None) => Err("the server closed it".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = outcome {
            shared.fail(shared.disconnected(&reason));
            return;
        }
    }
}

/// The next frame without its length; none if the stream ends between frames.
async fn read_frame(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Bytes>> {
    let length = match reader.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > KAFKA_FRAME_BYTES_MAX {
        return Err(io::Error::other(format!(
            "an answer of {length} bytes is over the limit of {KAFKA_FRAME_BYTES_MAX}"
        )));
    }
    let mut frame = BytesMut::with_capacity(length);
    while frame.len() < length {
        let missing = length - frame.len();
        if reader.read_buf(&mut (&mut frame).limit(missing)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}

/// Answers come in the order of their requests, so this one is for who waits longest.
fn dispatch(shared: &Shared, frame: Bytes) -> Result<(), String> {
    let correlation_id = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
    let waiting = shared.state.lock().waiting.pop_front();
    match (waiting, correlation_id) {
        (Some(waiting), Some(id)) if waiting.correlation_id == id => {
            let _ = waiting.answer.send(Ok(frame));
            Ok(())
        }
        _ => Err("an answer came that was not asked for".to_owned()),
    }
}
