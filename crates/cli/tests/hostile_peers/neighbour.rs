//! A well-behaved client next to the hostile ones.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millstream_kafka_wire::ErrorCode;
use millstream_record::Codec;
use rand::Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::common::peer::Peer;
use crate::common::records::{batch, value};
use crate::common::{Server, Site};

/// Served "at once": long enough for two cores that others are busy on, far shorter than any timeout of the server's.
const AT_ONCE: Duration = Duration::from_secs(8);

/// Produces and fetches, with small records and with large ones, until it is told to stop. Whatever else happens to the
/// server, each of its requests has to be answered, rightly and at once.
pub(crate) struct Neighbour {
    stop: watch::Sender<bool>,
    working: JoinHandle<usize>,
}

impl Neighbour {
    /// Starts on a topic of its own.
    pub(crate) async fn start(server: &Server) -> Neighbour {
        let topic =
            millstream_client::NewTopic::new("neighbours").config("retention.bytes", "1000000");
        server
            .client()
            .await
            .create_topic(&topic, false)
            .await
            .unwrap();
        let (stop, stopping) = watch::channel(false);
        let working = tokio::spawn(work(server.address(), stopping));
        Neighbour { stop, working }
    }

    /// Checks that it has been served all the time, once more now included.
    pub(crate) async fn assert_served(self) {
        self.stop.send_replace(true);
        let rounds = self.working.await.unwrap();
        assert!(rounds >= 2, "the neighbour got through {rounds} rounds");
    }
}

/// Rounds of appending a record and reading it back, each time on new connections and on old ones.
async fn work(address: SocketAddr, stopping: watch::Receiver<bool>) -> usize {
    let mut old = Peer::connect(address).await;
    let mut rounds = 0;
    while !*stopping.borrow() || rounds < 2 {
        let size = if rounds % 10 == 1 { 900_000 } else { 100 };
        round(&mut old, size).await;
        round(&mut Peer::connect(address).await, 100).await;
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rounds
}

async fn round(peer: &mut Peer, size: usize) {
    let bytes = vec![rand::rng().random(); size];
    let started = Instant::now();
    let produced = peer
        .produce("neighbours", 0, batch(Codec::None, &[value(&bytes)]))
        .await;
    assert_eq!(
        produced.error_code,
        ErrorCode::NONE,
        "{:?}",
        produced.error_message
    );
    let fetched = peer
        .fetch_waiting("neighbours", 0, produced.base_offset, AT_ONCE)
        .await;
    assert_eq!(fetched.error_code, ErrorCode::NONE);
    let found = fetched.records.map_or(0, |records| records.len());
    assert!(
        found > size,
        "the record of {size} bytes just appended is not there"
    );
    let took = started.elapsed();
    assert!(
        took < AT_ONCE,
        "the neighbour's record of {size} bytes took {took:?}"
    );
}

/// What readers may hold together on the server of these tests.
pub(crate) const READ_MEMORY_BYTES: u64 = 32 << 20;

/// A server with little memory, and a neighbour on it.
pub(crate) async fn served() -> (Server, Neighbour, Site) {
    served_with(READ_MEMORY_BYTES).await
}

/// The same with another bound for what readers hold.
pub(crate) async fn served_with(read_memory_bytes: u64) -> (Server, Neighbour, Site) {
    let mut site = Site::new()
        .flag("memory-budget", "64MiB")
        .flag("read-memory", &read_memory_bytes.to_string())
        .flag("settle-after", "8MiB");
    let server = site.start();
    let neighbour = Neighbour::start(&server).await;
    (server, neighbour, site)
}
