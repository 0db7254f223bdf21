//! One client connection: HTTP/1.1, with what a peer can hold bounded in time.
//!
//! A peer that does not send the head of a request in time, or does not take its answer, is cut off; TCP finds out about
//! one that has vanished. Bodies have their own time, in `body.rs`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millstream_limits as limits;
use millstream_metrics::{Held, Protocol};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use crate::app::App;

/// A peer that takes nothing at all for so long is cut off.
const STANDSTILL: Duration = Duration::from_millis(limits::HTTP_WRITE_STANDSTILL_MS);

/// How often it is looked what a peer takes that is waited for.
const PRESSED: Duration = Duration::from_millis(limits::HTTP_PRESSED_MS);

/// What it has to take in between while readers wait for memory.
const PRESSED_BYTES_MIN: u64 =
    limits::HTTP_PEER_BYTES_PER_SECOND_MIN as u64 * limits::HTTP_PRESSED_MS / 1_000;

/// Serves one connection until either side ends it. `place` is given back when it, or what it was upgraded to, is gone.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    app: Arc<App>,
    router: Router,
) {
    let Ok(local) = prepare(&stream) else {
        tracing::debug!(%peer, "connection is gone already");
        return;
    };
    let counts = Arc::clone(&app.metrics.protocol);
    counts.accepted.count();
    let socket = Impatient::new(stream, place, Arc::clone(&app));
    let answering = Arc::clone(&app);
    let service = service_fn(move |request| {
        let (app, router) = (Arc::clone(&answering), router.clone());
        async move { Ok::<_, std::convert::Infallible>(app.answer(router, local, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.connection_idle)
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX)
        .max_headers(limits::HTTP_HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = app.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        counts.dropped.count();
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Sets the socket up; says which of this machine's addresses the peer has connected to.
fn prepare(stream: &TcpStream) -> io::Result<IpAddr> {
    stream.set_nodelay(true)?;
    let keepalive = Duration::from_secs(limits::HTTP_KEEPALIVE_SECONDS);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(keepalive)
            .with_interval(keepalive),
    )?;
    // Without it a peer that vanished while something was on its way to it is kept for a quarter of an hour.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_millis(limits::HTTP_UNCONFIRMED_MS)))?;
    Ok(stream.local_addr()?.ip())
}

/// A socket that fails when the peer takes nothing of what is written to it for too long, or next to nothing while others
/// wait for the memory that it keeps.
///
/// It lets others go first: what answers a request is written once the requests that have come on other connections are
/// served as well. A client of several connections is woken once for several answers then, and not for each.
struct Impatient {
    stream: TcpStream,
    app: Arc<App>,
    /// Something was read since the last write.
    gives_way: bool,
    /// While what is written waits for the peer.
    wait: Option<Wait>,
    counts: Arc<Protocol>,
    _open: Held,
    _place: OwnedSemaphorePermit,
}

/// How the peer has been taking what is written to it since it was first waited for.
struct Wait {
    look: Pin<Box<Sleep>>,
    /// Taken since the last look.
    taken_bytes: u64,
    taken_last: Instant,
    /// Whether the last write had to wait.
    is_waiting: bool,
}

impl Wait {
    fn new() -> Self {
        Self {
            look: Box::pin(sleep(PRESSED)),
            taken_bytes: 0,
            taken_last: Instant::now(),
            is_waiting: true,
        }
    }

    /// Whether the peer is given up, once it is time to look.
    fn look(&mut self, now: Instant, readers_wait: bool) -> bool {
        let gives_up = self.taken_last + STANDSTILL;
        if now >= gives_up || (readers_wait && self.taken_bytes < PRESSED_BYTES_MIN) {
            return true;
        }
        self.taken_bytes = 0;
        self.look.as_mut().reset(gives_up.min(now + PRESSED));
        false
    }
}

impl Impatient {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, app: Arc<App>) -> Self {
        let counts = Arc::clone(&app.metrics.protocol);
        Self {
            stream,
            app,
            gives_way: false,
            wait: None,
            _open: counts.open.hold(),
            counts,
            _place: place,
        }
    }

    /// Whether a write has to wait for its next turn.
    fn let_others_go_first(&mut self, cx: &Context<'_>) -> bool {
        let gives_way = std::mem::take(&mut self.gives_way);
        if gives_way {
            cx.waker().wake_by_ref();
        }
        gives_way
    }

    /// Passes on what came of a write, unless the peer is given up.
    fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = written {
            let bytes = *outcome.as_ref().unwrap_or(&0) as u64;
            if let Some(wait) = &mut self.wait {
                wait.taken_bytes += bytes;
                wait.taken_last = Instant::now();
                wait.is_waiting = false;
            }
            self.counts.sent_bytes.add(bytes);
            return Poll::Ready(outcome);
        }
        let wait = self.wait.get_or_insert_with(Wait::new);
        // Nothing was written when it was time to look, so there was nothing to take.
        if !wait.is_waiting && wait.look.deadline() <= Instant::now() {
            *wait = Wait::new();
        }
        wait.is_waiting = true;
        loop {
            ready!(wait.look.as_mut().poll(cx));
            if wait.look(Instant::now(), self.app.readers_wait()) {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer stopped reading",
                )));
            }
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.counts.received_bytes.add(bytes as u64);
        self.gives_way |= bytes > 0;
        read
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.let_others_go_first(cx) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.let_others_go_first(cx) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Comes when all that there was to write is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wait = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
