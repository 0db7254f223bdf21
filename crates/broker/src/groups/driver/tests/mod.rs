//! The driver over a real slot, with a clock that is moved by hand.

mod membership;
mod offsets;
mod time;

use std::sync::Arc;

use bytes::Bytes;
use millstream_env::{Env, ManualClock, RealDisk, SeededRng};
use millstream_record::Offset;
use tempfile::TempDir;

use super::{OffsetCommit, PartitionCommit};
use crate::groups::error::GroupError;
use crate::groups::ids::{Generation, GroupId, MemberId};
use crate::groups::offsets::OffsetKey;
use crate::groups::request::{
    JoinRefused, JoinRequest, Joined, MemberProtocol, MemberRef, SyncRequest, Synced,
};
use crate::groups::settings::GroupSettings;
use crate::topics::NewTopic;
use crate::{Broker, BrokerSettings, TopicId};

/// A broker that can be restarted, in a directory of its own.
struct Stage {
    broker: Broker,
    clock: Arc<ManualClock>,
    directory: TempDir,
    settings: GroupSettings,
}

impl Stage {
    async fn new() -> Self {
        Self::with(GroupSettings {
            offsets_retention_ms: 1_000_000,
            offsets_check_interval_ms: 1_000,
            ..GroupSettings::default()
        })
        .await
    }

    /// Joins are answered without a delay, as nobody moves the clock meanwhile.
    async fn with(settings: GroupSettings) -> Self {
        let settings = GroupSettings {
            initial_rebalance_delay_ms: 0,
            ..settings
        };
        let directory = tempfile::tempdir().unwrap();
        // Some time after the beginning of all clocks.
        let clock = Arc::new(ManualClock::new(1_000_000_000));
        let broker = open(&directory, &clock, settings).await;
        Self {
            broker,
            clock,
            directory,
            settings,
        }
    }

    async fn restart(self) -> Self {
        self.broker.shutdown().await.unwrap();
        drop(self.broker);
        let broker = open(&self.directory, &self.clock, self.settings).await;
        Self { broker, ..self }
    }

    /// Moves the clock and does what is due then.
    fn wait(&self, duration_ms: u64) {
        self.clock.advance_ms(duration_ms);
        let name = |topic| Some(self.broker.topic_by_id(topic)?.name().clone());
        self.broker.groups().pass_time(name);
    }

    async fn topic(&self, name: &str) -> TopicId {
        let topic = NewTopic {
            partitions: Some(2),
            ..NewTopic::named(name)
        };
        self.broker.create_topic(topic).await.unwrap().id()
    }

    async fn join(&self, id: Option<&MemberId>, topics: &[&str]) -> Result<Joined, JoinRefused> {
        let request = JoinRequest {
            member_id: id.cloned(),
            ..join_request(topics)
        };
        self.broker.groups().join(&group(), request).await
    }

    /// Alone in the group, with an assignment.
    async fn join_alone(&self, topics: &[&str]) -> MemberRef {
        let joined = self.join(None, topics).await.unwrap();
        self.sync(&joined, &[(&joined.member_id, "all")])
            .await
            .unwrap();
        member(&joined)
    }

    async fn sync(
        &self,
        joined: &Joined,
        give: &[(&MemberId, &str)],
    ) -> Result<Synced, GroupError> {
        let give = give.iter();
        let request = SyncRequest {
            member: member(joined),
            protocol_type: None,
            protocol: None,
            assignments: give
                .map(|(id, share)| ((*id).clone(), Bytes::copy_from_slice(share.as_bytes())))
                .collect(),
        };
        self.broker.groups().sync(&group(), request).await
    }

    async fn commit(
        &self,
        member: &MemberRef,
        offsets: &[(TopicId, u32, i64)],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let commit = OffsetCommit {
            member: member.clone(),
            retention_ms: None,
            partitions: offsets.iter().map(|at| partition_commit(*at)).collect(),
        };
        self.broker.groups().commit_offsets(&group(), commit).await
    }

    /// What the group has committed in the partitions of one topic.
    async fn committed(&self, topic: TopicId) -> Vec<Option<i64>> {
        let partitions = [0, 1].map(|partition| OffsetKey { topic, partition });
        let offsets = self
            .broker
            .groups()
            .offsets(&group(), &partitions)
            .await
            .unwrap();
        let offset =
            |committed: Option<super::super::CommittedOffset>| Some(committed?.offset.get());
        offsets.into_iter().map(offset).collect()
    }
}

async fn open(directory: &TempDir, clock: &Arc<ManualClock>, groups: GroupSettings) -> Broker {
    let clock: Arc<ManualClock> = Arc::clone(clock);
    let env = Env {
        clock,
        rng: Arc::new(SeededRng::new(7)),
        disk: Arc::new(RealDisk),
    };
    let settings = BrokerSettings {
        groups,
        ..BrokerSettings::new(directory.path())
    };
    Broker::open(settings, env).await.unwrap()
}

fn group() -> GroupId {
    GroupId::new("readers")
}

/// A consumer's first join, in one step.
fn join_request(topics: &[&str]) -> JoinRequest {
    JoinRequest {
        member_id: None,
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![MemberProtocol {
            name: "range".into(),
            metadata: Bytes::from(topics.join(",")),
            topics: Some(topics.iter().map(|topic| Arc::from(*topic)).collect()),
        }],
        two_step: false,
        may_skip_assignment: true,
    }
}

fn member(joined: &Joined) -> MemberRef {
    MemberRef {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
    }
}

/// A reader that is in no group.
fn outsider() -> MemberRef {
    MemberRef {
        member_id: MemberId::none(),
        instance_id: None,
        generation: Generation::NONE,
    }
}

fn partition_commit((topic, partition, offset): (TopicId, u32, i64)) -> PartitionCommit {
    PartitionCommit {
        at: OffsetKey { topic, partition },
        offset: Offset(offset),
        leader_epoch: None,
        metadata: "".into(),
    }
}
