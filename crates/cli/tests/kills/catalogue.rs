//! Topics that are created, changed, filled, emptied and deleted while the server comes and goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use millstream_client::{
    Client, ClientError, ConfigChange, NewTopic, OffsetSpec, Producer, ProducerConfig, Resource,
    TopicPartition,
};
use millstream_kafka_wire::ErrorCode;
use millstream_record::Offset;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Mutex, RwLock, watch};
use tokio::task::JoinSet;

use crate::common::records::value;

/// Tasks that change the catalogue at the same time, each its own topics.
const TASKS: u64 = 3;

/// Names that a task has for its topics: few, so that they are used again.
const NAMES: u32 = 4;

/// What a topic has to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Topic {
    retention_ms: i64,
    /// Start and end of each partition.
    partitions: Vec<(i64, i64)>,
}

type Topics = BTreeMap<String, Topic>;

/// The topics as the acknowledged changes have left them.
#[derive(Clone)]
pub(crate) struct Catalogue {
    /// Of each task. A task holds its own while a change is under way, until that is acknowledged.
    topics: Arc<Vec<Mutex<Topics>>>,
    /// Held for writing while no change may begin.
    gate: Arc<RwLock<()>>,
    kills: Arc<AtomicU32>,
    changes: Arc<AtomicU64>,
}

/// Tasks at work.
pub(crate) struct Changes {
    tasks: JoinSet<()>,
}

impl Changes {
    /// Checks that none of them has given up.
    pub(crate) fn assert_at_work(&mut self) {
        assert!(
            self.tasks.try_join_next().is_none(),
            "a task has given up, see above"
        );
    }

    /// Waits until they have ended.
    pub(crate) async fn finish(self) {
        self.tasks.join_all().await;
    }
}

impl Catalogue {
    /// An empty one.
    pub(crate) fn new() -> Catalogue {
        Catalogue {
            topics: Arc::new((0..TASKS).map(|_| Mutex::default()).collect()),
            gate: Arc::default(),
            kills: Arc::default(),
            changes: Arc::default(),
        }
    }

    /// Starts changing it.
    pub(crate) fn change_it(
        &self,
        client: &Client,
        seed: u64,
        stopping: &watch::Receiver<bool>,
    ) -> Changes {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (catalogue, stopping) = (self.clone(), stopping.clone());
            let mut changer = Changer {
                task,
                client: client.separate(),
                random: StdRng::seed_from_u64(seed.wrapping_add(task)),
                kills: Arc::clone(&self.kills),
            };
            tasks.spawn(async move {
                while !*stopping.borrow() {
                    let gate = catalogue.gate.read().await;
                    changer
                        .change(&mut *catalogue.topics[task as usize].lock().await)
                        .await;
                    catalogue.changes.fetch_add(1, Ordering::Relaxed);
                    drop(gate);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        Changes { tasks }
    }

    /// Says that the server has been killed: a change under way may have been made although its first answer was lost.
    pub(crate) fn expect_doubt(&self) {
        self.kills.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits for the changes that are under way, checks that the server has these topics exactly, and tells how many
    /// changes have been made.
    pub(crate) async fn assert_matches(&self, client: &Client) -> u64 {
        let _gate = self.gate.write().await;
        let mut expected = Topics::new();
        for topics in self.topics.iter() {
            expected.extend(topics.lock().await.clone());
        }
        assert_eq!(describe(client).await, expected);
        self.changes.load(Ordering::Relaxed)
    }
}

/// The topics that the server has.
async fn describe(client: &Client) -> Topics {
    let mut topics = Topics::new();
    for topic in client.topics().await.unwrap() {
        let configs = client
            .describe_configs(&Resource::Topic(topic.name.to_string()))
            .await
            .unwrap();
        let retention_ms = configs.iter().find(|config| config.name == "retention.ms");
        let retention_ms = retention_ms.and_then(|config| config.value.as_ref()?.parse().ok());
        let offsets = async |spec| {
            let found = client.topic_offsets(&topic.name, spec).await.unwrap();
            found
                .into_iter()
                .map(|(_, found)| found.offset.expect("a partition has ends").0)
                .collect::<Vec<_>>()
        };
        let (starts, ends) = (
            offsets(OffsetSpec::Earliest).await,
            offsets(OffsetSpec::Latest).await,
        );
        let described = Topic {
            retention_ms: retention_ms.expect("retention.ms is a number"),
            partitions: starts.into_iter().zip(ends).collect(),
        };
        topics.insert(topic.name.to_string(), described);
    }
    topics
}

/// What one task does.
struct Changer {
    task: u64,
    client: Client,
    random: StdRng,
    kills: Arc<AtomicU32>,
}

impl Changer {
    /// Makes one change and enters it once it is acknowledged.
    async fn change(&mut self, topics: &mut Topics) {
        let name = format!("task-{}-{}", self.task, self.random.random_range(0..NAMES));
        let Some(topic) = topics.get_mut(&name) else {
            let created = self.create(&name).await;
            topics.insert(name, created);
            return;
        };
        match self.random.random_range(0..6) {
            0 => {
                self.delete(&name).await;
                topics.remove(&name);
            }
            1 => self.alter(&name, topic).await,
            2 if topic.partitions.len() < 8 => self.enlarge(&name, topic).await,
            3 => self.trim(&name, topic).await,
            _ => self.append(&name, topic).await,
        }
    }

    async fn create(&mut self, name: &str) -> Topic {
        let partitions = self.random.random_range(1..5);
        let retention_ms = self.retention_ms();
        let durability = if self.random.random() { "fsync" } else { "os" };
        let new = NewTopic::new(name)
            .partitions(partitions)
            .config("retention.ms", retention_ms.to_string())
            .config("millstream.durability", durability);
        let attempt = self.attempt(ErrorCode::TOPIC_ALREADY_EXISTS);
        attempt.succeed(self.client.create_topic(&new, false).await);
        Topic {
            retention_ms,
            partitions: vec![(0, 0); partitions as usize],
        }
    }

    async fn delete(&self, name: &str) {
        let attempt = self.attempt(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        attempt.succeed(self.client.delete_topic(name).await);
    }

    async fn alter(&mut self, name: &str, topic: &mut Topic) {
        let retention_ms = self.retention_ms();
        let resource = Resource::Topic(name.to_owned());
        let change = ConfigChange::Set("retention.ms".to_owned(), retention_ms.to_string());
        self.client
            .alter_configs(&resource, &[change], false)
            .await
            .unwrap();
        topic.retention_ms = retention_ms;
    }

    async fn enlarge(&mut self, name: &str, topic: &mut Topic) {
        let count = topic.partitions.len() + self.random.random_range(1..4);
        let attempt = self.attempt(ErrorCode::INVALID_PARTITIONS);
        attempt.succeed(self.client.create_partitions(name, count as i32).await);
        topic.partitions.resize(count, (0, 0));
    }

    async fn append(&mut self, name: &str, topic: &mut Topic) {
        // A new one each time: a topic of that name that was deleted must not mean anything to it.
        let producer = Producer::start(&self.client, ProducerConfig::default())
            .await
            .unwrap();
        for _ in 0..self.random.random_range(1..50) {
            let index = self.random.random_range(0..topic.partitions.len());
            let bytes = vec![b'x'; self.random.random_range(0..2_000)];
            producer
                .send(name, Some(index as i32), &value(&bytes))
                .await
                .unwrap();
            topic.partitions[index].1 += 1;
        }
        producer.flush().await.unwrap();
    }

    async fn trim(&mut self, name: &str, topic: &mut Topic) {
        let index = self.random.random_range(0..topic.partitions.len());
        let (start, end) = topic.partitions[index];
        let before = self.random.random_range(start..=end);
        let partition = TopicPartition::new(name.to_owned(), index as i32);
        let trimmed = self
            .client
            .delete_records(&partition, Some(Offset(before)))
            .await
            .unwrap();
        assert_eq!(trimmed.0, before);
        topic.partitions[index].0 = before;
    }

    /// Begins a change. `if_made` is how it is refused if it has been made already.
    fn attempt(&self, if_made: ErrorCode) -> Attempt {
        let kills = self.kills.load(Ordering::SeqCst);
        Attempt {
            kills: Arc::clone(&self.kills),
            kills_before: kills,
            if_made,
        }
    }

    /// Never so short that anything expires.
    fn retention_ms(&mut self) -> i64 {
        self.random.random_range(3_600_000..1_000_000_000)
    }
}

/// A change under way.
struct Attempt {
    kills: Arc<AtomicU32>,
    kills_before: u32,
    if_made: ErrorCode,
}

impl Attempt {
    /// Checks that the change was made. After a kill it is no surprise that it had been made already.
    fn succeed(self, result: Result<(), ClientError>) {
        let doubtful = self.kills_before < self.kills.load(Ordering::SeqCst);
        match result {
            Ok(()) => {}
            Err(error) if doubtful && error.code() == Some(self.if_made) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
