//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup: being a member.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use millstream_broker::groups::{
    Generation, GroupId, JoinRefused, JoinRequest, Joined, JoinedMember, Leaving, MemberId,
    MemberProtocol, MemberRef, SyncRequest,
};
use millstream_kafka_wire::consumer_protocol::{ConsumerProtocolSubscription, decode_blob};
use millstream_kafka_wire::messages::join_group::{
    JoinGroupRequestProtocol, JoinGroupResponseMember,
};
use millstream_kafka_wire::messages::leave_group::{MemberIdentity, MemberResponse};
use millstream_kafka_wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use millstream_kafka_wire::{ErrorCode, Str};

use super::{code, instance_id};
use crate::dispatch::Call;
use crate::errors::group_code;

/// The protocol type whose metadata is a [`ConsumerProtocolSubscription`].
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// From this version on a member must join again with the id it is given (KIP-394).
const JOIN_TWO_STEP_FROM: i16 = 4;

/// From this version on the protocol may be null in an answer.
const JOIN_NULL_PROTOCOL_FROM: i16 = 7;

/// From this version on a member understands that it leads and has nothing to assign (KIP-814).
const JOIN_SKIP_ASSIGNMENT_FROM: i16 = 9;

/// From this version on a member says which protocol it takes the group to have (KIP-559).
const SYNC_PROTOCOL_FROM: i16 = 5;

/// From this version on several members leave at once, each with its own error (KIP-345).
const LEAVE_SEVERAL_FROM: i16 = 3;

/// A member comes, or comes back. Answered when the next generation begins.
pub(crate) async fn join_group(call: Arc<Call>, request: JoinGroupRequest) -> JoinGroupResponse {
    let group = GroupId::new(&request.group_id);
    let join = join_request(&call, &request);
    drop(request);
    match call.server.broker.groups().join(&group, join).await {
        Ok(joined) => joined_response(joined),
        Err(refused) => refused_response(&refused, call.version),
    }
}

fn join_request(call: &Call, request: &JoinGroupRequest) -> JoinRequest {
    // Version 0 has one timeout for both.
    let rebalance_timeout_ms = if call.version == 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    };
    let is_consumer = &*request.protocol_type == CONSUMER_PROTOCOL_TYPE;
    JoinRequest {
        member_id: Some(MemberId::new(&request.member_id)).filter(|id| !id.is_empty()),
        instance_id: instance_id(request.group_instance_id.as_ref()),
        client_id: call.client_id.as_deref().unwrap_or_default().into(),
        client_host: client_host(call.peer.ip()).into(),
        // A negative one is refused as being too short.
        session_timeout_ms: u32::try_from(request.session_timeout_ms).unwrap_or(0),
        rebalance_timeout_ms: u32::try_from(rebalance_timeout_ms).unwrap_or(0),
        protocol_type: (&*request.protocol_type).into(),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| member_protocol(protocol, is_consumer))
            .collect(),
        two_step: call.version >= JOIN_TWO_STEP_FROM,
        may_skip_assignment: call.version >= JOIN_SKIP_ASSIGNMENT_FROM,
    }
}

fn member_protocol(protocol: &JoinGroupRequestProtocol, is_consumer: bool) -> MemberProtocol {
    MemberProtocol {
        name: (&*protocol.name).into(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
        topics: if is_consumer {
            subscribed_topics(&protocol.metadata)
        } else {
            None
        },
    }
}

/// The topics a consumer subscribes to, if its metadata can be read.
fn subscribed_topics(metadata: &Bytes) -> Option<Vec<Arc<str>>> {
    let subscription: ConsumerProtocolSubscription = decode_blob(metadata).ok()?;
    Some(
        subscription
            .topics
            .iter()
            .map(|topic| Arc::from(&**topic))
            .collect(),
    )
}

/// An address as Kafka's tools show it.
fn client_host(address: IpAddr) -> String {
    format!("/{}", address.to_canonical())
}

fn joined_response(joined: Joined) -> JoinGroupResponse {
    let member = |member: JoinedMember| JoinGroupResponseMember {
        member_id: member.member_id.as_str().into(),
        group_instance_id: member.instance_id.map(|instance| instance.as_str().into()),
        metadata: member.metadata,
    };
    JoinGroupResponse {
        generation_id: joined.generation.0,
        protocol_type: Some((*joined.protocol_type).into()),
        protocol_name: Some((*joined.protocol).into()),
        leader: joined.leader.as_str().into(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id.as_str().into(),
        members: joined.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

fn refused_response(refused: &JoinRefused, version: i16) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: group_code(refused.error),
        protocol_name: (version < JOIN_NULL_PROTOCOL_FROM).then(Str::default),
        member_id: refused.member_id.as_str().into(),
        ..Default::default()
    }
}

/// A member asks for its assignment, and the leader brings all. Answered when the leader has.
pub(crate) async fn sync_group(call: Arc<Call>, request: SyncGroupRequest) -> SyncGroupResponse {
    let is_silent = request.protocol_type.is_none() || request.protocol_name.is_none();
    if call.version >= SYNC_PROTOCOL_FROM && is_silent {
        return SyncGroupResponse {
            error_code: ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
            ..Default::default()
        };
    }
    let group = GroupId::new(&request.group_id);
    let assignments = request.assignments.iter().map(|given| {
        let assignment = Bytes::copy_from_slice(&given.assignment);
        (MemberId::new(&given.member_id), assignment)
    });
    let sync = SyncRequest {
        member: member_ref(
            &request.member_id,
            request.group_instance_id.as_ref(),
            request.generation_id,
        ),
        protocol_type: request.protocol_type.as_deref().map(Arc::from),
        protocol: request.protocol_name.as_deref().map(Arc::from),
        assignments: assignments.collect(),
    };
    drop(request);
    match call.server.broker.groups().sync(&group, sync).await {
        Ok(synced) => SyncGroupResponse {
            protocol_type: Some((*synced.protocol_type).into()),
            protocol_name: Some((*synced.protocol).into()),
            assignment: synced.assignment,
            ..Default::default()
        },
        Err(error) => SyncGroupResponse {
            error_code: group_code(error),
            ..Default::default()
        },
    }
}

/// A member lives, and learns whether it must join again.
pub(crate) async fn heartbeat(call: Arc<Call>, request: HeartbeatRequest) -> HeartbeatResponse {
    let group = GroupId::new(&request.group_id);
    let member = member_ref(
        &request.member_id,
        request.group_instance_id.as_ref(),
        request.generation_id,
    );
    let heard = call.server.broker.groups().heartbeat(&group, &member);
    HeartbeatResponse {
        error_code: code(heard),
        ..Default::default()
    }
}

/// A member as it names itself.
pub(super) fn member_ref(member_id: &Str, instance: Option<&Str>, generation: i32) -> MemberRef {
    MemberRef {
        member_id: MemberId::new(member_id),
        instance_id: instance_id(instance),
        generation: Generation(generation),
    }
}

/// Members go. Up to version 2 there is one, and its error is the request's.
pub(crate) async fn leave_group(call: Arc<Call>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let group = GroupId::new(&request.group_id);
    let members = match call.version {
        LEAVE_SEVERAL_FROM.. => request.members,
        _ => vec![MemberIdentity {
            member_id: request.member_id,
            ..Default::default()
        }],
    };
    let leaving: Vec<Leaving> = members
        .iter()
        .map(|member| Leaving {
            member_id: MemberId::new(&member.member_id),
            instance_id: instance_id(member.group_instance_id.as_ref()),
        })
        .collect();
    let results = match call.server.broker.groups().leave(&group, &leaving).await {
        Ok(results) => results,
        Err(error) => {
            return LeaveGroupResponse {
                error_code: group_code(error),
                ..Default::default()
            };
        }
    };
    if call.version < LEAVE_SEVERAL_FROM {
        let error_code = results
            .first()
            .map_or(ErrorCode::NONE, |result| code(*result));
        return LeaveGroupResponse {
            error_code,
            ..Default::default()
        };
    }
    let member = |(member, result): (MemberIdentity, _)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: code(result),
    };
    LeaveGroupResponse {
        members: members.into_iter().zip(results).map(member).collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use millstream_kafka_wire::consumer_protocol::encode_blob;

    use super::*;

    #[test]
    fn subscriptions_are_read_at_every_version() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["a".into(), "b".into()],
            ..Default::default()
        };
        for version in 0..=3 {
            let metadata = encode_blob(&subscription, version).unwrap();
            let topics = subscribed_topics(&metadata).unwrap();
            assert_eq!(topics, [Arc::from("a"), Arc::from("b")]);
        }
        assert_eq!(
            subscribed_topics(&Bytes::from_static(b"not a subscription")),
            None
        );
    }

    #[test]
    fn hosts_look_as_they_do_with_kafka() {
        assert_eq!(client_host("127.0.0.1".parse().unwrap()), "/127.0.0.1");
        assert_eq!(client_host("::ffff:10.0.0.1".parse().unwrap()), "/10.0.0.1");
    }

    #[test]
    fn older_clients_take_no_null_protocol() {
        let refused = JoinRefused {
            error: millstream_broker::groups::GroupError::GroupFull,
            member_id: MemberId::none(),
        };
        assert_eq!(
            refused_response(&refused, 6).protocol_name,
            Some(Str::default())
        );
        assert_eq!(refused_response(&refused, 7).protocol_name, None);
    }
}
