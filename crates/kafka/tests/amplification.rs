//! A small request cannot ask for gigabytes: what it names again is answered once, and no answer is without a bound.

mod support;

use millstream_kafka_wire::messages::create_topics::CreatableTopic;
use millstream_kafka_wire::messages::describe_configs::DescribeConfigsResource;
use millstream_kafka_wire::messages::describe_log_dirs::DescribableLogDirTopic;
use millstream_kafka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millstream_kafka_wire::messages::{
    CreateTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    FetchRequest, FindCoordinatorRequest, OffsetFetchRequest,
};
use millstream_kafka_wire::{ResourceType, Str};
use support::{Served, batch, closed, fetch_request};

/// The items as a request names them, a hundred times over.
fn repeated<T: Clone>(items: &[T]) -> Vec<T> {
    (0..100).flat_map(|_| items.to_vec()).collect()
}

#[tokio::test]
async fn groups() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let names = repeated(&[Str::from_static("a"), Str::from_static("b")]);

    let request = DescribeGroupsRequest {
        groups: names.clone(),
        ..Default::default()
    };
    let described = client.call(&request, 5).await.groups;
    let described: Vec<_> = described.iter().map(|group| &*group.group_id).collect();
    assert_eq!(described, ["a", "b"]);

    let request = FindCoordinatorRequest {
        coordinator_keys: names,
        ..Default::default()
    };
    let found = client.call(&request, 4).await.coordinators;
    let found: Vec<_> = found.iter().map(|coordinator| &*coordinator.key).collect();
    assert_eq!(found, ["a", "b"]);
}

#[tokio::test]
async fn committed_offsets() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let everything = OffsetFetchRequestGroup {
        group_id: "a".into(),
        topics: None,
        ..Default::default()
    };
    let request = OffsetFetchRequest {
        groups: repeated(&[everything]),
        ..Default::default()
    };
    assert_eq!(client.call(&request, 8).await.groups.len(), 1);

    let topic = |name: &str, partitions: &[i32]| OffsetFetchRequestTopics {
        name: name.into(),
        partition_indexes: repeated(partitions),
        ..Default::default()
    };
    let named = OffsetFetchRequestGroup {
        group_id: "a".into(),
        topics: Some(vec![
            topic("t", &[0, 1]),
            topic("t", &[1, 2]),
            topic("u", &[1]),
        ]),
        ..Default::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![named],
        ..Default::default()
    };
    let told = client.call(&request, 8).await.groups.remove(0).topics;
    let told = told.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (&*topic.name, partition.partition_index))
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("t", 0), ("t", 1), ("t", 2), ("u", 1)]);

    let topic = OffsetFetchRequestTopic {
        name: "t".into(),
        partition_indexes: repeated(&[3]),
    };
    let request = OffsetFetchRequest {
        group_id: "a".into(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let told = client.call(&request, 7).await.topics;
    assert_eq!(told[0].partitions.len(), 1);
}

/// The same resource with other keys is another question.
#[tokio::test]
async fn configurations() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    let resource = |keys: &[&'static str]| DescribeConfigsResource {
        resource_type: ResourceType::TOPIC,
        resource_name: "t".into(),
        configuration_keys: Some(keys.iter().map(|key| Str::from_static(key)).collect()),
    };
    let questions = [resource(&["retention.ms"]), resource(&["retention.bytes"])];
    let request = DescribeConfigsRequest {
        resources: repeated(&questions),
        ..Default::default()
    };
    let results = client.call(&request, 4).await.results;
    let told: Vec<_> = results
        .iter()
        .flat_map(|result| &result.configs)
        .map(|config| (&*config.name, config.synonyms.len(), &config.documentation))
        .collect();
    assert_eq!(
        told,
        [("retention.ms", 0, &None), ("retention.bytes", 0, &None)]
    );
}

#[tokio::test]
async fn partitions() {
    let served = Served::start().await;
    served.memory_topic("t", 3).await;
    let mut client = served.client().await;
    client.produce("t", 0, batch(&["a"])).await;

    let topic = |partitions: &[i32]| DescribableLogDirTopic {
        topic: "t".into(),
        partitions: partitions.to_vec(),
    };
    let request = DescribeLogDirsRequest {
        topics: Some(repeated(&[topic(&[0]), topic(&[2, 2])])),
    };
    let told = client.call(&request, 4).await.results.remove(0).topics;
    assert_eq!(told.len(), 1);
    let told: Vec<_> = told[0]
        .partitions
        .iter()
        .map(|partition| partition.partition_index)
        .collect();
    assert_eq!(told, [0, 2]);

    let fetch = fetch_request("t", 0);
    let request = FetchRequest {
        topics: repeated(&fetch.topics),
        ..fetch
    };
    let told = client.call(&request, 11).await.responses;
    assert_eq!((told.len(), told[0].partitions.len()), (1, 1));
}

/// What each of the topics would be created with is some kilobytes.
#[tokio::test]
async fn an_answer_that_is_too_large_is_none() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let topic = |number: usize| CreatableTopic {
        name: number.to_string().into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let mut request = CreateTopicsRequest {
        topics: (0..100_000).map(topic).collect(),
        validate_only: true,
        ..Default::default()
    };
    client.send(&request, 7).await;
    assert_eq!(closed(&mut client.socket).await, b"");

    let mut client = served.client().await;
    request.topics.truncate(1_000);
    assert_eq!(client.call(&request, 7).await.topics.len(), 1_000);
}
