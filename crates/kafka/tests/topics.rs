//! Creating, describing, altering and deleting topics.

mod support;

use millstream_broker::topics::NewTopic;
use millstream_kafka_wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicResult,
};
use millstream_kafka_wire::messages::delete_topics::DeleteTopicState;
use millstream_kafka_wire::messages::describe_configs::DescribeConfigsResource;
use millstream_kafka_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig,
};
use millstream_kafka_wire::messages::metadata::MetadataRequestTopic;
use millstream_kafka_wire::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use millstream_kafka_wire::{ConfigOperation, ConfigSource, ErrorCode, ResourceType};
use support::{Client, Served};

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor,
        ..Default::default()
    }
}

async fn create(client: &mut Client, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    client
        .call(
            &CreateTopicsRequest {
                topics,
                ..Default::default()
            },
            7,
        )
        .await
        .topics
}

#[tokio::test]
async fn topics_are_created_or_refused_each_for_its_own_reason() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let mut assigned = topic("assigned", -1, -1);
    assigned.assignments = (0..3)
        .map(|partition_index| CreatableReplicaAssignment {
            partition_index,
            broker_ids: vec![0],
        })
        .collect();
    let mut elsewhere = topic("elsewhere", -1, -1);
    elsewhere.assignments = vec![CreatableReplicaAssignment {
        partition_index: 0,
        broker_ids: vec![1],
    }];
    let mut both = assigned.clone();
    both.name = "both".into();
    both.num_partitions = 3;
    let cases = [
        (topic("three", 3, 1), ErrorCode::NONE),
        (topic("defaults", -1, -1), ErrorCode::NONE),
        (assigned, ErrorCode::NONE),
        (topic("three", 3, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        // It is there, which is what who creates what is missing wants to know.
        (topic("three", 0, 3), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("../x", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("none", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("negative", -2, 1), ErrorCode::INVALID_PARTITIONS),
        (
            topic("replicated", 1, 3),
            ErrorCode::INVALID_REPLICATION_FACTOR,
        ),
        (
            topic("replicated", 1, 0),
            ErrorCode::INVALID_REPLICATION_FACTOR,
        ),
        (elsewhere, ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (both, ErrorCode::INVALID_REQUEST),
    ];
    for (topic, expected) in cases {
        let name = topic.name.clone();
        let result = create(&mut client, vec![topic]).await.remove(0);
        assert_eq!(
            result.error_code, expected,
            "{name}: {:?}",
            result.error_message
        );
        assert_eq!(
            result.error_message.is_some(),
            expected.is_error(),
            "{name}"
        );
    }
    assert_eq!(
        client.metadata("assigned").await.topics[0].partitions.len(),
        3
    );
}

#[tokio::test]
async fn a_topic_that_is_named_twice_in_a_request_is_refused_once() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let results = create(
        &mut client,
        vec![topic("a", 1, 1), topic("b", 1, 1), topic("a", 2, 1)],
    )
    .await;
    let told: Vec<_> = results
        .iter()
        .map(|result| (&*result.name, result.error_code))
        .collect();
    assert_eq!(
        told,
        [("a", ErrorCode::INVALID_REQUEST), ("b", ErrorCode::NONE)]
    );
}

#[tokio::test]
async fn validating_creates_nothing_and_tells_what_would_be() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let request = CreateTopicsRequest {
        topics: vec![topic("maybe", 5, 1), topic("../x", 1, 1)],
        validate_only: true,
        ..Default::default()
    };
    let results = client.call(&request, 7).await.topics;
    assert_eq!(
        (results[0].error_code, results[0].num_partitions),
        (ErrorCode::NONE, 5)
    );
    assert!(!results[0].configs.as_ref().unwrap().is_empty());
    assert_eq!(results[1].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert!(served.broker.topics().is_empty());
}

#[tokio::test]
async fn a_topic_is_created_by_being_asked_for_unless_its_name_is_none() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let created = &client.metadata("fresh").await.topics[0];
    assert_eq!(
        (created.error_code, created.partitions.len()),
        (ErrorCode::NONE, 1)
    );
    let refused = &client.metadata("../x").await.topics[0];
    assert_eq!(refused.error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);

    let mut request = MetadataRequest {
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    request.topics = Some(vec![MetadataRequestTopic {
        name: Some("other".into()),
        ..Default::default()
    }]);
    let unknown = client.call(&request, 12).await.topics.remove(0);
    assert_eq!(unknown.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn metadata_tells_all_or_none_as_its_version_says() {
    let served = Served::start().await;
    served.memory_topic("a", 2).await;
    served.memory_topic("b", 1).await;
    let mut client = served.client().await;
    let empty = MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    };
    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(
        client.call(&empty, 0).await.topics.len(),
        2,
        "version 0 has no other way to say all"
    );
    assert_eq!(client.call(&empty, 1).await.topics.len(), 0);
    for version in 1..=13 {
        let response = client.call(&all, version).await;
        assert_eq!(response.topics.len(), 2, "version {version}");
        assert_eq!(response.brokers.len(), 1, "version {version}");
        assert_eq!(response.controller_id, 0, "version {version}");
        assert_eq!(response.topics[0].partitions.len(), 2, "version {version}");
    }
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let served = Served::start().await;
    served.memory_topic("a", 1).await;
    served.memory_topic("b", 1).await;
    let mut client = served.client().await;
    let id = client.metadata("b").await.topics[0].topic_id;
    let topics = vec![
        DeleteTopicState {
            name: Some("a".into()),
            ..Default::default()
        },
        DeleteTopicState {
            name: None,
            topic_id: id,
        },
        DeleteTopicState {
            name: None,
            topic_id: uuid::Uuid::from_u128(9),
        },
        DeleteTopicState {
            name: Some("c".into()),
            ..Default::default()
        },
        DeleteTopicState::default(),
    ];
    let results = client
        .call(
            &DeleteTopicsRequest {
                topics,
                ..Default::default()
            },
            6,
        )
        .await
        .responses;
    let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
    let expected = [
        ErrorCode::NONE,
        ErrorCode::NONE,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::INVALID_REQUEST,
    ];
    assert_eq!(codes, expected);
    assert!(served.broker.topics().is_empty());
}

async fn described(client: &mut Client, topic: &str) -> Vec<(String, String, ConfigSource)> {
    described_of(client, topic, None).await
}

/// Those settings of a topic, or all.
async fn described_of(
    client: &mut Client,
    topic: &str,
    keys: Option<&[&str]>,
) -> Vec<(String, String, ConfigSource)> {
    let resource = DescribeConfigsResource {
        resource_type: ResourceType::TOPIC,
        resource_name: topic.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    let result = client.call(&request, 4).await.results.remove(0);
    assert_eq!(result.error_code, ErrorCode::NONE);
    let configs = result.configs.into_iter();
    configs
        .map(|config| {
            (
                config.name.to_string(),
                config.value.unwrap().to_string(),
                config.config_source,
            )
        })
        .collect()
}

/// Other protocols give topics names that Kafka would not: they are administered like all others.
#[tokio::test]
async fn a_topic_whose_name_is_not_kafkas_is_administered_too() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let alter = |name: &str| IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: ResourceType::TOPIC,
            resource_name: name.into(),
            configs: vec![AlterableConfig {
                name: "retention.ms".into(),
                config_operation: ConfigOperation::SET,
                value: Some("60000".into()),
            }],
        }],
        ..Default::default()
    };
    for name in ["../x", "a b/ü", "mail jobs.dead"] {
        let topic = NewTopic {
            name: name.into(),
            ..NewTopic::default()
        };
        served.broker.create_topic(topic).await.unwrap();
        let altered = client.call(&alter(name), 1).await.responses.remove(0);
        assert_eq!(altered.error_code, ErrorCode::NONE, "{name}");
        let described = described_of(&mut client, name, Some(&["retention.ms"])).await;
        assert_eq!(described[0].1, "60000", "{name}");
    }
    for (name, code) in [
        ("../y", ErrorCode::INVALID_TOPIC_EXCEPTION),
        ("y", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let altered = client.call(&alter(name), 1).await.responses.remove(0);
        assert_eq!(altered.error_code, code, "{name}");
    }
}

#[tokio::test]
async fn settings_are_changed_and_described_with_their_source() {
    let served = Served::start().await;
    served
        .topic("t", 1, &[("millstream.durability", "os")])
        .await;
    let mut client = served.client().await;
    let alter = |key: &str, config_operation, value: Option<&str>| IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: ResourceType::TOPIC,
            resource_name: "t".into(),
            configs: vec![AlterableConfig {
                name: key.into(),
                config_operation,
                value: value.map(Into::into),
            }],
        }],
        ..Default::default()
    };
    let cases = [
        (
            "retention.ms",
            ConfigOperation::SET,
            Some("1000"),
            ErrorCode::NONE,
        ),
        (
            "cleanup.policy",
            ConfigOperation::APPEND,
            Some("compact"),
            ErrorCode::NONE,
        ),
        (
            "retention.ms",
            ConfigOperation::SET,
            Some("soon"),
            ErrorCode::INVALID_CONFIG,
        ),
        (
            "retention.ms",
            ConfigOperation::SET,
            None,
            ErrorCode::INVALID_REQUEST,
        ),
        (
            "retention.ms",
            ConfigOperation::APPEND,
            Some("1"),
            ErrorCode::INVALID_CONFIG,
        ),
        (
            "retentoin.ms",
            ConfigOperation::SET,
            Some("1"),
            ErrorCode::INVALID_CONFIG,
        ),
    ];
    for (key, operation, value, expected) in cases {
        let response = client.call(&alter(key, operation, value), 1).await;
        let result = &response.responses[0];
        assert_eq!(
            result.error_code, expected,
            "{key} {value:?}: {:?}",
            result.error_message
        );
    }
    let configs = described(&mut client, "t").await;
    assert_eq!(described_of(&mut client, "t", Some(&[])).await, configs);
    let two = described_of(&mut client, "t", Some(&["segment.bytes", "retention.ms"])).await;
    assert_eq!(two.len(), 2);
    let find = |key: &str| {
        configs
            .iter()
            .find(|(name, ..)| name == key)
            .cloned()
            .unwrap()
    };
    assert_eq!(find("retention.ms").1, "1000");
    assert_eq!(find("retention.ms").2, ConfigSource::TOPIC_CONFIG);
    assert_eq!(find("cleanup.policy").1, "delete,compact");
    assert_eq!(find("segment.bytes").2, ConfigSource::DEFAULT_CONFIG);
    assert_eq!(find("millstream.durability").1, "os");
}

#[tokio::test]
async fn partitions_are_described_a_page_at_a_time() {
    let served = Served::start().await;
    served.memory_topic("a", 3).await;
    served.memory_topic("b", 4).await;
    let mut client = served.client().await;
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 2,
            cursor,
            ..Default::default()
        };
        let response = client.call(&request, 0).await;
        for topic in &response.topics {
            let name = topic.name.clone().unwrap();
            pages.extend(
                topic
                    .partitions
                    .iter()
                    .map(|partition| format!("{name}{}", partition.partition_index)),
            );
        }
        cursor = response.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["a0", "a1", "a2", "b0", "b1", "b2", "b3"]);
}
