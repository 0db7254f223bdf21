//! Joining, syncing, beating and leaving.

use millstream_kafka_wire::messages::leave_group::MemberIdentity;
use millstream_kafka_wire::messages::{
    FindCoordinatorRequest, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use millstream_kafka_wire::{CoordinatorType, ErrorCode, Str};

use super::support::{Client, Served};
use super::{join, join_request, lead, sync_request};

fn beat(group: &str, joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
    }
}

/// Leaves at `version`; the error is that of the one member.
async fn leave(client: &mut Client, group: &str, member: &Str, version: i16) -> ErrorCode {
    let identity = MemberIdentity {
        member_id: member.clone(),
        ..Default::default()
    };
    let request = LeaveGroupRequest {
        group_id: group.into(),
        member_id: if version < 3 {
            member.clone()
        } else {
            Str::default()
        },
        members: if version < 3 {
            Vec::new()
        } else {
            vec![identity]
        },
    };
    let response: LeaveGroupResponse = client.call(&request, version).await;
    if version < 3 {
        return response.error_code;
    }
    assert_eq!(response.error_code, ErrorCode::NONE);
    assert_eq!(response.members[0].member_id, *member);
    response.members[0].error_code
}

#[tokio::test]
async fn a_membership_at_every_version() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for version in 0..=9_i16 {
        let group = &format!("g{version}");
        let joined = join(&mut client, join_request(group, &["t"]), version).await;
        assert_eq!(joined.error_code, ErrorCode::NONE, "{version}: {joined:?}");
        assert_eq!(joined.generation_id, 1);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(
            joined.protocol_type.as_deref(),
            (version >= 7).then_some("consumer")
        );
        assert_eq!(joined.leader, joined.member_id);
        assert!(
            joined.member_id.starts_with("test-"),
            "the client's id begins the member's"
        );
        assert_eq!(joined.members.len(), 1);
        assert_eq!(
            joined.members[0].metadata,
            join_request(group, &["t"]).protocols[0].metadata
        );

        let (sync_version, beat_version, leave_version) =
            (version.min(5), version.min(4), version.min(5));
        let mut sync = sync_request(group, &joined, &[(&joined.member_id, b"share")]);
        if sync_version < 5 {
            (sync.protocol_type, sync.protocol_name) = (None, None);
        }
        let synced: SyncGroupResponse = client.call(&sync, sync_version).await;
        assert_eq!(
            (synced.error_code, &synced.assignment[..]),
            (ErrorCode::NONE, b"share".as_slice())
        );
        assert_eq!(
            synced.protocol_name.as_deref(),
            (sync_version >= 5).then_some("range")
        );

        let alive: HeartbeatResponse = client.call(&beat(group, &joined), beat_version).await;
        assert_eq!(alive.error_code, ErrorCode::NONE);
        assert_eq!(
            leave(&mut client, group, &joined.member_id, leave_version).await,
            ErrorCode::NONE
        );
        let again = leave(&mut client, group, &joined.member_id, leave_version).await;
        assert_eq!(again, ErrorCode::UNKNOWN_MEMBER_ID);
        let gone: HeartbeatResponse = client.call(&beat(group, &joined), beat_version).await;
        assert_eq!(gone.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    }
}

#[tokio::test]
async fn the_second_member_waits_for_the_first() {
    let served = Served::start().await;
    let (mut first, mut second) = (served.client().await, served.client().await);
    let alone = lead(&mut first, "g", &["t"]).await;
    let mut request = join_request("g", &["t"]);
    let required = second.call(&request, 9).await;
    assert_eq!(required.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    request.member_id = required.member_id;
    second.send(&request, 9).await;

    // The rebalance begins when the second join has arrived.
    let told = loop {
        let told: HeartbeatResponse = first.call(&beat("g", &alone), 4).await;
        if told.error_code != ErrorCode::NONE {
            break told.error_code;
        }
    };
    assert_eq!(told, ErrorCode::REBALANCE_IN_PROGRESS);
    let mut again = join_request("g", &["t"]);
    again.member_id = alone.member_id.clone();
    let leader = first.call(&again, 9).await;
    let (_, follower): (_, JoinGroupResponse) = second.receive::<JoinGroupRequest>(9).await;
    assert_eq!((leader.generation_id, follower.generation_id), (2, 2));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(
        (&leader.leader, &follower.leader),
        (&alone.member_id, &alone.member_id)
    );

    second.send(&sync_request("g", &follower, &[]), 5).await;
    let give: &[(&str, &[u8])] = &[
        (&leader.member_id, b"left"),
        (&follower.member_id, b"right"),
    ];
    let left = first.call(&sync_request("g", &leader, give), 5).await;
    let (_, right) = second.receive::<SyncGroupRequest>(5).await;
    assert_eq!(
        (&left.assignment[..], &right.assignment[..]),
        (b"left".as_slice(), b"right".as_slice())
    );

    let zombie: HeartbeatResponse = first.call(&beat("g", &alone), 4).await;
    assert_eq!(zombie.error_code, ErrorCode::ILLEGAL_GENERATION);
}

#[tokio::test]
async fn a_static_member_takes_over_from_its_former_self() {
    let served = Served::start().await;
    let (mut old, mut new) = (served.client().await, served.client().await);
    let mut request = join_request("g", &["t"]);
    request.group_instance_id = Some("i".into());
    let former: JoinGroupResponse = old.call(&request, 9).await;
    assert_eq!(
        former.error_code,
        ErrorCode::NONE,
        "static members join in one step"
    );
    let mut sync = sync_request("g", &former, &[(&former.member_id, b"all")]);
    sync.group_instance_id = Some("i".into());
    assert_eq!(old.call(&sync, 5).await.error_code, ErrorCode::NONE);

    let back: JoinGroupResponse = new.call(&request, 9).await;
    assert_eq!((back.error_code, back.generation_id), (ErrorCode::NONE, 1));
    assert!(
        back.skip_assignment && back.leader == back.member_id,
        "{back:?}"
    );
    let older: JoinGroupResponse = new.call(&request, 8).await;
    assert!(
        older.leader == back.member_id && older.members.is_empty(),
        "it must not take itself for the leader"
    );
    let mut sync = sync_request("g", &older, &[]);
    sync.group_instance_id = Some("i".into());
    assert_eq!(&new.call(&sync, 5).await.assignment[..], b"all");

    let mut fenced = beat("g", &former);
    fenced.group_instance_id = Some("i".into());
    let fenced: HeartbeatResponse = old.call(&fenced, 4).await;
    assert_eq!(fenced.error_code, ErrorCode::FENCED_INSTANCE_ID);

    // An operator takes it out by its own name.
    let identity = MemberIdentity {
        group_instance_id: Some("i".into()),
        ..Default::default()
    };
    let request = LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![identity],
        ..Default::default()
    };
    let left: LeaveGroupResponse = old.call(&request, 5).await;
    assert_eq!(left.members[0].error_code, ErrorCode::NONE);
    assert_eq!(left.members[0].group_instance_id.as_deref(), Some("i"));
}

#[tokio::test]
async fn what_is_wrong_has_its_own_code() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let no_group = client.call(&join_request("", &["t"]), 9).await;
    assert_eq!(no_group.error_code, ErrorCode::INVALID_GROUP_ID);
    for timeout_ms in [-1, 0, 5_999, 1_800_001] {
        let request = JoinGroupRequest {
            session_timeout_ms: timeout_ms,
            ..join_request("g", &["t"])
        };
        let refused = client.call(&request, 5).await;
        assert_eq!(refused.error_code, ErrorCode::INVALID_SESSION_TIMEOUT);
        assert_eq!(
            refused.protocol_name.as_deref(),
            Some(""),
            "null is not known before version 7"
        );
        assert_eq!(refused.generation_id, -1);
    }
    let request = JoinGroupRequest {
        protocols: Vec::new(),
        ..join_request("g", &["t"])
    };
    let no_protocol = client.call(&request, 9).await;
    assert_eq!(
        no_protocol.error_code,
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let request = JoinGroupRequest {
        member_id: "stranger".into(),
        ..join_request("g", &["t"])
    };
    let stranger = client.call(&request, 9).await;
    assert_eq!(
        (stranger.error_code, &*stranger.member_id),
        (ErrorCode::UNKNOWN_MEMBER_ID, "stranger")
    );

    let joined = lead(&mut client, "g2", &["t"]).await;
    let mut silent = sync_request("g2", &joined, &[]);
    silent.protocol_name = None;
    let silent: SyncGroupResponse = client.call(&silent, 5).await;
    assert_eq!(silent.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let nowhere: SyncGroupResponse = client.call(&sync_request("nowhere", &joined, &[]), 5).await;
    assert_eq!(nowhere.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let nowhere = leave(&mut client, "nowhere", &joined.member_id, 2).await;
    assert_eq!(nowhere, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test]
async fn this_node_coordinates_everything() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let port = i32::from(served.address.port());
    for version in 0..=3 {
        let request = FindCoordinatorRequest {
            key: "g".into(),
            ..Default::default()
        };
        let found = client.call(&request, version).await;
        assert_eq!(
            (found.error_code, &*found.host, found.port),
            (ErrorCode::NONE, "127.0.0.1", port)
        );
    }
    for version in 4..=6 {
        for key_type in [CoordinatorType::GROUP, CoordinatorType::TRANSACTION] {
            let coordinator_keys = vec!["a".into(), "b".into()];
            let request = FindCoordinatorRequest {
                key_type,
                coordinator_keys,
                ..Default::default()
            };
            let found = client.call(&request, version).await;
            let keys: Vec<&str> = found.coordinators.iter().map(|found| &*found.key).collect();
            assert_eq!(keys, ["a", "b"]);
            assert!(
                found
                    .coordinators
                    .iter()
                    .all(|found| found.port == port && !found.error_code.is_error())
            );
        }
    }
    let coordinator_keys = vec!["s".into()];
    let request = FindCoordinatorRequest {
        key_type: CoordinatorType::SHARE,
        coordinator_keys,
        ..Default::default()
    };
    let refused = client.call(&request, 6).await;
    assert_eq!(
        refused.coordinators[0].error_code,
        ErrorCode::INVALID_REQUEST
    );
}
