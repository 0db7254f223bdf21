//! Sharing partitions, and what groups commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_client::{
    Client, CommittedOffset, ConsumerConfig, GroupConfig, GroupConsumer, GroupEvent, NewTopic,
    OffsetSpec, Producer, ProducerConfig, TopicPartition,
};
use millstream_kafka_wire::ErrorCode;
use millstream_record::Offset;

use crate::{cluster, new_topic, record, unique};

async fn fill(client: &Client, topic: &str, partitions: i32, each: usize) {
    let producer = Producer::start(client, ProducerConfig::default())
        .await
        .unwrap();
    for partition in 0..partitions {
        for _ in 0..each {
            producer
                .send(topic, Some(partition), &record(None, Some("x"), -1))
                .await
                .unwrap();
        }
    }
    producer.flush().await.unwrap();
}

fn config(group: &str, topic: &str) -> GroupConfig {
    GroupConfig {
        heartbeat_interval: Duration::from_millis(200),
        session_timeout: Duration::from_secs(6),
        rebalance_timeout: Duration::from_secs(10),
        metadata_interval: Duration::from_millis(200),
        ..GroupConfig::new(group, vec![topic.to_owned()])
    }
}

fn member(client: &Client, config: GroupConfig) -> GroupConsumer {
    GroupConsumer::new(client, config, ConsumerConfig::default())
}

async fn event(member: &mut GroupConsumer) -> GroupEvent {
    tokio::time::timeout(Duration::from_secs(30), member.next())
        .await
        .expect("an event in time")
        .unwrap()
}

/// Reads until `count` records have come.
async fn drain(member: &mut GroupConsumer, count: u64) {
    let mut read = 0;
    while read < count {
        if let GroupEvent::Records(chunk) = event(member).await {
            read += chunk.records().count() as u64;
        }
    }
}

/// What both are assigned when they share out partitions anew.
async fn share(
    first: &mut GroupConsumer,
    second: &mut GroupConsumer,
) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
    let assigned = tokio::join!(event(first), event(second));
    let (GroupEvent::Assigned(first), GroupEvent::Assigned(second)) = assigned else {
        panic!("both are assigned anew");
    };
    (first, second)
}

#[tokio::test]
async fn a_member_reads_all_commits_and_goes_on_where_it_was() {
    let client = cluster().await;
    let topic = new_topic(&client, 3).await;
    let group = unique("group");
    fill(&client, &topic, 3, 10).await;

    let mut first = member(&client, config(&group, &topic));
    let GroupEvent::Assigned(partitions) = event(&mut first).await else {
        panic!("assigned first")
    };
    assert_eq!(partitions.len(), 3);
    drain(&mut first, 30).await;
    first.close().await.unwrap();

    let committed = client.group_offsets(&group, None).await.unwrap();
    assert_eq!(
        committed.values().map(|it| it.offset.0).collect::<Vec<_>>(),
        [10, 10, 10]
    );
    fill(&client, &topic, 3, 2).await;
    let mut second = member(&client, config(&group, &topic));
    drain(&mut second, 6).await;
    second.close().await.unwrap();
    let committed = client.group_offsets(&group, None).await.unwrap();
    assert_eq!(
        committed.values().map(|it| it.offset.0).collect::<Vec<_>>(),
        [12, 12, 12]
    );

    assert!(
        client
            .groups()
            .await
            .unwrap()
            .iter()
            .any(|listed| listed.id == group)
    );
    assert_eq!(client.describe_group(&group).await.unwrap().state, "Empty");
    client.delete_group(&group).await.unwrap();
    assert_eq!(client.describe_group(&group).await.unwrap().state, "Dead");
}

#[tokio::test]
async fn members_share_and_take_over() {
    let client = cluster().await;
    let topic = new_topic(&client, 4).await;
    let group = unique("group");
    let mut first = member(&client, config(&group, &topic));
    assert!(matches!(event(&mut first).await, GroupEvent::Assigned(all) if all.len() == 4));

    let mut second = member(&client, config(&group, &topic));
    let (mine, theirs) = share(&mut first, &mut second).await;
    assert_eq!((mine.len(), theirs.len()), (2, 2));
    let all: BTreeSet<_> = mine.into_iter().chain(theirs).collect();
    assert_eq!(all.len(), 4);

    let described = client.describe_group(&group).await.unwrap();
    assert_eq!(
        (described.state.as_str(), described.assignor.as_str()),
        ("Stable", "range")
    );
    assert_eq!(described.members.len(), 2);
    assert_eq!(
        described
            .members
            .iter()
            .map(|member| member.assignment.len())
            .sum::<usize>(),
        4
    );
    let busy = client.delete_group(&group).await.unwrap_err();
    assert_eq!(busy.code(), Some(ErrorCode::NON_EMPTY_GROUP));

    second.close().await.unwrap();
    assert!(matches!(event(&mut first).await, GroupEvent::Assigned(all) if all.len() == 4));
    fill(&client, &topic, 4, 5).await;
    drain(&mut first, 20).await;
    first.close().await.unwrap();
}

#[tokio::test]
async fn a_member_without_partitions_stands_by() {
    let client = cluster().await;
    let topic = new_topic(&client, 1).await;
    let group = unique("group");
    let mut first = member(&client, config(&group, &topic));
    event(&mut first).await;
    let mut second = member(&client, config(&group, &topic));
    let (mine, theirs) = share(&mut first, &mut second).await;
    assert_eq!(mine.len() + theirs.len(), 1);
    let (reading, mut idle) = if mine.is_empty() {
        (second, first)
    } else {
        (first, second)
    };
    let quiet = tokio::time::timeout(Duration::from_secs(1), idle.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    reading.close().await.unwrap();
    assert!(matches!(event(&mut idle).await, GroupEvent::Assigned(all) if all.len() == 1));
    fill(&client, &topic, 1, 3).await;
    drain(&mut idle, 3).await;
    idle.close().await.unwrap();
}

#[tokio::test]
async fn partitions_that_are_added_are_shared_out() {
    let client = cluster().await;
    let topic = new_topic(&client, 1).await;
    let group = unique("group");
    let mut reader = member(&client, config(&group, &topic));
    event(&mut reader).await;
    client.create_partitions(&topic, 3).await.unwrap();
    assert!(matches!(event(&mut reader).await, GroupEvent::Assigned(all) if all.len() == 3));
    fill(&client, &topic, 3, 2).await;
    drain(&mut reader, 6).await;
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_member_goes_on_when_its_topic_is_created_anew() {
    let client = cluster().await;
    let topic = new_topic(&client, 1).await;
    let group = GroupConfig {
        start: OffsetSpec::Latest,
        ..config(&unique("group"), &topic)
    };
    let mut reader = member(&client, group);
    event(&mut reader).await;
    fill(&client, &topic, 1, 5).await;
    drain(&mut reader, 5).await;
    client.delete_topic(&topic).await.unwrap();
    assert!(matches!(
        event(&mut reader).await,
        GroupEvent::TopicDeleted(_)
    ));
    let anew = NewTopic::new(&topic).partitions(1);
    client.create_topic(&anew, false).await.unwrap();
    fill(&client, &topic, 1, 4).await;
    assert!(matches!(
        event(&mut reader).await,
        GroupEvent::TopicReplaced(_)
    ));
    drain(&mut reader, 4).await;
    // What is added to the new one is noticed too, once the member has looked at it.
    let quiet = tokio::time::timeout(Duration::from_secs(2), reader.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    client.create_partitions(&topic, 3).await.unwrap();
    assert!(matches!(event(&mut reader).await, GroupEvent::Assigned(all) if all.len() == 3));
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_member_that_vanishes_is_replaced() {
    let client = cluster().await;
    let topic = new_topic(&client, 2).await;
    let group = unique("group");
    let mut first = member(&client, config(&group, &topic));
    event(&mut first).await;
    drop(first);
    let mut second = member(&client, config(&group, &topic));
    assert!(matches!(event(&mut second).await, GroupEvent::Assigned(all) if all.len() == 2));
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_static_member_comes_back_without_a_rebalance() {
    let client = cluster().await;
    let topic = new_topic(&client, 2).await;
    let group = unique("group");
    let of = |name: &str| GroupConfig {
        instance_id: Some(name.to_owned()),
        ..config(&group, &topic)
    };
    let mut first = member(&client, of("one"));
    event(&mut first).await;
    let mut second = member(&client, of("two"));
    let (_, GroupEvent::Assigned(before)) = tokio::join!(event(&mut first), event(&mut second))
    else {
        panic!("assigned");
    };
    second.close().await.unwrap();
    let mut again = member(&client, of("two"));
    let (GroupEvent::Assigned(after), quiet) = tokio::join!(
        event(&mut again),
        tokio::time::timeout(Duration::from_secs(2), first.next()),
    ) else {
        panic!("assigned");
    };
    assert_eq!(after, before);
    assert!(quiet.is_err(), "the other member is left alone");
}

#[tokio::test]
async fn part_of_a_chunk_can_be_committed() {
    let client = cluster().await;
    let topic = new_topic(&client, 1).await;
    let group = unique("group");
    fill(&client, &topic, 1, 10).await;
    let mut reader = member(&client, config(&group, &topic));
    loop {
        if let GroupEvent::Records(chunk) = event(&mut reader).await {
            reader.worked_up_to(&chunk.partition, Offset(4));
            break;
        }
    }
    reader.close().await.unwrap();
    let committed = client.group_offsets(&group, None).await.unwrap();
    assert_eq!(
        committed[&TopicPartition::new(topic.as_str(), 0)].offset,
        Offset(4)
    );
}

#[tokio::test]
async fn offsets_are_set_and_deleted_from_outside() {
    let client = cluster().await;
    let topic = new_topic(&client, 2).await;
    let group = unique("group");
    let partitions = [
        TopicPartition::new(topic.as_str(), 0),
        TopicPartition::new(topic.as_str(), 1),
    ];
    let place = |offset| CommittedOffset {
        metadata: "noted".to_owned(),
        ..CommittedOffset::new(Offset(offset))
    };
    let offsets = BTreeMap::from([
        (partitions[0].clone(), place(5)),
        (partitions[1].clone(), place(7)),
    ]);
    client.commit_group_offsets(&group, &offsets).await.unwrap();
    assert_eq!(client.group_offsets(&group, None).await.unwrap(), offsets);
    assert_eq!(
        client
            .group_offsets(&group, Some(&partitions[..1]))
            .await
            .unwrap()
            .len(),
        1
    );
    client
        .delete_group_offsets(&group, &partitions[..1])
        .await
        .unwrap();
    assert_eq!(client.group_offsets(&group, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_group_may_start_at_the_end() {
    let client = cluster().await;
    let topic = new_topic(&client, 1).await;
    fill(&client, &topic, 1, 10).await;
    let group = GroupConfig {
        start: OffsetSpec::Latest,
        ..config(&unique("group"), &topic)
    };
    let mut reader = member(&client, group);
    event(&mut reader).await;
    fill(&client, &topic, 1, 1).await;
    let GroupEvent::Records(chunk) = event(&mut reader).await else {
        panic!("records")
    };
    assert_eq!(chunk.from, Offset(10));
    reader.close().await.unwrap();
}
