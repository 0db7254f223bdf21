//! Committing, fetching and deleting offsets.

use millstream_kafka_wire::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_kafka_wire::messages::offset_delete::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millstream_kafka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millstream_kafka_wire::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};
use millstream_kafka_wire::{ErrorCode, Str};
use uuid::Uuid;

use super::lead;
use super::support::{Client, Served};

/// One topic, by its name and its id.
struct Topic {
    name: &'static str,
    id: Uuid,
}

async fn topic(served: &Served, name: &'static str) -> Topic {
    served.memory_topic(name, 2).await;
    Topic {
        name,
        id: served.broker.topic(name).unwrap().id().0,
    }
}

const NOWHERE: Topic = Topic {
    name: "nowhere",
    id: Uuid::from_u128(7),
};

/// Commits offset 10 times the partition, plus `version`, in some partitions.
fn commit_request(group: &str, topics: &[(&Topic, &[i32])], version: i16) -> OffsetCommitRequest {
    let partition = |index: &i32| OffsetCommitRequestPartition {
        partition_index: *index,
        committed_offset: i64::from(*index) * 10 + i64::from(version),
        committed_leader_epoch: if version >= 6 { 0 } else { -1 },
        committed_metadata: Some("note".into()),
    };
    let topic = |(topic, partitions): &(&Topic, &[i32])| OffsetCommitRequestTopic {
        name: if version < 10 {
            topic.name.into()
        } else {
            Str::default()
        },
        topic_id: if version < 10 { Uuid::nil() } else { topic.id },
        partitions: partitions.iter().map(partition).collect(),
    };
    OffsetCommitRequest {
        group_id: group.into(),
        topics: topics.iter().map(topic).collect(),
        ..Default::default()
    }
}

fn codes(response: &OffsetCommitResponse) -> Vec<ErrorCode> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

/// Fetches at a version before 8.
fn fetch_one(group: &str, topics: Option<&[(&Topic, &[i32])]>) -> OffsetFetchRequest {
    let topic = |(topic, partitions): &(&Topic, &[i32])| OffsetFetchRequestTopic {
        name: topic.name.into(),
        partition_indexes: partitions.to_vec(),
    };
    OffsetFetchRequest {
        group_id: group.into(),
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
        ..Default::default()
    }
}

/// Fetches at a version from 8 on.
fn fetch_several(
    groups: &[&str],
    topics: Option<&[(&Topic, &[i32])]>,
    version: i16,
) -> OffsetFetchRequest {
    let topic = |(topic, partitions): &(&Topic, &[i32])| OffsetFetchRequestTopics {
        name: if version < 10 {
            topic.name.into()
        } else {
            Str::default()
        },
        topic_id: if version < 10 { Uuid::nil() } else { topic.id },
        partition_indexes: partitions.to_vec(),
    };
    let group = |group: &&str| OffsetFetchRequestGroup {
        group_id: (*group).into(),
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
        ..Default::default()
    };
    OffsetFetchRequest {
        groups: groups.iter().map(group).collect(),
        ..Default::default()
    }
}

/// Offset and error of every partition, whichever form the response has.
fn offsets(response: &OffsetFetchResponse) -> Vec<(i64, ErrorCode)> {
    let one = response.topics.iter().flat_map(|topic| &topic.partitions);
    let several = response
        .groups
        .iter()
        .flat_map(|group| &group.topics)
        .flat_map(|topic| &topic.partitions);
    one.map(|partition| (partition.committed_offset, partition.error_code))
        .chain(several.map(|partition| (partition.committed_offset, partition.error_code)))
        .collect()
}

#[tokio::test]
async fn offsets_are_kept_at_every_version() {
    let served = Served::start().await;
    let topic = topic(&served, "t").await;
    let mut client = served.client().await;
    for version in 2..=10 {
        let request = commit_request("g", &[(&topic, &[0, 1])], version);
        let response: OffsetCommitResponse = client.call(&request, version).await;
        assert_eq!(
            codes(&response),
            [ErrorCode::NONE; 2],
            "{version}: {response:?}"
        );
        let fetched: OffsetFetchResponse = client
            .call(&fetch_one("g", Some(&[(&topic, &[1, 0])])), 7)
            .await;
        let kept = [
            (10 + i64::from(version), ErrorCode::NONE),
            (i64::from(version), ErrorCode::NONE),
        ];
        assert_eq!(offsets(&fetched), kept);
    }
    let none = (-1, ErrorCode::NONE);
    let kept = (10, ErrorCode::NONE);
    let asked: &[(&Topic, &[i32])] = &[(&topic, &[0, 5]), (&NOWHERE, &[0])];
    for version in 1..=7 {
        let fetched: OffsetFetchResponse = client.call(&fetch_one("g", Some(asked)), version).await;
        assert_eq!(offsets(&fetched), [kept, none, none], "{version}");
        let partition = &fetched.topics[0].partitions[0];
        assert_eq!(partition.metadata.as_deref(), Some("note"));
        assert_eq!(
            partition.committed_leader_epoch,
            if version >= 5 { 0 } else { -1 }
        );
        if version >= 2 {
            let all: OffsetFetchResponse = client.call(&fetch_one("g", None), version).await;
            assert_eq!(offsets(&all), [kept, (20, ErrorCode::NONE)]);
        }
    }
    for version in 8..=10 {
        let request = fetch_several(&["g", "nobody"], Some(asked), version);
        let fetched: OffsetFetchResponse = client.call(&request, version).await;
        let no_topic = if version < 10 {
            none
        } else {
            (-1, ErrorCode::UNKNOWN_TOPIC_ID)
        };
        assert_eq!(
            offsets(&fetched),
            [kept, none, no_topic, none, none, no_topic],
            "{version}"
        );
        assert_eq!(
            fetched.groups[0].topics[0].topic_id,
            if version < 10 { Uuid::nil() } else { topic.id }
        );
        let request = fetch_several(&["g", "nobody"], None, version);
        let all: OffsetFetchResponse = client.call(&request, version).await;
        assert_eq!(offsets(&all), [kept, (20, ErrorCode::NONE)]);
        assert_eq!(
            &*all.groups[0].topics[0].name,
            if version < 10 { "t" } else { "" }
        );
    }
}

#[tokio::test]
async fn each_partition_has_its_own_error() {
    let served = Served::start().await;
    let topic = topic(&served, "t").await;
    let mut client = served.client().await;
    for (version, no_topic) in [
        (2, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (9, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (10, ErrorCode::UNKNOWN_TOPIC_ID),
    ] {
        let mut request =
            commit_request("g", &[(&NOWHERE, &[0]), (&topic, &[0, 2, -1, 1])], version);
        request.topics[1].partitions[3].committed_metadata = Some("m".repeat(5_000).into());
        let response: OffsetCommitResponse = client.call(&request, version).await;
        let no_partition = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let expected = [
            no_topic,
            ErrorCode::NONE,
            no_partition,
            no_partition,
            ErrorCode::OFFSET_METADATA_TOO_LARGE,
        ];
        assert_eq!(codes(&response), expected, "{version}");
    }
}

/// Commits in the name of `member` and returns the code of the partition that is there.
async fn commit(
    client: &mut Client,
    topic: &Topic,
    group: &str,
    member: (&str, i32),
    version: i16,
) -> ErrorCode {
    let mut request = commit_request(group, &[(topic, &[0]), (&NOWHERE, &[0])], version);
    request.member_id = member.0.into();
    request.generation_id_or_member_epoch = member.1;
    let response: OffsetCommitResponse = client.call(&request, version).await;
    assert!(
        codes(&response)[1].is_error(),
        "a partition that is not there has an error of its own"
    );
    codes(&response)[0]
}

#[tokio::test]
async fn only_members_commit_for_a_group_that_has_some() {
    let served = Served::start().await;
    let topic = topic(&served, "t").await;
    let mut client = served.client().await;
    let joined = lead(&mut client, "g", &["t"]).await;
    let id = &*joined.member_id;
    assert_eq!(
        commit(&mut client, &topic, "g", (id, 1), 9).await,
        ErrorCode::NONE
    );
    assert_eq!(
        commit(&mut client, &topic, "g", (id, 0), 9).await,
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        commit(&mut client, &topic, "g", ("stranger", 1), 9).await,
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        commit(&mut client, &topic, "g", ("", -1), 9).await,
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        commit(&mut client, &topic, "nobody", (id, 1), 8).await,
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        commit(&mut client, &topic, "nobody", (id, 1), 9).await,
        ErrorCode::GROUP_ID_NOT_FOUND
    );
    assert_eq!(
        commit(&mut client, &topic, "nobody", ("", -1), 9).await,
        ErrorCode::NONE
    );
}

#[tokio::test]
async fn offsets_that_nobody_needs_are_deleted() {
    let served = Served::start().await;
    let (read, unread) = (topic(&served, "read").await, topic(&served, "unread").await);
    let mut client = served.client().await;
    let request = commit_request("g", &[(&read, &[0]), (&unread, &[0, 1])], 9);
    let _: OffsetCommitResponse = client.call(&request, 9).await;
    lead(&mut client, "g", &["read"]).await;

    let topic = |topic: &Topic, partitions: &[i32]| OffsetDeleteRequestTopic {
        name: topic.name.into(),
        partitions: partitions
            .iter()
            .map(|&partition_index| OffsetDeleteRequestPartition { partition_index })
            .collect(),
    };
    let topics = vec![
        topic(&read, &[0]),
        topic(&NOWHERE, &[0]),
        topic(&unread, &[1, 9]),
    ];
    let mut request = OffsetDeleteRequest {
        group_id: "g".into(),
        topics,
    };
    let response: OffsetDeleteResponse = client.call(&request, 0).await;
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let codes: Vec<_> = partitions.map(|partition| partition.error_code).collect();
    let no_partition = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(
        codes,
        [
            ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
            no_partition,
            ErrorCode::NONE,
            no_partition
        ]
    );

    let all: OffsetFetchResponse = client.call(&fetch_one("g", None), 7).await;
    assert_eq!(offsets(&all).len(), 2);
    request.group_id = "nobody".into();
    let nobody: OffsetDeleteResponse = client.call(&request, 0).await;
    assert_eq!(nobody.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
}
