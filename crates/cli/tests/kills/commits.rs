//! Offsets that are committed while the server comes and goes: what was acknowledged never goes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_client::{
    Client, CommittedOffset, ConsumerConfig, GroupConfig, GroupConsumer, GroupEvent, TopicPartition,
};
use millstream_record::Offset;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::TOPICS;
use crate::ledger::Ledger;

/// A group with a member that reads.
const READERS: &str = "readers";

/// A group without members, whose offsets are set from outside. They have nothing to do with records.
const OUTSIDERS: &str = "outsiders";

/// By group and partition, the last offset whose commit was acknowledged.
type Offsets = BTreeMap<(&'static str, TopicPartition), Offset>;

/// What has been committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commits {
    acknowledged: Arc<Mutex<Offsets>>,
    /// What the server said at the last look.
    seen: Arc<Mutex<Offsets>>,
}

/// Groups at work.
pub(crate) struct Committers {
    tasks: JoinSet<()>,
}

impl Committers {
    /// Waits until they have ended.
    pub(crate) async fn finish(self) {
        self.tasks.join_all().await;
    }
}

impl Commits {
    /// Starts both groups.
    pub(crate) fn start(&self, client: &Client, stopping: &watch::Receiver<bool>) -> Committers {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().read(client.clone(), stopping.clone()));
        tasks.spawn(self.clone().count(client.separate(), stopping.clone()));
        Committers { tasks }
    }

    /// Reads as a member of a group, and commits after each step.
    async fn read(self, client: Client, mut stopping: watch::Receiver<bool>) {
        let config = GroupConfig {
            // A static member takes its own place again, so that nobody waits for the member of before a kill.
            instance_id: Some("reader".to_owned()),
            session_timeout: Duration::from_secs(10),
            commit_interval: None,
            ..GroupConfig::new(READERS, TOPICS.map(|(name, _, _)| name.to_owned()).to_vec())
        };
        while !*stopping.borrow() {
            let mut consumer =
                GroupConsumer::new(&client, config.clone(), ConsumerConfig::default());
            loop {
                let step = self.read_step(&mut consumer);
                let failed = tokio::select! {
                    stepped = step => stepped.is_none(),
                    _ = stopping.changed() => break,
                };
                if failed {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    break;
                }
            }
        }
    }

    /// Reads some records and commits that. `None` if the server has gone in between.
    async fn read_step(&self, consumer: &mut GroupConsumer) -> Option<()> {
        if let GroupEvent::Records(chunk) = consumer.next().await.ok()? {
            let (partition, offset) = (chunk.partition.clone(), chunk.next_offset());
            consumer.commit().await.ok()?;
            self.acknowledged
                .lock()
                .unwrap()
                .insert((READERS, partition), offset);
        }
        Some(())
    }

    /// Counts offsets up.
    async fn count(self, client: Client, stopping: watch::Receiver<bool>) {
        let partition = TopicPartition::new(TOPICS[0].0.to_owned(), 0);
        let mut offset = Offset::ZERO;
        while !*stopping.borrow() {
            offset += 1;
            let commit = BTreeMap::from([(partition.clone(), CommittedOffset::new(offset))]);
            client
                .commit_group_offsets(OUTSIDERS, &commit)
                .await
                .unwrap();
            self.acknowledged
                .lock()
                .unwrap()
                .insert((OUTSIDERS, partition.clone()), offset);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// What has been acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Offsets {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Checks that the server has at least `acknowledged`, and at least what it had before; and that no reader has been
    /// shown a record that is not there.
    pub(crate) async fn assert_hold(
        &self,
        client: &Client,
        acknowledged: &Offsets,
        ledger: &Ledger,
    ) {
        let mut found = Offsets::new();
        for group in [READERS, OUTSIDERS] {
            let offsets = client.group_offsets(group, None).await.unwrap();
            found.extend(
                offsets
                    .into_iter()
                    .map(|(partition, committed)| ((group, partition), committed.offset)),
            );
        }
        ledger.read_on(client).await;
        for ((group, partition), offset) in found.iter().filter(|((group, _), _)| *group == READERS)
        {
            let end = ledger.end(partition);
            assert!(
                *offset <= end,
                "{group} has read {partition} to {offset}, it ends at {end}"
            );
        }
        let seen = std::mem::replace(&mut *self.seen.lock().unwrap(), found.clone());
        for (key, at_least) in acknowledged.iter().chain(&seen) {
            let now = found.get(key);
            assert!(
                now >= Some(at_least),
                "{key:?} was committed to {at_least}, found {now:?}"
            );
        }
    }
}
