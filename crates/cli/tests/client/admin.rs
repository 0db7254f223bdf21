//! Looking at a cluster and changing it.

use std::time::Duration;

use millstream_client::{
    Client, ClientConfig, ClientError, ConfigChange, NewTopic, OffsetSpec, Producer,
    ProducerConfig, Resource, TopicPartition,
};
use millstream_kafka_wire::ErrorCode;
use millstream_record::Offset;

use crate::{cluster, new_topic, record, unique};

#[tokio::test]
async fn topics_come_grow_and_go() {
    let client = cluster().await;
    let name = unique("topic");
    let new = NewTopic::new(&name)
        .partitions(2)
        .config("retention.ms", "60000");
    client.create_topic(&new, true).await.unwrap();
    assert!(matches!(
        client.topic(&name).await,
        Err(ClientError::NoSuchTopic(_))
    ));

    client.create_topic(&new, false).await.unwrap();
    let topic = client.topic(&name).await.unwrap();
    assert_eq!(topic.partitions.len(), 2);
    assert!(!topic.id.is_nil());
    let again = client.create_topic(&new, false).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));

    client.create_partitions(&name, 5).await.unwrap();
    assert_eq!(client.topic(&name).await.unwrap().partitions.len(), 5);
    let fewer = client.create_partitions(&name, 1).await.unwrap_err();
    assert_eq!(fewer.code(), Some(ErrorCode::INVALID_PARTITIONS));

    assert!(
        client
            .topics()
            .await
            .unwrap()
            .iter()
            .any(|topic| *topic.name == name)
    );
    client.delete_topic(&name).await.unwrap();
    let gone = client.delete_topic(&name).await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

/// Waits until `retention.ms` has this value of its own; a broker may hear of a change a little after it was made.
async fn expect_value(client: &Client, resource: &Resource, expected: Option<&str>) {
    for _ in 0..50 {
        let entries = client.describe_configs(resource).await.unwrap();
        let entry = entries
            .iter()
            .find(|entry| entry.name == "retention.ms")
            .unwrap();
        let own = entry.value.as_deref().filter(|_| entry.is_set_on_topic());
        if own == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("retention.ms does not become {expected:?}");
}

#[tokio::test]
async fn settings_are_described_and_changed() {
    let client = cluster().await;
    let name = new_topic(&client, 1).await;
    let resource = Resource::Topic(name);
    let set = ConfigChange::Set("retention.ms".to_owned(), "123456".to_owned());
    client
        .alter_configs(&resource, std::slice::from_ref(&set), true)
        .await
        .unwrap();
    expect_value(&client, &resource, None).await;
    client
        .alter_configs(&resource, &[set], false)
        .await
        .unwrap();
    expect_value(&client, &resource, Some("123456")).await;
    let unset = ConfigChange::Unset("retention.ms".to_owned());
    client
        .alter_configs(&resource, &[unset], false)
        .await
        .unwrap();
    expect_value(&client, &resource, None).await;

    let wrong = ConfigChange::Set("retention.ms".to_owned(), "soon".to_owned());
    let error = client
        .alter_configs(&resource, &[wrong], false)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::INVALID_CONFIG));
}

#[tokio::test]
async fn records_are_deleted_and_room_is_counted() {
    let client = cluster().await;
    let name = new_topic(&client, 1).await;
    let partition = TopicPartition::new(name.as_str(), 0);
    let producer = Producer::start(&client, ProducerConfig::default())
        .await
        .unwrap();
    for _ in 0..10 {
        producer
            .send(&name, None, &record(None, Some("x"), -1))
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();

    let dirs = client.log_dirs().await.unwrap();
    assert!(dirs.iter().any(|dir| {
        dir.partitions
            .get(&partition)
            .is_some_and(|&bytes| bytes > 0)
    }));

    assert_eq!(
        client
            .delete_records(&partition, Some(Offset(4)))
            .await
            .unwrap(),
        Offset(4)
    );
    let start = client
        .topic_offsets(&name, OffsetSpec::Earliest)
        .await
        .unwrap();
    assert_eq!(start[0].1.offset, Some(Offset(4)));
    assert_eq!(
        client.delete_records(&partition, None).await.unwrap(),
        Offset(10)
    );
    let beyond = client
        .delete_records(&partition, Some(Offset(99)))
        .await
        .unwrap_err();
    assert_eq!(beyond.code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let client = cluster().await;
    let missing = unique("missing");
    let error = client.topic(&missing).await.unwrap_err();
    assert!(error.to_string().contains(&missing));
    let name = new_topic(&client, 2).await;
    let error = client
        .list_offsets(&[(TopicPartition::new(name, 7), OffsetSpec::Latest)])
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ClientError::NoSuchPartition {
            partition: 7,
            partitions: 2,
            ..
        }
    ));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_at_once() {
    let error = Client::connect(ClientConfig::new("127.0.0.1:1"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ClientError::Connect { address, .. } if address == "127.0.0.1:1"),
        "{error}"
    );
}
