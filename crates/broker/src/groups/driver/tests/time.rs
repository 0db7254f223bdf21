//! The queue of deadlines.

use super::*;

#[tokio::test]
async fn a_group_has_one_place_in_the_queue() {
    let stage = Stage::new().await;
    let member = stage.join_alone(&["t"]).await;
    let groups = stage.broker.groups();
    assert_eq!(groups.alarms.len(), 1);
    for _ in 0..10 {
        stage.wait(3_000);
        groups.heartbeat(&group(), &member).unwrap();
        assert_eq!(groups.alarms.len(), 1);
    }
    stage.wait(20_000);
    assert_eq!(
        groups.alarms.len(),
        0,
        "a group without members costs nothing"
    );
}

#[tokio::test]
async fn a_deadline_that_comes_closer_is_seen() {
    let stage = Stage::new().await;
    let patient = JoinRequest {
        session_timeout_ms: 1_000_000,
        rebalance_timeout_ms: 1_000_000,
        ..join_request(&["t"])
    };
    let groups = stage.broker.groups();
    let first = groups.join(&group(), patient).await.unwrap();
    stage.sync(&first, &[]).await.unwrap();
    let two_step = JoinRequest {
        two_step: true,
        ..join_request(&["t"])
    };
    let refused = groups.join(&group(), two_step).await.unwrap_err();
    assert_eq!(refused.error, GroupError::MemberIdRequired);

    // The leader asks for a rebalance, which waits for the member to be until its id is void.
    let rejoining = stage.join(Some(&first.member_id), &["t"]);
    let waiting = async {
        tokio::task::yield_now().await;
        stage.wait(9_999);
        stage.wait(1);
    };
    let (joined, ()) = tokio::join!(rejoining, waiting);
    assert_eq!(joined.unwrap().members.len(), 1);
    let late = stage
        .join(Some(&refused.member_id), &["t"])
        .await
        .unwrap_err();
    assert_eq!(late.error, GroupError::UnknownMember);
}

#[tokio::test]
async fn a_session_that_is_over_keeps_no_group_from_being_deleted() {
    let stage = Stage::new().await;
    let groups = stage.broker.groups();
    let joined = stage.join(None, &["t"]).await.unwrap();
    stage.sync(&joined, &[]).await.unwrap();
    // Before its alarm has rung.
    stage.clock.advance_ms(9_999);
    assert_eq!(
        groups.delete(&group()).await,
        Err(GroupError::NonEmptyGroup)
    );
    stage.clock.advance_ms(1);
    groups.delete(&group()).await.unwrap();
}

/// Commits `partitions` offsets for each of `groups` groups without members.
async fn commit_for(stage: &Stage, groups: u32, partitions: u32) {
    let topic = stage.topic("t").await;
    for number in 0..groups {
        let commit = OffsetCommit {
            member: outsider(),
            retention_ms: None,
            partitions: (0..partitions)
                .map(|partition| partition_commit((topic, partition, 5)))
                .collect(),
        };
        let group = GroupId::new(&format!("group-{number}"));
        let groups = stage.broker.groups();
        let results = groups.commit_offsets(&group, commit).await.unwrap();
        assert!(results.iter().all(Result::is_ok));
    }
}

fn groups_left(stage: &Stage) -> usize {
    stage.broker.groups().all().len()
}

#[tokio::test]
async fn offsets_expire_a_piece_at_a_time() {
    let stage = Stage::new().await;
    commit_for(&stage, 30, 100).await;
    // A look at all of them is one piece, but so many deletions are not.
    stage.wait(2_000);
    assert_eq!(groups_left(&stage), 30);
    stage.wait(1_000_000);
    let mut left = vec![groups_left(&stage)];
    while left[left.len() - 1] > 0 {
        assert!(left.len() < 30, "{left:?}");
        stage.wait(1);
        left.push(groups_left(&stage));
    }
    let pieces = left.windows(2).map(|pair| pair[0] - pair[1]);
    assert!(pieces.max().unwrap() <= 10, "{left:?}");
    assert!(left[0] >= 20, "{left:?}");
    // And the next look comes as if this one had been done at once.
    let topic = stage.topic("other").await;
    stage.commit(&outsider(), &[(topic, 0, 7)]).await.unwrap();
    stage.wait(999_000);
    assert_eq!(groups_left(&stage), 1);
    stage.wait(2_000);
    assert_eq!(groups_left(&stage), 0);
}

/// The task itself, on the machine's clock.
#[tokio::test]
async fn time_passes_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let settings = BrokerSettings {
        groups: GroupSettings {
            session_timeout_min_ms: 1,
            ..GroupSettings::default()
        },
        ..BrokerSettings::new(directory.path())
    };
    let broker = Broker::open(settings, Env::real()).await.unwrap();
    let hasty = JoinRequest {
        session_timeout_ms: 50,
        ..join_request(&["t"])
    };
    let joined = broker.groups().join(&group(), hasty.clone()).await.unwrap();
    let next = broker.groups().join(&group(), hasty).await.unwrap();
    assert_eq!(next.generation, joined.generation.next());
    assert_eq!(next.members.len(), 1, "the silent one is out");
}
