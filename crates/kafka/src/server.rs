//! What the connections of a listener share, and the listener itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_broker::Broker;
use millstream_metrics::Protocol;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::connection::{self, FrameBudget, Unsent};
use crate::dispatch::APIS;
use crate::fetch_sessions::FetchSessions;
use crate::log_limit::LogLimit;
use crate::settings::{HostPort, KafkaSettings};

/// How long accepting rests after it failed for want of something, a file descriptor most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of a listener share.
pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) settings: KafkaSettings,
    /// The address clients are told to connect to.
    pub(crate) advertised: HostPort,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) frame_budget: FrameBudget,
    pub(crate) unsent: Unsent,
    /// Counts what they do.
    pub(crate) counts: Arc<Protocol>,
    /// Keeps peers that misbehave from filling the log.
    pub(crate) peer_warnings: LogLimit,
}

/// Serves Kafka clients that connect to `socket` from `broker` until `shutdown` is done. Then no connection is accepted any
/// more, what is under way is answered, within bounds, and all connections are closed.
#[allow(clippy::missing_panics_doc, reason = "a bound socket has an address")]
pub async fn serve(
    socket: TcpListener,
    broker: Broker,
    settings: KafkaSettings,
    shutdown: impl Future<Output = ()>,
) {
    let advertised = settings.advertised.clone().unwrap_or_else(|| {
        let address = socket.local_addr().expect("a bound socket has an address");
        HostPort {
            host: address.ip().to_string(),
            port: address.port(),
        }
    });
    let counts = broker.protocol("kafka", APIS.iter().map(|api| api.key.name()));
    let server = Arc::new(Server {
        unsent: Unsent::new(broker.clone(), Arc::clone(&counts)),
        counts,
        broker,
        advertised,
        fetch_sessions: FetchSessions::new(),
        frame_budget: FrameBudget::new(settings.receive_bytes_max),
        peer_warnings: LogLimit::new(),
        settings,
    });
    let (stop, stopping) = watch::channel(false);
    tokio::select! {
        () = accept(&socket, &server, &stopping) => {}
        () = shutdown => {}
    }
    drop(socket);
    drop(stopping);
    stop.send_replace(true);
    stop.closed().await;
}

/// Accepts connections for ever, each in its own task.
async fn accept(socket: &TcpListener, server: &Arc<Server>, stopping: &watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(
        server.settings.connections_max.min(Semaphore::MAX_PERMITS),
    ));
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit on open files if it is reached");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            server.counts.refused.count();
            warn_too_many(server, peer);
            continue;
        };
        server.counts.accepted.count();
        let open = server.counts.open.hold();
        let serving = connection::serve(stream, peer, Arc::clone(server), stopping.clone());
        tokio::spawn(async move {
            serving.await;
            drop((open, place));
        });
    }
}

fn warn_too_many(server: &Server, peer: SocketAddr) {
    if let Some(unlogged) = server.peer_warnings.allow() {
        let limit = server.settings.connections_max;
        tracing::warn!(%peer, unlogged, limit, "connection refused: too many; raise kafka-connections-max");
    }
}
