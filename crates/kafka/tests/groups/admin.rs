//! Describing, listing and deleting groups.

use millstream_kafka_wire::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    LeaveGroupRequest, ListGroupsRequest, ListGroupsResponse,
};
use millstream_kafka_wire::{ErrorCode, Str};

use super::support::{Client, Served};
use super::{lead, subscription};

async fn listed(client: &mut Client, states: &[&str], types: &[&str]) -> Vec<Str> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let request = ListGroupsRequest {
        states_filter: names(states),
        types_filter: names(types),
    };
    let response: ListGroupsResponse = client.call(&request, 5).await;
    response
        .groups
        .into_iter()
        .map(|group| group.group_id)
        .collect()
}

#[tokio::test]
async fn groups_are_described_at_every_version() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let joined = lead(&mut client, "g", &["t"]).await;
    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec!["g".into(), "nobody".into()],
            include_authorized_operations: version >= 3,
        };
        let response: DescribeGroupsResponse = client.call(&request, version).await;
        let [group, nobody] = &response.groups[..] else {
            panic!("{response:?}")
        };
        assert_eq!(
            (group.error_code, &*group.group_state),
            (ErrorCode::NONE, "Stable")
        );
        assert_eq!(
            (&*group.protocol_type, &*group.protocol_data),
            ("consumer", "range")
        );
        assert_eq!(
            group.authorized_operations,
            if version >= 3 { 328 } else { i32::MIN }
        );
        let [member] = &group.members[..] else {
            panic!("{group:?}")
        };
        assert_eq!(member.member_id, joined.member_id);
        assert_eq!(
            (&*member.client_id, &*member.client_host),
            ("test", "/127.0.0.1")
        );
        assert_eq!(member.member_metadata, subscription(&["t"]));
        assert_eq!(&member.member_assignment[..], b"all");

        assert_eq!(&*nobody.group_state, "Dead");
        let expected = if version < 6 {
            ErrorCode::NONE
        } else {
            ErrorCode::GROUP_ID_NOT_FOUND
        };
        assert_eq!(nobody.error_code, expected);
        assert_eq!(nobody.error_message.is_some(), version >= 6);
    }
}

#[tokio::test]
async fn groups_are_listed_and_deleted() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let joined = lead(&mut client, "busy", &["t"]).await;
    let idle = lead(&mut client, "idle", &["t"]).await;
    let request = LeaveGroupRequest {
        group_id: "idle".into(),
        member_id: idle.member_id,
        ..Default::default()
    };
    assert_eq!(client.call(&request, 2).await.error_code, ErrorCode::NONE);

    assert_eq!(listed(&mut client, &[], &[]).await, ["busy", "idle"]);
    assert_eq!(listed(&mut client, &["Stable"], &[]).await, ["busy"]);
    assert_eq!(
        listed(&mut client, &["empty", "dead"], &["Classic"]).await,
        ["idle"]
    );
    assert!(
        listed(&mut client, &[], &["consumer", "share"])
            .await
            .is_empty()
    );
    for version in 0..=5 {
        let response: ListGroupsResponse =
            client.call(&ListGroupsRequest::default(), version).await;
        let group = &response.groups[0];
        assert_eq!(
            (&*group.group_id, &*group.protocol_type),
            ("busy", "consumer")
        );
        assert_eq!(&*group.group_state, if version < 4 { "" } else { "Stable" });
        assert_eq!(&*group.group_type, if version < 5 { "" } else { "classic" });
    }

    for version in 0..=2 {
        let groups = ["busy", "idle", "nobody", "idle"].map(Into::into).to_vec();
        let response: DeleteGroupsResponse = client
            .call(
                &DeleteGroupsRequest {
                    groups_names: groups,
                },
                version,
            )
            .await;
        let results: Vec<_> = response
            .results
            .iter()
            .map(|one| (&*one.group_id, one.error_code))
            .collect();
        // Only the first time is the idle group there.
        let idle = if version == 0 {
            ErrorCode::NONE
        } else {
            ErrorCode::GROUP_ID_NOT_FOUND
        };
        let busy = ErrorCode::NON_EMPTY_GROUP;
        let expected = [
            ("busy", busy),
            ("idle", idle),
            ("nobody", ErrorCode::GROUP_ID_NOT_FOUND),
        ];
        assert_eq!(results, expected);
    }
    assert_eq!(listed(&mut client, &[], &[]).await, ["busy"]);
    assert!(joined.generation_id > 0);
}
