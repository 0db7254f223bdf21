//! Reading as a member of a group: the group's members share the partitions, and what is read is committed.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_kafka_wire::{ErrorCode, Str};
use millstream_record::Offset;
use tokio::time::Instant;

use super::membership::{self, Generation, Standing};
use super::{Chunk, Consumer, ConsumerConfig, ConsumerEvent, StartAt};
use crate::admin::groups::CommittedOffset;
use crate::admin::offsets::{OffsetSpec, TopicPartition};
use crate::client::Client;
use crate::error::ClientError;

/// Settings of a member; data only.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group.
    pub group: String,
    /// What this member wants to read.
    pub topics: Vec<String>,
    /// A static member's own name (KIP-345): it keeps its partitions across a restart.
    pub instance_id: Option<String>,
    /// After how long without a sign of life the group goes on without this member.
    pub session_timeout: Duration,
    /// How often this member shows a sign of life.
    pub heartbeat_interval: Duration,
    /// How long this member may work on what it was given when the group shares out its partitions anew.
    pub rebalance_timeout: Duration,
    /// How often the group's leader looks whether topics have got more partitions.
    pub metadata_interval: Duration,
    /// Where to start in a partition in which the group has not committed anything.
    pub start: OffsetSpec,
    /// How often to commit what was worked on; `None` leaves it to the caller.
    pub commit_interval: Option<Duration>,
}

impl GroupConfig {
    /// The defaults of Kafka's clients, but for starting at the first record there is, and looking for new partitions every
    /// half minute instead of every five.
    pub fn new(group: impl Into<String>, topics: Vec<String>) -> Self {
        Self {
            group: group.into(),
            topics,
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
            metadata_interval: Duration::from_secs(30),
            start: OffsetSpec::Earliest,
            commit_interval: Some(Duration::from_secs(5)),
        }
    }
}

/// What happens to a member.
#[derive(Debug)]
pub enum GroupEvent {
    /// From now on it reads these partitions, and only these.
    Assigned(Vec<TopicPartition>),
    /// Records came.
    Records(Chunk),
    /// A topic has been deleted. If one of that name is created, it is read.
    TopicDeleted(Str),
    /// Another topic has the name of one that has been deleted, and is read from its beginning.
    TopicReplaced(Str),
}

/// A member of a group. It is in the group while [`GroupConsumer::next`] is called now and then; leave it with
/// [`GroupConsumer::close`].
#[derive(Debug)]
pub struct GroupConsumer {
    consumer: Consumer,
    config: GroupConfig,
    member_id: Str,
    generation: Option<Generation>,
    /// Worked on, but not committed.
    uncommitted: BTreeMap<TopicPartition, CommittedOffset>,
    /// Handed out by the last call: worked on once there is another.
    handed_out: Option<(TopicPartition, CommittedOffset)>,
    next_commit: Instant,
}

impl GroupConsumer {
    /// A member-to-be with connections of its own; it joins with the first [`GroupConsumer::next`].
    pub fn new(client: &Client, config: GroupConfig, mut reading: ConsumerConfig) -> Self {
        reading.on_missing_offset.get_or_insert(config.start);
        Self {
            consumer: Consumer::new(client, reading),
            config,
            member_id: Str::new(),
            generation: None,
            uncommitted: BTreeMap::new(),
            handed_out: None,
            next_commit: Instant::now(),
        }
    }

    /// Waits for records, joining the group or joining it again first if need be. The records of the call before count as
    /// worked on, and may be committed.
    pub async fn next(&mut self) -> Result<GroupEvent, ClientError> {
        if let Some((partition, offset)) = self.handed_out.take() {
            self.uncommitted.insert(partition, offset);
        }
        loop {
            self.commit_if_time().await?;
            let Some(generation) = &mut self.generation else {
                return self.join().await.map(GroupEvent::Assigned);
            };
            let commit_at = self.next_commit;
            let commits = self.config.commit_interval.is_some() && !self.uncommitted.is_empty();
            tokio::select! {
                standing = generation.ended() => self.leave_generation(standing).await?,
                event = self.consumer.next_event() => {
                    let chunk = match event? {
                        ConsumerEvent::Records(chunk) => chunk,
                        ConsumerEvent::TopicDeleted(topic) => {
                            self.uncommitted.retain(|partition, _| partition.topic != topic);
                            return Ok(GroupEvent::TopicDeleted(topic));
                        }
                        ConsumerEvent::TopicReplaced(topic) => {
                            // They are places in the old one.
                            self.uncommitted.retain(|partition, _| partition.topic != topic);
                            return Ok(GroupEvent::TopicReplaced(topic));
                        }
                    };
                    let mut place = CommittedOffset::new(chunk.next_offset());
                    if let Some(last) = chunk.batches.last() {
                        place.leader_epoch = last.header.leader_epoch;
                    }
                    self.handed_out = Some((chunk.partition.clone(), place));
                    return Ok(GroupEvent::Records(chunk));
                }
                () = tokio::time::sleep_until(commit_at), if commits => {}
            }
        }
    }

    /// Says how far the records handed out last were worked on, if not all of them were: `next` is the offset of the first
    /// that was not.
    pub fn worked_up_to(&mut self, partition: &TopicPartition, next: Offset) {
        self.handed_out = None;
        self.uncommitted
            .insert(partition.clone(), CommittedOffset::new(next));
    }

    /// Says that the records handed out last were not worked on: they are not committed, and whoever reads on gets them.
    pub fn not_worked_on(&mut self) {
        self.handed_out = None;
    }

    /// Commits everything that was handed out.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        if let Some((partition, offset)) = self.handed_out.take() {
            self.uncommitted.insert(partition, offset);
        }
        let Some(generation) = &self.generation else {
            return Ok(());
        };
        if let Some(interval) = self.config.commit_interval {
            self.next_commit = Instant::now() + interval;
        }
        let client = self.consumer.client();
        client
            .commit_offsets(&self.config.group, &generation.committer, &self.uncommitted)
            .await?;
        self.uncommitted.clear();
        Ok(())
    }

    /// Commits what was handed out, if commits are automatic, and leaves the group.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let committed = if self.config.commit_interval.is_some() {
            self.commit().await
        } else {
            Ok(())
        };
        self.generation = None;
        membership::leave(self.consumer.client(), &self.config, &self.member_id).await?;
        committed
    }

    async fn join(&mut self) -> Result<Vec<TopicPartition>, ClientError> {
        for topic in &self.config.topics {
            self.consumer.client().topic(topic).await?;
        }
        let client = self.consumer.client().clone();
        let generation = membership::join(&client, &self.config, &mut self.member_id).await?;
        let assignment = generation.assignment.clone();
        let committed = client
            .group_offsets(&self.config.group, Some(&assignment))
            .await?;
        let start = |partition: &TopicPartition| match committed.get(partition) {
            Some(committed) => StartAt::Offset(committed.offset),
            None => StartAt::Find(self.config.start),
        };
        let starts: Vec<_> = assignment
            .iter()
            .map(|partition| (partition.clone(), start(partition)))
            .collect();
        self.consumer.assign(&starts).await?;
        self.generation = Some(generation);
        Ok(assignment)
    }

    /// The generation is over: commits what can be, and forgets it.
    async fn leave_generation(&mut self, standing: Standing) -> Result<(), ClientError> {
        self.consumer.pause();
        match standing {
            Standing::Member => return Ok(()),
            Standing::Failed(error) => {
                self.generation = None;
                return Err(error);
            }
            Standing::Rebalancing if self.config.commit_interval.is_some() => {
                if let Err(error) = self.commit().await {
                    tracing::warn!(%error, group = %self.config.group, "offsets not committed before a rebalance");
                }
            }
            Standing::Rebalancing => {}
            Standing::Expelled => self.member_id = Str::new(),
        }
        self.generation = None;
        self.uncommitted.clear();
        Ok(())
    }

    async fn commit_if_time(&mut self) -> Result<(), ClientError> {
        if self.config.commit_interval.is_none()
            || self.uncommitted.is_empty()
            || Instant::now() < self.next_commit
        {
            return Ok(());
        }
        match self.commit().await {
            // The next sign of life tells the same, and what to do.
            Err(error) if is_about_generation(&error) => Ok(()),
            // A topic has been deleted, which an event is about to tell.
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => Ok(()),
            committed => committed,
        }
    }
}

fn is_about_generation(error: &ClientError) -> bool {
    let codes = [
        ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorCode::ILLEGAL_GENERATION,
        ErrorCode::UNKNOWN_MEMBER_ID,
    ];
    error.code().is_some_and(|code| codes.contains(&code))
}
