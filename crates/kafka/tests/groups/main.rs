//! The group APIs over real connections, at every version that is served.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod members;
mod offsets;

use bytes::Bytes;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::consumer_protocol::{ConsumerProtocolSubscription, encode_blob};
use millstream_kafka_wire::messages::join_group::JoinGroupRequestProtocol;
use millstream_kafka_wire::messages::sync_group::SyncGroupRequestAssignment;
use millstream_kafka_wire::messages::{
    JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use support::Client;

/// What a consumer of `topics` says of itself.
fn subscription(topics: &[&str]) -> Bytes {
    let topics = topics.iter().map(|topic| (*topic).into()).collect();
    let subscription = ConsumerProtocolSubscription {
        topics,
        ..Default::default()
    };
    encode_blob(&subscription, 0).unwrap()
}

/// A consumer's first join.
fn join_request(group: &str, topics: &[&str]) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol {
        name: "range".into(),
        metadata: subscription(topics),
    };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// Joins, in as many steps as the version takes.
async fn join(
    client: &mut Client,
    mut request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    let response = client.call(&request, version).await;
    if response.error_code != ErrorCode::MEMBER_ID_REQUIRED {
        return response;
    }
    assert!(version >= 4, "older clients join at once");
    request.member_id = response.member_id;
    client.call(&request, version).await
}

fn sync_request(
    group: &str,
    joined: &JoinGroupResponse,
    give: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    let give = give
        .iter()
        .map(|(member, share)| SyncGroupRequestAssignment {
            member_id: (*member).into(),
            assignment: Bytes::from_static(share),
        });
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: give.collect(),
    }
}

/// Joins a group that is empty and takes everything.
async fn lead(client: &mut Client, group: &str, topics: &[&str]) -> JoinGroupResponse {
    let joined = join(client, join_request(group, topics), 9).await;
    assert_eq!(joined.error_code, ErrorCode::NONE, "{joined:?}");
    let give: &[(&str, &[u8])] = &[(&joined.member_id, b"all")];
    let synced: SyncGroupResponse = client.call(&sync_request(group, &joined, give), 5).await;
    assert_eq!(
        (synced.error_code, &synced.assignment[..]),
        (ErrorCode::NONE, b"all".as_slice())
    );
    joined
}
