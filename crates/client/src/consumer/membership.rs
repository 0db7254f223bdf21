//! Being a member of a group by the classic protocol: joining, syncing, and showing signs of life.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use millstream_kafka_wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition as WirePartition,
    decode_blob, encode_blob,
};
use millstream_kafka_wire::messages::join_group::{
    JoinGroupRequestProtocol, JoinGroupResponseMember,
};
use millstream_kafka_wire::messages::leave_group::MemberIdentity;
use millstream_kafka_wire::messages::sync_group::SyncGroupRequestAssignment;
use millstream_kafka_wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use millstream_kafka_wire::{ErrorCode, Str};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::assignor::{Candidate, RANGE, assign_range};
use super::group::GroupConfig;
use crate::admin::groups::{Committer, assigned_partitions};
use crate::admin::offsets::TopicPartition;
use crate::client::{Client, Lane};
use crate::error::{ClientError, check};

/// What all members of a consumer group speak.
const PROTOCOL_TYPE: &str = "consumer";

/// The version of the subscription that says no more than its topics, which every client reads.
const SUBSCRIPTION_VERSION: i16 = 0;

/// Where a member stands in its generation.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// In it.
    Member,
    /// The group shares out its partitions anew, or has to: join again.
    Rebalancing,
    /// The group goes on without this member: join again, as a new one.
    Expelled,
    /// It cannot go on at all.
    Failed(ClientError),
}

/// One generation that this member is in. Dropping it ends the signs of life, but does not leave the group.
#[derive(Debug)]
pub(super) struct Generation {
    pub committer: Committer,
    pub assignment: Vec<TopicPartition>,
    standing: watch::Receiver<Standing>,
    keeping: AbortHandle,
}

/// The topics whose partitions the leader of a generation has shared out.
type SharedOut = HashMap<Str, TopicShape>;

/// What a topic looked like then; with no partition, if it was not there.
#[derive(Debug, Clone, Copy, Default)]
struct TopicShape {
    id: Uuid,
    partitions: usize,
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Generation {
    /// Waits until the member is no longer simply in it.
    pub(super) async fn ended(&mut self) -> Standing {
        match self
            .standing
            .wait_for(|standing| !matches!(standing, Standing::Member))
            .await
        {
            Ok(standing) => standing.clone(),
            Err(_) => Standing::Expelled,
        }
    }
}

/// What a topic looks like, as far as is known.
fn shape(client: &Client, topic: &str) -> Option<TopicShape> {
    client.known_topic(topic).map(|topic| TopicShape {
        id: topic.id,
        partitions: topic.partitions.len(),
    })
}

/// Joins the group of `config`, as the member `member_id` if that is not empty, and waits for an assignment.
pub(super) async fn join(
    client: &Client,
    config: &GroupConfig,
    member_id: &mut Str,
) -> Result<Generation, ClientError> {
    let mut backoff = client.backoff();
    loop {
        let error = match join_once(client, config, member_id).await {
            Ok(generation) => return Ok(generation),
            Err(error) => error,
        };
        match error.code() {
            // The id to use is known now (KIP-394), or the others have moved on: at once again.
            Some(ErrorCode::MEMBER_ID_REQUIRED | ErrorCode::REBALANCE_IN_PROGRESS) => {}
            Some(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION) => {
                *member_id = Str::new();
            }
            _ => {
                client.forget_coordinator(&config.group);
                backoff.pause(error).await?;
            }
        }
    }
}

async fn join_once(
    client: &Client,
    config: &GroupConfig,
    member_id: &mut Str,
) -> Result<Generation, ClientError> {
    let connection = client.coordinator(&config.group, Lane::Group).await?;
    let request = join_request(config, member_id)?;
    let answer = connection.submit(&request)?.allow(config.rebalance_timeout);
    let joined = answer.wait().await?;
    if !joined.member_id.is_empty() {
        *member_id = own(&joined.member_id);
    }
    check(joined.error_code, format!("join group '{}'", config.group))?;

    let (mut assignments, shared_out) = if joined.leader == joined.member_id {
        share_out(client, &joined).await?
    } else {
        Default::default()
    };
    // A static leader that has come back leaves it at what was shared out before (KIP-814).
    if joined.skip_assignment {
        assignments.clear();
    }
    let request = SyncGroupRequest {
        group_id: config.group.as_str().into(),
        generation_id: joined.generation_id,
        member_id: member_id.clone(),
        group_instance_id: config.instance_id.as_deref().map(Str::from),
        protocol_type: Some(PROTOCOL_TYPE.into()),
        protocol_name: joined.protocol_name.as_ref().map(own),
        assignments,
    };
    let synced = connection
        .submit(&request)?
        .allow(config.rebalance_timeout)
        .wait()
        .await?;
    check(
        synced.error_code,
        format!("get an assignment in group '{}'", config.group),
    )?;
    let assignment = if synced.assignment.is_empty() {
        ConsumerProtocolAssignment::default()
    } else {
        decode_blob(&synced.assignment)?
    };
    let committer = Committer {
        member_id: member_id.clone(),
        instance_id: config.instance_id.as_deref().map(Str::from),
        generation: joined.generation_id,
    };
    // What came from a frame is copied, or it would keep the frame alive for as long as the generation lasts.
    let assignment = assigned_partitions(&assignment)
        .into_iter()
        .map(|partition| TopicPartition::new(own(&partition.topic), partition.partition))
        .collect();
    Ok(keep(client, config, committer, assignment, shared_out))
}

/// Shows signs of life from now on, and looks after the topics.
fn keep(
    client: &Client,
    config: &GroupConfig,
    committer: Committer,
    assignment: Vec<TopicPartition>,
    shared_out: SharedOut,
) -> Generation {
    let alive = heartbeat(client.clone(), config.clone(), committer.clone());
    let others = partitions_added(client.clone(), config.metadata_interval, shared_out);
    let (sender, standing) = watch::channel(Standing::Member);
    let keeping = tokio::spawn(async move {
        let mut alive = pin!(alive);
        // The consumer may be gone, and needs to know nothing then.
        let ended = tokio::select! {
            ended = &mut alive => ended,
            () = others => {
                let _ = sender.send(Standing::Rebalancing);
                // It stays a member until it has joined again.
                alive.await
            }
        };
        let _ = sender.send(ended);
    });
    Generation {
        committer,
        assignment,
        standing,
        keeping: keeping.abort_handle(),
    }
}

fn join_request(config: &GroupConfig, member_id: &Str) -> Result<JoinGroupRequest, ClientError> {
    let subscription = ConsumerProtocolSubscription {
        topics: config
            .topics
            .iter()
            .map(|topic| topic.as_str().into())
            .collect(),
        ..Default::default()
    };
    Ok(JoinGroupRequest {
        group_id: config.group.as_str().into(),
        session_timeout_ms: config.session_timeout.as_millis() as i32,
        rebalance_timeout_ms: config.rebalance_timeout.as_millis() as i32,
        member_id: member_id.clone(),
        group_instance_id: config.instance_id.as_deref().map(Str::from),
        protocol_type: PROTOCOL_TYPE.into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: RANGE.into(),
            metadata: encode_blob(&subscription, SUBSCRIPTION_VERSION)?,
        }],
        reason: None,
    })
}

/// The leader's work: every member's assignment. Tells too what it has shared out.
async fn share_out(
    client: &Client,
    joined: &JoinGroupResponse,
) -> Result<(Vec<SyncGroupRequestAssignment>, SharedOut), ClientError> {
    let candidates = joined
        .members
        .iter()
        .map(to_candidate)
        .collect::<Result<Vec<_>, _>>()?;
    let topics: BTreeSet<&Str> = candidates
        .iter()
        .flat_map(|candidate| &candidate.topics)
        .collect();
    let mut partitions = HashMap::new();
    let mut shared_out = SharedOut::new();
    for topic in topics {
        let mut then = TopicShape::default();
        match client.topic(topic).await {
            Ok(known) => {
                partitions.insert(topic.clone(), known.partitions.len() as i32);
                then.id = known.id;
                then.partitions = known.partitions.len();
            }
            // Another member may wait for a topic that does not exist yet.
            Err(ClientError::NoSuchTopic(_)) => {}
            Err(error) => return Err(error),
        }
        shared_out.insert(own(topic), then);
    }
    let shares = assign_range(&candidates, &partitions);
    let assignments = shares.into_iter().map(|(member_id, share)| {
        Ok(SyncGroupRequestAssignment {
            member_id,
            assignment: to_blob(&share)?,
        })
    });
    Ok((assignments.collect::<Result<_, ClientError>>()?, shared_out))
}

fn to_candidate(member: &JoinGroupResponseMember) -> Result<Candidate, ClientError> {
    let subscription: ConsumerProtocolSubscription = decode_blob(&member.metadata)?;
    Ok(Candidate {
        member_id: member.member_id.clone(),
        instance_id: member.group_instance_id.clone(),
        topics: subscription.topics,
    })
}

fn to_blob(share: &[TopicPartition]) -> Result<Bytes, ClientError> {
    let mut topics: Vec<WirePartition> = Vec::new();
    for partition in share {
        match topics.last_mut() {
            Some(last) if last.topic == partition.topic => {
                last.partitions.push(partition.partition);
            }
            _ => topics.push(WirePartition {
                topic: partition.topic.clone(),
                partitions: vec![partition.partition],
            }),
        }
    }
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: topics,
        user_data: None,
    };
    Ok(encode_blob(&assignment, SUBSCRIPTION_VERSION)?)
}

fn own(text: &Str) -> Str {
    Str::from(text.to_string())
}

/// Shows signs of life until the generation ends, one way or another. Returns how.
async fn heartbeat(client: Client, config: GroupConfig, committer: Committer) -> Standing {
    let request = HeartbeatRequest {
        group_id: config.group.as_str().into(),
        generation_id: committer.generation,
        member_id: committer.member_id,
        group_instance_id: committer.instance_id,
    };
    let mut interval = tokio::time::interval(config.heartbeat_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let answer = async {
            client
                .coordinator(&config.group, Lane::Group)
                .await?
                .call(&request)
                .await
        };
        let outcome = answer
            .await
            .and_then(|response| check(response.error_code, "heartbeat"));
        let Err(error) = outcome else { continue };
        return match error.code() {
            Some(ErrorCode::REBALANCE_IN_PROGRESS) => Standing::Rebalancing,
            Some(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION) => {
                Standing::Expelled
            }
            _ if error.is_retriable() => {
                tracing::debug!(%error, "heartbeat failed");
                client.forget_coordinator(&config.group);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            _ => Standing::Failed(error),
        };
    }
}

/// Resolves when a topic has other partitions than were shared out: the leader joins again then, which makes the group share
/// out anew. For those who do not lead it never does.
async fn partitions_added(client: Client, every: Duration, mut shared_out: SharedOut) {
    if shared_out.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(every).await;
        let topics: Vec<&str> = shared_out.keys().map(|topic| &**topic).collect();
        if let Err(error) = client.refresh_topics(&topics).await {
            tracing::debug!(%error, "metadata not refreshed");
        }
        for (topic, then) in &mut shared_out {
            let Some(now) = shape(&client, topic) else {
                continue;
            };
            // One in the place of another is read from its beginning by whoever has its partitions. To join again now would
            // commit places in the old one.
            let was_there = then.partitions > 0;
            if was_there && now.id != then.id {
                *then = now;
            }
            if now.partitions != then.partitions {
                return;
            }
        }
    }
}

/// Tells the group that a member goes, so that the others need not wait for its session to end. A static member does not
/// leave: it will be back (KIP-345).
pub(super) async fn leave(
    client: &Client,
    config: &GroupConfig,
    member_id: &Str,
) -> Result<(), ClientError> {
    if member_id.is_empty() || config.instance_id.is_some() {
        return Ok(());
    }
    let request = LeaveGroupRequest {
        group_id: config.group.as_str().into(),
        member_id: member_id.clone(),
        members: vec![MemberIdentity {
            member_id: member_id.clone(),
            ..Default::default()
        }],
    };
    let connection = client.coordinator(&config.group, Lane::Group).await?;
    let response = connection.call(&request).await?;
    check(
        response.error_code,
        format!("leave group '{}'", config.group),
    )
}
