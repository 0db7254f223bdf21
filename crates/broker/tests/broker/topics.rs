//! Topics come, change and go.

use millstream_broker::topics::NewTopic;
use millstream_broker::{SettingError, TopicId};

use super::*;

fn names(broker: &Broker) -> Vec<String> {
    broker
        .topics()
        .iter()
        .map(|topic| topic.name().to_string())
        .collect()
}

#[tokio::test]
async fn topics_are_found_by_name_and_id_and_listed_in_order() {
    let server = Server::start().await;
    let b = server.topic("b", 3, &[]).await;
    let a = server
        .broker
        .create_topic(NewTopic::named("a"))
        .await
        .unwrap();
    assert_eq!(names(&server.broker), ["a", "b"]);
    assert_eq!((a.partition_count(), b.partition_count()), (1, 3));
    assert_eq!(server.broker.topic("b").unwrap().id(), b.id());
    assert_eq!(
        server.broker.topic_by_id(a.id()).unwrap().name().as_str(),
        "a"
    );
    assert!(server.broker.topic("c").is_none());
    assert!(b.partition(2).is_some() && b.partition(3).is_none());
}

#[tokio::test]
async fn a_check_tells_what_would_be_and_creates_nothing() {
    let server = Server::start().await;
    let plan = server
        .broker
        .check_create(&new_topic("a", 7, &[("retention.ms", "5")]))
        .unwrap();
    assert_eq!((plan.name.as_str(), plan.partition_count), ("a", 7));
    assert_eq!(plan.settings.values().retention_ms, Some(5));
    assert!(server.broker.topics().is_empty());
    let plan = server.broker.check_create(&NewTopic::named("a")).unwrap();
    assert_eq!(
        plan.partition_count,
        server.broker.settings().default_partitions
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    let server = Server::start().await;
    server.topic("a", 1, &[]).await;
    let refused = async |new: NewTopic| {
        let checked = server.broker.check_create(&new).unwrap_err().to_string();
        let error = server.broker.create_topic(new).await.unwrap_err();
        assert_eq!(checked, error.to_string());
        error
    };
    assert!(matches!(
        refused(new_topic("a", 1, &[])).await,
        BrokerError::TopicExists(_)
    ));
    assert!(matches!(
        refused(new_topic("", 1, &[])).await,
        BrokerError::InvalidTopicName(_)
    ));
    assert!(matches!(
        refused(new_topic("b", 0, &[])).await,
        BrokerError::InvalidPartitionCount(_)
    ));
    assert!(matches!(
        refused(new_topic("b", u32::MAX, &[])).await,
        BrokerError::InvalidPartitionCount(_)
    ));
    let unknown = refused(new_topic("b", 1, &[("no.such.setting", "1")])).await;
    assert!(matches!(
        unknown,
        BrokerError::InvalidSetting(SettingError::Unknown { .. })
    ));
    assert_eq!(names(&server.broker), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_number_may_ensure_a_topic_at_once() {
    let server = Server::start().await;
    let asked: Vec<_> = (0..32)
        .map(|_| {
            let broker = server.broker.clone();
            tokio::spawn(async move { broker.ensure_topic("a").await.unwrap().id() })
        })
        .collect();
    let mut ids = Vec::new();
    for task in asked {
        ids.push(task.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids, [server.broker.topic("a").unwrap().id()]);
}

#[tokio::test]
async fn a_topic_grows_under_its_handles() {
    let server = Server::start().await;
    let topic = server.topic("a", 1, &[]).await;
    let first = topic.partition(0).unwrap();
    server.publish(&first, &["x"]).await;
    let fewer = server
        .broker
        .add_partitions(topic.id(), 1)
        .await
        .unwrap_err();
    assert!(matches!(fewer, BrokerError::InvalidPartitionCount(_)));
    assert!(server.broker.check_add_partitions(topic.id(), 3).is_ok());
    assert_eq!(topic.partition_count(), 1);

    server.broker.add_partitions(topic.id(), 3).await.unwrap();
    assert_eq!(topic.partition_count(), 3);
    server.publish(&topic.partition(2).unwrap(), &["y"]).await;
    assert_eq!(server.values(&first, 0).await, ["x"]);
    assert_eq!(server.values(&topic.partition(2).unwrap(), 0).await, ["y"]);
}

#[tokio::test]
async fn altered_settings_act_at_once() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    let id = partition.topic().id();
    let small = [set("max.message.bytes", "70")];
    assert_eq!(
        server
            .broker
            .check_alter(id, &small)
            .unwrap()
            .values()
            .max_message_bytes,
        70
    );
    server.publish(&partition, &["a value"]).await;

    server.broker.alter_topic(id, &small).await.unwrap();
    let error = server
        .append(&partition, batch(&["a value"]))
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::InvalidBatch(_)), "{error}");

    server
        .broker
        .replace_topic_settings(id, BTreeMap::new())
        .await
        .unwrap();
    assert_eq!(partition.topic().current().settings.set().count(), 0);
    server.publish(&partition, &["a value"]).await;
}

#[tokio::test]
async fn a_refused_alteration_changes_nothing() {
    let server = Server::start().await;
    let topic = server.topic("a", 1, &[("retention.ms", "5")]).await;
    for bad in [
        set("retention.ms", "x"),
        set("millstream.durability", "os"),
        set("remote.storage.enable", "true"),
        set("no.such.setting", "1"),
    ] {
        let changes = [set("retention.ms", "6"), bad];
        let checked = server
            .broker
            .check_alter(topic.id(), &changes)
            .unwrap_err()
            .to_string();
        let error = server
            .broker
            .alter_topic(topic.id(), &changes)
            .await
            .unwrap_err();
        assert!(matches!(error, BrokerError::InvalidSetting(_)));
        assert_eq!(error.to_string(), checked);
        assert_eq!(topic.current().settings.values().retention_ms, Some(5));
    }
}

#[tokio::test]
async fn what_is_deleted_refuses() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        let old = partition.topic().id();
        server.publish(&partition, &["x"]).await;
        server.broker.delete_topic(old).await.unwrap();

        assert!(server.broker.topic("a").is_none() && server.broker.topic_by_id(old).is_none());
        assert!(partition.is_deleted());
        let gone =
            |result: Result<_, BrokerError>| matches!(result, Err(BrokerError::UnknownPartition));
        assert!(gone(
            server.append(&partition, batch(&["y"])).await.map(drop)
        ));
        assert!(gone(server.fetch(&partition, 0).await.map(drop)));
        let again = server.broker.delete_topic(old).await;
        assert!(matches!(again, Err(BrokerError::UnknownTopic)));

        let new = server.partition("a", kind).await;
        assert_ne!(new.topic().id(), old);
        assert!(server.values(&new, 0).await.is_empty());
    }
}

#[tokio::test]
async fn changes_to_no_topic_are_refused() {
    let server = Server::start().await;
    let id = TopicId::from_random([1; 16]);
    assert!(matches!(
        server.broker.add_partitions(id, 2).await,
        Err(BrokerError::UnknownTopic)
    ));
    assert!(matches!(
        server.broker.alter_topic(id, &[]).await,
        Err(BrokerError::UnknownTopic)
    ));
    assert!(matches!(
        server
            .broker
            .replace_topic_settings(id, BTreeMap::new())
            .await,
        Err(BrokerError::UnknownTopic)
    ));
}
