//! The broker over the real store, in a directory of its own for each test.

mod consumed;
mod counts;
mod crash;
mod damage;
mod dead_letter_loops;
mod fetch;
mod fetch_memory;
mod fetch_model;
mod idempotency;
mod interrupted;
mod key_index;
mod live;
mod live_slow_readers;
mod offsets;
mod produce;
mod publish;
mod queue_dedup;
mod queue_faults;
mod queue_length;
mod queue_reads;
mod queues;
mod restart;
mod retention;
mod routes;
mod routes_model;
mod settled;
mod subscriptions;
mod topics;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use damage::damage_packs;
use millstream_broker::streams::{FetchSpec, Fetched};
use millstream_broker::topics::{NewTopic, PartitionHandle, TopicHandle};
use millstream_broker::{Appended, Broker, BrokerError, BrokerSettings, SettingChange, SettingOp};
use millstream_env::Env;
use millstream_record::{
    BatchBuilder, Codec, NewRecord, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use tempfile::TempDir;

/// A broker and the directory it lives in.
struct Server {
    broker: Broker,
    directory: TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            broker: open(&directory).await,
            directory,
        }
    }

    /// Starts with other settings than the defaults.
    async fn start_with(change: impl FnOnce(&mut BrokerSettings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = BrokerSettings::new(directory.path());
        change(&mut settings);
        let broker = Broker::open(settings, Env::real()).await.unwrap();
        Self { broker, directory }
    }

    /// Starts on what a kill would have left behind at this moment, beside the one that goes on.
    async fn crashed(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        copy(self.directory.path(), directory.path());
        Self {
            broker: open(&directory).await,
            directory,
        }
    }

    /// Stops in order and starts again.
    async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// The same, with something done to the directory in between.
    async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        self.broker.shutdown().await.unwrap();
        drop(self.broker);
        change(self.directory.path());
        Self {
            broker: open(&self.directory).await,
            directory: self.directory,
        }
    }

    async fn topic(
        &self,
        name: &str,
        partitions: u32,
        settings: &[(&str, &str)],
    ) -> Arc<TopicHandle> {
        self.broker
            .create_topic(new_topic(name, partitions, settings))
            .await
            .unwrap()
    }

    /// Partition 0 of a new topic.
    async fn partition(&self, name: &str, settings: &[(&str, &str)]) -> PartitionHandle {
        self.topic(name, 1, settings).await.partition(0).unwrap()
    }

    async fn append(
        &self,
        partition: &PartitionHandle,
        batch: Bytes,
    ) -> Result<Appended, BrokerError> {
        self.broker.append(partition, batch)?.durable().await
    }

    /// Appends each value as a batch of its own.
    async fn publish(&self, partition: &PartitionHandle, values: &[&str]) {
        for value in values {
            self.append(partition, batch(&[value])).await.unwrap();
        }
    }

    /// What is there from `from`, without waiting.
    async fn fetch(&self, partition: &PartitionHandle, from: i64) -> Result<Fetched, BrokerError> {
        self.broker
            .fetch(FetchSpec::of(partition, Offset(from)))
            .await
            .remove(0)
            .result
    }

    async fn values(&self, partition: &PartitionHandle, from: i64) -> Vec<String> {
        values(&self.fetch(partition, from).await.unwrap())
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn open(directory: &TempDir) -> Broker {
    Broker::open(BrokerSettings::new(directory.path()), Env::real())
        .await
        .unwrap()
}

fn new_topic(name: &str, partitions: u32, settings: &[(&str, &str)]) -> NewTopic {
    let settings: BTreeMap<_, _> = settings
        .iter()
        .map(|&(key, value)| (key.into(), value.into()))
        .collect();
    NewTopic {
        name: name.into(),
        partitions: Some(partitions),
        settings,
    }
}

fn set(key: &str, value: &str) -> SettingChange {
    SettingChange {
        key: key.into(),
        op: SettingOp::Set(value.into()),
    }
}

fn batch(values: &[&str]) -> Bytes {
    batch_at(TimestampMs::NONE, values)
}

fn batch_at(timestamp: TimestampMs, values: &[&str]) -> Bytes {
    filled(BatchBuilder::new(Codec::None), timestamp, values)
}

/// A batch of one idempotent producer.
fn batch_by(producer: ProducerId, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let builder =
        BatchBuilder::new(Codec::None).producer(producer, ProducerEpoch(epoch), Sequence(sequence));
    filled(builder, TimestampMs::NONE, values)
}

fn filled(mut builder: BatchBuilder, timestamp: TimestampMs, values: &[&str]) -> Bytes {
    for value in values {
        builder.append(&NewRecord {
            timestamp,
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    builder.build().unwrap().bytes
}

fn values(fetched: &Fetched) -> Vec<String> {
    fetched
        .batches()
        .flat_map(|batch| batch.unwrap().records(1 << 24))
        .map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap())
        .collect()
}

/// The kinds of topic that every test of behaviour should hold for.
const KINDS: [&[(&str, &str)]; 3] = [
    &[],
    &[("millstream.durability", "os")],
    &[("millstream.durability", "memory")],
];
