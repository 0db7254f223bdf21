//! One client connection: frames in, answers out, in order.
//!
//! A connection is one task that drives two halves side by side. The reading half cuts the socket's bytes into frames
//! ([`frames`]), starts each request in the order of arrival ([`crate::dispatch`]) and queues what becomes of it in the
//! [`pipeline`]. The writing half ([`writer`]) waits for the oldest request's answer and sends all that are ready
//! together. What a peer can hold is bounded everywhere: requests and bytes in the pipeline, large frames of all
//! connections in a [`budget`], time for an unfinished frame and for an unread answer.
//!
//! This place knows nothing of what requests mean.

mod answer;
mod budget;
mod frames;
mod pipeline;
mod refusal;
#[cfg(test)]
mod tests;
mod writer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use millstream_limits as limits;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

pub(crate) use answer::Answer;
pub(crate) use budget::FrameBudget;
pub(crate) use frames::Frame;
pub(crate) use pipeline::{Answering, Order};
pub(crate) use writer::Unsent;

use crate::dispatch;
use crate::server::Server;
use frames::{FrameReader, ReadError};
use pipeline::{Entry, Pipeline};
use writer::{WriteEnd, write_answers};

/// Serves one connection until either side ends it.
pub(crate) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    server: Arc<Server>,
    mut shutdown: watch::Receiver<bool>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection is gone already");
        return;
    }
    let (mut read_half, mut write_half) = socket.into_split();
    let pipeline = Pipeline::default();
    let mut reading = pin!(read_requests(&server, peer, &mut read_half, &pipeline));
    let mut writing = pin!(write_answers(
        &pipeline,
        &mut write_half,
        server.unsent.clone()
    ));

    let written = tokio::select! {
        end = &mut writing => Some(end),
        Err(end) = &mut reading => {
            report_read_end(&server, peer, &end);
            pipeline.end();
            finish(&mut writing, limits::KAFKA_DRAIN_MS).await
        }
        () = stopped(&mut shutdown) => {
            pipeline.end();
            finish(&mut writing, limits::KAFKA_SHUTDOWN_GRACE_MS).await
        }
    };
    if let Some(end) = written {
        report_write_end(&server, peer, &end);
    }
}

/// Waits until the listener shuts down.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the listener is gone, which is the same to a connection.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Lets the writing half send what is under way, for at most `grace_ms`.
async fn finish<W: Future<Output = WriteEnd>>(writing: W, grace_ms: u64) -> Option<WriteEnd> {
    timeout(Duration::from_millis(grace_ms), writing).await.ok()
}

/// Reads and starts requests until no more can come; says why.
async fn read_requests(
    server: &Arc<Server>,
    peer: SocketAddr,
    socket: &mut OwnedReadHalf,
    pipeline: &Pipeline,
) -> Result<Infallible, ReadError> {
    let mut reader = FrameReader::new(server.frame_budget.clone(), server.settings.connection_idle);
    let mut frames = Vec::new();
    loop {
        unless_gone(socket, pipeline.room()).await?;
        match reader.read(socket, &mut frames).await {
            Ok(()) => {}
            Err(ReadError::Idle) if !pipeline.is_empty() => continue,
            Err(end) => return Err(end),
        }
        for Frame { bytes, room } in frames.drain(..) {
            let operation = dispatch::operation(&bytes);
            let order = dispatch::order(operation);
            unless_gone(socket, pipeline.place(order)).await?;
            let (size, begun) = (bytes.len(), Instant::now());
            server.counts.received_bytes.add(size as u64);
            let answering = dispatch::start(server, peer, bytes).await;
            pipeline.push(Entry {
                answering,
                operation,
                begun,
                order,
                bytes: size,
                room,
            });
        }
    }
}

/// Waits for `turn`. The socket is not read meanwhile, so whether the peer is gone has to be looked for: what it had sent
/// is then done only if its turn comes soon.
async fn unless_gone(
    socket: &OwnedReadHalf,
    turn: impl Future<Output = ()>,
) -> Result<(), ReadError> {
    let mut turn = pin!(turn);
    tokio::select! {
        biased;
        () = &mut turn => return Ok(()),
        () = gone(socket) => {}
    }
    let drain = Duration::from_millis(limits::KAFKA_DRAIN_MS);
    let drained = timeout(drain, turn).await;
    drained.map_err(|_| ReadError::Closed)
}

/// Waits until the peer has closed its side, though bytes that it sent before may be unread. Those make the socket ready
/// all the time, so it is looked at now and then.
async fn gone(socket: &OwnedReadHalf) {
    let review = Duration::from_millis(limits::KAFKA_GONE_REVIEW_MS);
    while let Ok(ready) = socket.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        sleep(review).await;
    }
}

fn report_read_end(server: &Server, peer: SocketAddr, end: &ReadError) {
    match end {
        ReadError::Closed => tracing::debug!(%peer, "connection closed by the client"),
        ReadError::Idle => tracing::debug!(%peer, "idle connection closed"),
        ReadError::Io(error) => tracing::debug!(%peer, %error, "connection lost"),
        ReadError::Stalled => {
            server.counts.dropped.count();
            if let Some(unlogged) = server.peer_warnings.allow() {
                tracing::warn!(%peer, unlogged, "connection closed: a request was begun and not finished in time");
            }
        }
        ReadError::Refused(refusal) => {
            server.counts.dropped.count();
            if let Some(unlogged) = server.peer_warnings.allow() {
                tracing::warn!(%peer, unlogged, "connection refused: {refusal}");
            }
        }
    }
}

fn report_write_end(server: &Server, peer: SocketAddr, end: &WriteEnd) {
    match end {
        WriteEnd::Done => {}
        WriteEnd::Io(error) => tracing::debug!(%peer, %error, "connection lost"),
        WriteEnd::Closed(reason) => {
            server.counts.dropped.count();
            if let Some(unlogged) = server.peer_warnings.allow() {
                tracing::warn!(%peer, unlogged, "connection closed: {reason}");
            }
        }
        WriteEnd::Stalled { unsent_bytes } => {
            server.counts.dropped.count();
            if let Some(unlogged) = server.peer_warnings.allow() {
                tracing::warn!(%peer, unlogged, unsent_bytes, "connection closed: the client stopped reading");
            }
        }
    }
}
