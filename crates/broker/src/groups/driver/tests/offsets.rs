//! Offsets: kept, read, deleted, expired.

use super::*;

#[tokio::test]
async fn offsets_survive_a_restart() {
    let stage = Stage::new().await;
    let topic = stage.topic("t").await;
    let member = stage.join_alone(&["t"]).await;
    let kept = stage.commit(&member, &[(topic, 0, 7), (topic, 1, 9)]).await;
    assert_eq!(kept, Ok(vec![Ok(()), Ok(())]));
    stage.commit(&member, &[(topic, 0, 8)]).await.unwrap();
    assert_eq!(stage.committed(topic).await, [Some(8), Some(9)]);

    let stage = stage.restart().await;
    assert_eq!(stage.committed(topic).await, [Some(8), Some(9)]);
    let all = stage.broker.groups().all_offsets(&group()).await.unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|(at, committed)| (at.partition, committed.offset.get()))
        .collect();
    assert_eq!(all, [(0, 8), (1, 9)]);
    assert_eq!(
        stage.broker.groups().all_offsets(&"nowhere".into()).await,
        Ok(Vec::new())
    );
}

#[tokio::test]
async fn what_goes_with_an_offset_is_kept_within_bounds() {
    let stage = Stage::new().await;
    let topic = stage.topic("t").await;
    let with = |partition, metadata: &str| PartitionCommit {
        leader_epoch: Some(millstream_record::LeaderEpoch(3)),
        metadata: metadata.into(),
        ..partition_commit((topic, partition, 5))
    };
    let commit = OffsetCommit {
        member: outsider(),
        retention_ms: None,
        partitions: vec![
            with(0, &"m".repeat(4_096)),
            with(1, &"m".repeat(4_097)),
            with(2, &"é".repeat(4_096)),
            with(3, &"😀".repeat(2_049)),
        ],
    };
    let groups = stage.broker.groups();
    let kept = groups.commit_offsets(&group(), commit).await;
    assert_eq!(
        kept,
        Ok(vec![
            Ok(()),
            Err(GroupError::OffsetMetadataTooLarge),
            Ok(()),
            Err(GroupError::OffsetMetadataTooLarge)
        ])
    );
    let all = groups.all_offsets(&group()).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].1.metadata.len(), 4_096);
    assert_eq!(
        all[0].1.leader_epoch,
        Some(millstream_record::LeaderEpoch(3))
    );
}

#[tokio::test]
async fn only_the_groups_own_members_commit() {
    let stage = Stage::new().await;
    let topic = stage.topic("t").await;
    let at = [(topic, 0, 1)];
    assert_eq!(
        stage.commit(&outsider(), &at).await,
        Ok(vec![Ok(())]),
        "the group has no members"
    );
    let member = stage.join_alone(&["t"]).await;
    assert_eq!(
        stage.commit(&outsider(), &at).await,
        Err(GroupError::UnknownMember)
    );
    let zombie = MemberRef {
        generation: Generation(0),
        ..member.clone()
    };
    assert_eq!(
        stage.commit(&zombie, &at).await,
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(stage.commit(&member, &at).await, Ok(vec![Ok(())]));

    let nowhere = OffsetCommit {
        member,
        retention_ms: None,
        partitions: Vec::new(),
    };
    let refused = stage
        .broker
        .groups()
        .commit_offsets(&"nowhere".into(), nowhere)
        .await;
    assert_eq!(refused, Err(GroupError::GroupNotFound));
}

#[tokio::test]
async fn deleting_a_topic_takes_its_offsets_along() {
    let stage = Stage::new().await;
    let (gone, left) = (stage.topic("gone").await, stage.topic("left").await);
    stage
        .commit(&outsider(), &[(gone, 0, 1), (gone, 1, 2), (left, 0, 3)])
        .await
        .unwrap();
    stage.broker.delete_topic(gone).await.unwrap();
    assert_eq!(stage.committed(gone).await, [None, None]);
    let stage = stage.restart().await;
    assert_eq!(stage.committed(gone).await, [None, None]);
    assert_eq!(stage.committed(left).await, [Some(3), None]);
    let anew = stage.topic("gone").await;
    assert_eq!(
        stage.committed(anew).await,
        [None, None],
        "a topic of the same name starts afresh"
    );
}

#[tokio::test]
async fn offsets_of_topics_that_are_read_stay() {
    let stage = Stage::new().await;
    let (read, unread) = (stage.topic("read").await, stage.topic("unread").await);
    let groups = stage.broker.groups();
    let delete = [(read, "read", vec![0]), (unread, "unread", vec![0, 1])];
    assert_eq!(
        groups.delete_offsets(&group(), &delete).await,
        Err(GroupError::GroupNotFound)
    );

    let member = stage.join_alone(&["read"]).await;
    stage
        .commit(&member, &[(read, 0, 1), (unread, 0, 2)])
        .await
        .unwrap();
    let deleted = groups.delete_offsets(&group(), &delete).await;
    assert_eq!(
        deleted,
        Ok(vec![Err(GroupError::SubscribedToTopic), Ok(())])
    );
    let stage = stage.restart().await;
    assert_eq!(stage.committed(read).await, [Some(1), None]);
    assert_eq!(stage.committed(unread).await, [None, None]);

    stage.wait(10_000);
    let deleted = stage
        .broker
        .groups()
        .delete_offsets(&group(), &delete)
        .await;
    assert_eq!(
        deleted,
        Ok(vec![Ok(()), Ok(())]),
        "nobody is left to read anything"
    );
    assert_eq!(stage.committed(read).await, [None, None]);
}

#[tokio::test]
async fn offsets_expire_when_nobody_reads_them_any_more() {
    let stage = Stage::new().await;
    let (read, unread) = (stage.topic("read").await, stage.topic("unread").await);
    let member = stage.join_alone(&["read"]).await;
    stage
        .commit(&member, &[(read, 0, 1), (unread, 0, 2)])
        .await
        .unwrap();

    for _ in 0..200 {
        stage.wait(5_000);
        assert_eq!(stage.broker.groups().heartbeat(&group(), &member), Ok(()));
    }
    assert_eq!(stage.committed(read).await, [Some(1), None]);
    assert_eq!(
        stage.committed(unread).await,
        [None, None],
        "its retention ran from the commit"
    );

    // The group falls silent, which starts the retention of the rest; a restart does not start it anew.
    stage.wait(10_000);
    stage.wait(900_000);
    let stage = stage.restart().await;
    stage.wait(99_000);
    assert_eq!(stage.committed(read).await, [Some(1), None]);
    stage.wait(1_000);
    assert_eq!(stage.committed(read).await, [None, None]);
    assert_eq!(
        stage.broker.groups().list(),
        [],
        "the group went with its last offset"
    );
    let stage = stage.restart().await;
    assert_eq!(stage.broker.groups().list(), []);
}

#[tokio::test]
async fn offsets_of_a_reader_without_a_group_expire_from_their_commit() {
    let stage = Stage::new().await;
    let topic = stage.topic("t").await;
    let commit = |partition, retention_ms| OffsetCommit {
        member: outsider(),
        retention_ms,
        partitions: vec![partition_commit((topic, partition, 5))],
    };
    let groups = stage.broker.groups();
    groups
        .commit_offsets(&group(), commit(0, None))
        .await
        .unwrap();
    groups
        .commit_offsets(&group(), commit(1, Some(2_000)))
        .await
        .unwrap();
    stage.wait(1_999);
    assert_eq!(stage.committed(topic).await, [Some(5), Some(5)]);
    stage.wait(1_000);
    assert_eq!(
        stage.committed(topic).await,
        [Some(5), None],
        "the commit said so itself"
    );
    stage.wait(900_000);
    groups
        .commit_offsets(&group(), commit(1, None))
        .await
        .unwrap();
    stage.wait(100_000);
    assert_eq!(stage.committed(topic).await, [None, Some(5)]);
}
