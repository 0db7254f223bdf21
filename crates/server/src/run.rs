//! One server's life: bind, open, serve, stop.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

use millstream_broker::{Broker, SlotFailure};
use millstream_env::{Env, yield_briefly};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::control;
use crate::error::ServeError;
use crate::settings::ServeSettings;
use crate::signals::Signals;
use crate::{logging, open_files};

/// Runs a server until a signal stops it or it cannot go on.
///
/// On SIGTERM or SIGINT no connection is accepted any more, what is under way is finished, and the store is settled and
/// closed; a second signal ends that at once. After an error the process should exit with a failure and without
/// further ado: the store's threads may still be at work on a disk that fails.
pub fn run(mut settings: ServeSettings) -> Result<(), ServeError> {
    let started = Instant::now();
    logging::start(&settings.log);
    for remark in &settings.remarks {
        tracing::info!("{remark}");
    }
    let files_max = open_files::raise_limit();
    open_files::bound_connections(&mut settings, files_max);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Whoever else is ready to run goes first, often a client on this machine that is about to send: then one sleep
        // less is interrupted, and more is found at once.
        .on_thread_park(|| {
            yield_briefly();
        })
        .build()?;
    let outcome = runtime.block_on(serve(settings, started));
    runtime.shutdown_background();
    outcome
}

async fn serve(settings: ServeSettings, started: Instant) -> Result<(), ServeError> {
    let mut signals = Signals::take()?;
    // Bound before the data directory is opened: a port that is in use is the commonest mistake and the cheapest to
    // find. Clients that connect meanwhile wait in the system's queue.
    let kafka = bind_kafka(&settings).await?;
    let http = bind_http(&settings).await?;
    let broker = tokio::select! {
        broker = open(&settings) => broker?,
        signal = signals.next() => {
            // Recovery may take a while and has promised nothing yet: it is given up, as by `kill -9`.
            tracing::info!(signal, "stopped before the data directory was open");
            return Ok(());
        }
    };

    let _control = control::Socket::open(&broker);

    let (stop, stopping) = watch::channel(false);
    let stopped = || {
        let mut stopping = stopping.clone();
        async move {
            // An error means that the server is gone, which is the same to a listener.
            let _ = stopping.wait_for(|stop| *stop).await;
        }
    };
    let mut serving = JoinSet::new();
    // Nobody may be there to read where they listen, which is no reason to stop.
    if let Some((socket, address)) = http {
        let serve = millstream_http::serve(socket, broker.clone(), settings.http, stopped());
        serving.spawn(serve);
        let _ = writeln!(io::stderr(), "http listening on {address}");
    }
    let (socket, address) = kafka;
    let serve = millstream_kafka::serve(socket, broker.clone(), settings.kafka, stopped());
    serving.spawn(serve);
    let _ = writeln!(io::stderr(), "kafka listening on {address}");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %broker.data_dir().display(),
        cluster_id = broker.cluster_id(),
        topics = broker.topics().len(),
        took_ms = started.elapsed().as_millis() as u64,
        "ready"
    );

    let signal = tokio::select! {
        signal = signals.next() => signal,
        failure = broker.failure() => return Err(failed(failure)),
    };
    tracing::info!(signal, "shutting down; a second signal stops at once");
    let finish = async {
        stop.send_replace(true);
        while serving.join_next().await.is_some() {}
        broker
            .shutdown()
            .await
            .map_err(|error| ServeError::Shutdown(error.to_string()))
    };
    tokio::select! {
        finished = finish => finished?,
        _ = signals.next() => return Err(ServeError::Interrupted),
        failure = broker.failure() => return Err(failed(failure)),
    }
    tracing::info!("stopped");
    Ok(())
}

/// A socket that is bound, and its address.
type Bound = (TcpListener, SocketAddr);

async fn bind_kafka(settings: &ServeSettings) -> Result<Bound, ServeError> {
    let address = settings.kafka_addr;
    if address.ip().is_unspecified() && settings.kafka.advertised.is_none() {
        return Err(ServeError::NothingToAdvertise { address });
    }
    bind("kafka-addr", address).await
}

async fn bind_http(settings: &ServeSettings) -> Result<Option<Bound>, ServeError> {
    let Some(address) = settings.http_addr else {
        return Ok(None);
    };
    if !address.ip().is_loopback() && !settings.http_allow_unauthenticated {
        return Err(ServeError::Unauthenticated { address });
    }
    bind("http-addr", address).await.map(Some)
}

/// Binds what `setting` says; port 0 lets the system choose one.
async fn bind(setting: &'static str, address: SocketAddr) -> Result<Bound, ServeError> {
    let bound = async {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bound
        .await
        .map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::PortInUse { address, setting },
            _ => ServeError::Listen {
                address,
                setting,
                source,
            },
        })
}

async fn open(settings: &ServeSettings) -> Result<Broker, ServeError> {
    let data_dir = settings.broker.slot.data_dir.clone();
    Broker::open(settings.broker.clone(), Env::real())
        .await
        .map_err(|source| ServeError::Open { data_dir, source })
}

fn failed(failure: SlotFailure) -> ServeError {
    tracing::error!(%failure, "the store has failed, nothing more is acknowledged");
    ServeError::Failed(failure)
}
