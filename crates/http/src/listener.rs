//! The HTTP port.

use std::sync::Arc;
use std::time::Duration;

use millstream_broker::Broker;
use millstream_limits as limits;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::app::{App, router};
use crate::connection;
use crate::settings::HttpSettings;

/// How long accepting rests after it failed for want of something, a file descriptor most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP clients that connect to `socket` from `broker` until `shutdown` is done. Then no connection is accepted any
/// more, requests that wait for records are answered with what there is, others are finished within bounds, and all
/// connections are closed.
pub async fn serve(
    socket: TcpListener,
    broker: Broker,
    settings: HttpSettings,
    shutdown: impl Future<Output = ()>,
) {
    let places_max = settings.connections_max.clamp(1, u32::MAX as usize >> 3);
    let places = Arc::new(Semaphore::new(places_max));
    let app = Arc::new(App::new(broker, settings));
    tokio::select! {
        () = accept(&socket, &app, &places) => {}
        () = shutdown => {}
    }
    drop(socket);
    app.stop();
    let grace = Duration::from_millis(limits::HTTP_SHUTDOWN_GRACE_MS);
    // Every connection holds a place for as long as it lives.
    let _ = timeout(grace, places.acquire_many(places_max as u32)).await;
}

/// Accepts connections for ever, each in its own task.
async fn accept(socket: &TcpListener, app: &Arc<App>, places: &Arc<Semaphore>) {
    let router = router(app);
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit on open files if it is reached");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            app.metrics.protocol.refused.count();
            let limit = app.settings.connections_max;
            tracing::debug!(%peer, limit, "connection refused: too many; raise http-connections-max");
            continue;
        };
        tokio::spawn(connection::serve(
            stream,
            peer,
            place,
            Arc::clone(app),
            router.clone(),
        ));
    }
}
