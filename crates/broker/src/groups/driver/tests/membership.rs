//! Members, restarts and what an operator does to groups.

use super::*;
use crate::groups::machine::GroupState;
use crate::groups::request::Leaving;

#[tokio::test]
async fn two_members_share_a_generation() {
    let stage = Stage::new().await;
    let first = stage.join(None, &["t"]).await.unwrap();
    stage
        .sync(&first, &[(&first.member_id, "all")])
        .await
        .unwrap();

    let again = async { stage.join(Some(&first.member_id), &["t"]).await.unwrap() };
    let new = async { stage.join(None, &["t"]).await.unwrap() };
    // The first is asked only when it has heard of the second.
    let (second, first) = tokio::join!(new, again);
    assert_eq!(
        (first.generation, second.generation),
        (Generation(2), Generation(2))
    );
    assert_eq!(first.leader, first.member_id);
    assert_eq!(first.members.len(), 2);
    assert!(second.members.is_empty());

    let give = [(&first.member_id, "left"), (&second.member_id, "right")];
    let (right, left) = tokio::join!(stage.sync(&second, &[]), stage.sync(&first, &give));
    assert_eq!(left.unwrap().assignment, "left");
    assert_eq!(right.unwrap().assignment, "right");

    let described = stage.broker.groups().describe(&group()).unwrap();
    assert_eq!(described.state, GroupState::Stable);
    assert_eq!(described.protocol.as_deref(), Some("range"));
    let shares: Vec<_> = described
        .members
        .iter()
        .map(|member| &member.assignment[..])
        .collect();
    assert_eq!(shares, [b"left".as_slice(), b"right"]);
    assert!(
        described.members[0]
            .member_id
            .as_str()
            .starts_with("client-")
    );
}

#[tokio::test]
async fn a_generation_survives_a_restart_and_its_zombies_do_not() {
    let stage = Stage::with(GroupSettings::default()).await;
    let old = stage.join_alone(&["t"]).await;
    let joined = stage.join(Some(&old.member_id), &["t"]).await.unwrap();
    let stage = stage.restart().await;

    let groups = stage.broker.groups();
    assert_eq!(
        groups.heartbeat(&group(), &old),
        Err(GroupError::IllegalGeneration)
    );
    let topic = stage.topic("t").await;
    let refused = stage.commit(&old, &[(topic, 0, 1)]).await;
    assert_eq!(refused, Err(GroupError::IllegalGeneration));
    assert_eq!(groups.heartbeat(&group(), &member(&joined)), Ok(()));

    // The session starts anew: what passed before the restart does not count.
    stage.wait(9_999);
    assert_eq!(groups.heartbeat(&group(), &member(&joined)), Ok(()));
    let synced = stage
        .sync(&joined, &[(&joined.member_id, "all")])
        .await
        .unwrap();
    assert_eq!(synced.assignment, "all");

    let stage = stage.restart().await;
    assert_eq!(stage.sync(&joined, &[]).await.unwrap().assignment, "all");
    stage.wait(10_000);
    let groups = stage.broker.groups();
    assert_eq!(
        groups.heartbeat(&group(), &member(&joined)),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(groups.describe(&group()).unwrap().state, GroupState::Empty);
    let next = stage.join(None, &["t"]).await.unwrap();
    assert_eq!(
        next.generation,
        Generation(4),
        "each emptying and each join is a generation"
    );
}

#[tokio::test]
async fn a_silent_member_lets_the_others_go_on() {
    let stage = Stage::new().await;
    let silent = stage.join_alone(&["t"]).await;
    let joining = stage.join(None, &["t"]);
    let silence = async {
        tokio::task::yield_now().await;
        stage.wait(10_000);
    };
    let (joined, ()) = tokio::join!(joining, silence);
    let joined = joined.unwrap();
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members.len(), 1);
    let beat = stage.broker.groups().heartbeat(&group(), &silent);
    assert_eq!(beat, Err(GroupError::UnknownMember));
}

#[tokio::test]
async fn leaving_empties_the_group() {
    let stage = Stage::new().await;
    let member = stage.join_alone(&["t"]).await;
    let leaving = |id: &MemberId| Leaving {
        member_id: id.clone(),
        instance_id: None,
    };
    let groups = stage.broker.groups();
    let all = [leaving(&"nobody".into()), leaving(&member.member_id)];
    let left = groups.leave(&group(), &all).await.unwrap();
    assert_eq!(left, [Err(GroupError::UnknownMember), Ok(())]);
    let nowhere = groups.leave(&"nowhere".into(), &all).await.unwrap();
    assert_eq!(nowhere, [Err(GroupError::UnknownMember); 2]);

    let stage = stage.restart().await;
    let described = stage.broker.groups().describe(&group()).unwrap();
    assert_eq!(
        (described.state, described.generation),
        (GroupState::Empty, Generation(2))
    );
}

#[tokio::test]
async fn what_cannot_be_a_member_is_refused() {
    let stage = Stage::new().await;
    let groups = stage.broker.groups();
    let refused = |group: &'static str, request| async move {
        groups.join(&group.into(), request).await.unwrap_err().error
    };
    let with_session = |session_timeout_ms| JoinRequest {
        session_timeout_ms,
        ..join_request(&["t"])
    };
    let with_protocols = |count| JoinRequest {
        protocols: vec![join_request(&["t"]).protocols[0].clone(); count],
        ..join_request(&["t"])
    };
    assert_eq!(
        refused("", join_request(&["t"])).await,
        GroupError::InvalidGroupId
    );
    assert_eq!(
        refused("g", with_session(5_999)).await,
        GroupError::InvalidSessionTimeout
    );
    assert_eq!(
        refused("g", with_session(1_800_001)).await,
        GroupError::InvalidSessionTimeout
    );
    assert_eq!(refused("g", with_protocols(65)).await, GroupError::TooLarge);
    let stranger = JoinRequest {
        member_id: Some("stranger".into()),
        ..join_request(&["t"])
    };
    assert_eq!(refused("g", stranger).await, GroupError::UnknownMember);
    assert_eq!(
        groups.heartbeat(&"g".into(), &outsider()),
        Err(GroupError::UnknownMember)
    );
    let long: GroupId = "g".repeat(2_000).as_str().into();
    let refused = groups.join(&long, join_request(&["t"])).await.unwrap_err();
    assert_eq!(refused.error, GroupError::InvalidGroupId);
    assert_eq!(groups.list(), [], "nothing was made");
}

#[tokio::test]
async fn only_groups_without_members_are_deleted() {
    let stage = Stage::new().await;
    let topic = stage.topic("t").await;
    let member = stage.join_alone(&["t"]).await;
    stage.commit(&member, &[(topic, 0, 7)]).await.unwrap();
    let groups = stage.broker.groups();
    assert_eq!(
        groups.delete(&group()).await,
        Err(GroupError::NonEmptyGroup)
    );
    assert_eq!(
        groups.delete(&"nowhere".into()).await,
        Err(GroupError::GroupNotFound)
    );

    stage.wait(10_000);
    groups.delete(&group()).await.unwrap();
    assert_eq!(groups.list(), []);
    assert_eq!(
        groups.delete(&group()).await,
        Err(GroupError::GroupNotFound)
    );
    let stage = stage.restart().await;
    assert_eq!(stage.broker.groups().list(), []);
    assert_eq!(stage.committed(topic).await, [None, None]);
}

#[tokio::test]
async fn whoever_waits_is_answered_when_the_broker_stops() {
    let stage = Stage::new().await;
    stage.join_alone(&["t"]).await;
    let closing = async {
        tokio::task::yield_now().await;
        stage.broker.groups().close();
    };
    let (refused, ()) = tokio::join!(stage.join(None, &["t"]), closing);
    assert_eq!(refused.unwrap_err().error, GroupError::Unavailable);
    let refused = stage.join(None, &["t"]).await.unwrap_err();
    assert_eq!(refused.error, GroupError::Unavailable);
}

#[tokio::test]
async fn requests_nobody_waits_for_any_more_do_no_harm() {
    let stage = Stage::new().await;
    let member = stage.join_alone(&["t"]).await;
    {
        let mut given_up = Box::pin(stage.join(None, &["t"]));
        tokio::select! {
            biased;
            _ = &mut given_up => panic!("the other member has not joined yet"),
            () = tokio::task::yield_now() => {}
        }
    }
    let joined = stage.join(Some(&member.member_id), &["t"]).await.unwrap();
    assert_eq!(
        joined.members.len(),
        2,
        "the one that went away is still counted on"
    );
}
