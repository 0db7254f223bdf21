//! The task that writes queued frames, as many at once as are there.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Queued, Shared};

/// Frames taken from the queue at a time, and slices given to one system call.
const FRAMES_MAX: usize = 64;
const SLICES_MAX: usize = 64;

pub(super) async fn run(
    mut socket: OwnedWriteHalf,
    mut queued: UnboundedReceiver<Queued>,
    shared: Arc<Shared>,
) {
    let mut taken = Vec::with_capacity(FRAMES_MAX);
    let mut written = Vec::new();
    let mut segments = VecDeque::new();
    while queued.recv_many(&mut taken, FRAMES_MAX).await > 0 {
        for queued in taken.drain(..) {
            written.extend(queued.written);
            segments.extend(queued.frame.into_segments());
        }
        if let Err(error) = write_all(&mut socket, &mut segments).await {
            shared.fail(shared.disconnected(&error));
            return;
        }
        for written in written.drain(..) {
            // Whoever no longer waits need not know.
            let _ = written.send(());
        }
    }
}

async fn write_all(socket: &mut OwnedWriteHalf, segments: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !segments.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = segments.len().min(SLICES_MAX);
        for (slice, segment) in slices.iter_mut().zip(segments.iter()) {
            *slice = IoSlice::new(segment);
        }
        let written = socket.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        consume(segments, written);
    }
    Ok(())
}

fn consume(segments: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = segments.front_mut() {
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        segments.pop_front();
    }
}
