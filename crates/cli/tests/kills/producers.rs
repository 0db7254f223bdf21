//! The load: producers of different habits, each writing to every partition without a rest.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millstream_client::{Client, Delivery, Producer, ProducerConfig};
use millstream_record::{Codec, Compression};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::common::records::value;
use crate::ledger::Ledger;

/// How a producer behaves.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) idempotent: bool,
    codec: Codec,
    record_bytes: Range<usize>,
    batch_bytes: usize,
    /// Records that go to one partition one after another.
    burst: Range<usize>,
    /// Between bursts.
    pause: Duration,
}

const SMALL: Style = Style {
    idempotent: true,
    codec: Codec::None,
    record_bytes: 16..800,
    batch_bytes: 16 << 10,
    burst: 1..40,
    pause: Duration::from_millis(4),
};

const LARGE: Style = Style {
    record_bytes: 20_000..200_000,
    batch_bytes: 512 << 10,
    burst: 1..5,
    pause: Duration::from_millis(30),
    ..SMALL
};

/// All producers; the ledger knows them by their place here.
pub(crate) const PRODUCERS: [Style; 5] = [
    SMALL,
    LARGE,
    Style {
        codec: Codec::Zstd,
        ..SMALL
    },
    Style {
        idempotent: false,
        ..SMALL
    },
    Style {
        idempotent: false,
        ..LARGE
    },
];

/// Producers at work.
pub(crate) struct Producers {
    tasks: JoinSet<()>,
}

impl Producers {
    /// Starts all of them; they end when `stopping` says so and everything is acknowledged.
    pub(crate) async fn start(
        client: &Client,
        ledger: &Arc<Ledger>,
        seed: u64,
        stopping: &watch::Receiver<bool>,
    ) -> Producers {
        let mut tasks = JoinSet::new();
        for (index, style) in PRODUCERS.iter().enumerate() {
            let config = ProducerConfig {
                idempotent: style.idempotent,
                compression: Compression::from(style.codec),
                batch_bytes: style.batch_bytes,
                buffer_bytes: 8 << 20,
                ..ProducerConfig::default()
            };
            let random = StdRng::seed_from_u64(seed.wrapping_add(index as u64));
            let worker = Worker {
                index,
                style,
                producer: Producer::start(client, config).await.unwrap(),
                ledger: Arc::clone(ledger),
                random,
                acknowledging: JoinSet::new(),
            };
            tasks.spawn(worker.run(stopping.clone()));
        }
        Producers { tasks }
    }

    /// Checks that none of them has given up.
    pub(crate) fn assert_at_work(&mut self) {
        assert!(
            self.tasks.try_join_next().is_none(),
            "a task has given up, see above"
        );
    }

    /// Waits until they have ended. Fails if one of them did.
    pub(crate) async fn finish(self) {
        self.tasks.join_all().await;
    }
}

struct Worker {
    index: usize,
    style: &'static Style,
    producer: Producer,
    ledger: Arc<Ledger>,
    random: StdRng,
    /// A task for each partition, which enters acknowledgements as they come.
    acknowledging: JoinSet<()>,
}

impl Worker {
    async fn run(mut self, stopping: watch::Receiver<bool>) {
        let ledger = Arc::clone(&self.ledger);
        let lanes: Vec<_> = ledger
            .partitions()
            .iter()
            .map(|_| self.acknowledge_lane())
            .collect();
        while !*stopping.borrow() {
            let lane = self.random.random_range(0..lanes.len());
            let partition = &ledger.partitions()[lane];
            for _ in 0..self.random.random_range(self.style.burst.clone()) {
                let size = self.random.random_range(self.style.record_bytes.clone());
                let (number, bytes) = ledger.send(self.index, partition, size);
                let sent = self
                    .producer
                    .send(&partition.topic, Some(partition.partition), &value(&bytes))
                    .await;
                lanes[lane]
                    .send((number, sent.unwrap()))
                    .expect("acknowledgements are entered until the lane ends");
            }
            tokio::time::sleep(self.style.pause).await;
        }
        drop(lanes);
        self.producer.flush().await.unwrap();
        self.acknowledging.join_all().await;
    }

    /// Starts entering the acknowledgements of one partition.
    fn acknowledge_lane(&mut self) -> mpsc::UnboundedSender<(u64, Delivery)> {
        let (sender, mut deliveries) = mpsc::unbounded_channel::<(u64, Delivery)>();
        let (ledger, index) = (Arc::clone(&self.ledger), self.index);
        self.acknowledging.spawn(async move {
            while let Some((number, delivery)) = deliveries.recv().await {
                let delivered = delivery.wait().await;
                let delivered = delivered
                    .unwrap_or_else(|error| panic!("producer {index}, record {number}: {error}"));
                ledger.acknowledge(index, number, &delivered);
            }
        });
        sender
    }
}
