//! What a restart keeps.

use millstream_broker::OpenError;
use millstream_broker::streams::DeleteBefore;

use super::*;

#[tokio::test]
async fn topics_records_and_settings_are_there_again() {
    let server = Server::start().await;
    let cluster = server.broker.cluster_id().to_owned();
    let topic = server
        .topic("a", 2, &[("retention.bytes", "1000000")])
        .await;
    let (id, created_ms) = (topic.id(), topic.created_ms());
    server
        .publish(&topic.partition(1).unwrap(), &["0", "1", "2"])
        .await;
    server
        .broker
        .delete_records(
            &topic.partition(1).unwrap(),
            DeleteBefore::Offset(Offset(1)),
        )
        .await
        .unwrap();
    server
        .broker
        .alter_topic(id, &[set("segment.ms", "70000")])
        .await
        .unwrap();
    server.broker.add_partitions(id, 3).await.unwrap();
    let gone = server.topic("gone", 1, &[]).await;
    server.broker.delete_topic(gone.id()).await.unwrap();
    drop((topic, gone));

    let server = server.restart().await;
    assert_eq!(server.broker.cluster_id(), cluster);
    assert_eq!(cluster.len(), 22);
    let topic = server.broker.topic_by_id(id).unwrap();
    assert_eq!(
        (
            topic.name().as_str(),
            topic.partition_count(),
            topic.created_ms()
        ),
        ("a", 3, created_ms)
    );
    let set: Vec<_> = topic
        .current()
        .settings
        .set()
        .map(|(key, value)| (key, value.to_owned()))
        .collect();
    assert_eq!(
        set,
        [
            ("retention.bytes", "1000000".to_owned()),
            ("segment.ms", "70000".to_owned())
        ]
    );
    let partition = topic.partition(1).unwrap();
    assert_eq!(server.values(&partition, 1).await, ["1", "2"]);
    assert_eq!(partition.offsets().log_start, Offset(1));
    server.publish(&partition, &["3"]).await;
    assert_eq!(server.values(&partition, 3).await, ["3"]);
    assert!(server.broker.topic("gone").is_none());
    assert_eq!(server.broker.topics().len(), 1);
}

#[tokio::test]
async fn a_producer_goes_on_where_it_was() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    let (id, _) = server.broker.init_producer_id().await.unwrap();
    for sequence in 0..3 {
        server
            .append(&partition, batch_by(id, 0, sequence, &["x"]))
            .await
            .unwrap();
    }
    drop(partition);
    let server = server.restart().await;
    let partition = server.broker.topic("a").unwrap().partition(0).unwrap();
    let again = server
        .append(&partition, batch_by(id, 0, 2, &["x"]))
        .await
        .unwrap();
    assert_eq!((again.base_offset, again.duplicate), (Offset(2), true));
    let next = server
        .append(&partition, batch_by(id, 0, 3, &["x"]))
        .await
        .unwrap();
    assert_eq!((next.base_offset, next.duplicate), (Offset(3), false));
}

#[tokio::test]
async fn a_memory_topic_is_empty_again_and_its_offsets_go_on() {
    let server = Server::start().await;
    let partition = server
        .partition("a", &[("millstream.durability", "memory")])
        .await;
    server.publish(&partition, &["0", "1"]).await;
    let before = partition.offsets();
    drop(partition);
    let server = server.restart().await;
    let partition = server.broker.topic("a").unwrap().partition(0).unwrap();
    let after = partition.offsets();
    assert_eq!(after.log_start, after.log_end);
    assert!(
        after.log_start >= before.log_end,
        "no offset is used twice: {after:?}"
    );
    let appended = server.append(&partition, batch(&["2"])).await.unwrap();
    assert_eq!(appended.base_offset, after.log_start);
    assert!(matches!(
        server.fetch(&partition, 0).await,
        Err(BrokerError::OffsetOutOfRange { .. })
    ));
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let server = Server::start().await;
    let second = Broker::open(BrokerSettings::new(server.directory.path()), Env::real()).await;
    assert!(matches!(second, Err(OpenError::Store(_))), "{second:?}");
}

#[tokio::test]
async fn a_topic_without_partitions_by_default_cannot_be_configured() {
    let directory = tempfile::tempdir().unwrap();
    let settings = BrokerSettings {
        default_partitions: 0,
        ..BrokerSettings::new(directory.path())
    };
    let refused = Broker::open(settings, Env::real()).await;
    assert!(matches!(refused, Err(OpenError::Setting { .. })));
}

#[tokio::test]
async fn after_shutdown_nothing_is_taken() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    server.broker.shutdown().await.unwrap();
    let refused = server.append(&partition, batch(&["x"])).await;
    assert!(
        matches!(refused, Err(BrokerError::ShuttingDown)),
        "{refused:?}"
    );
    let refused = server.broker.create_topic(new_topic("b", 1, &[])).await;
    assert!(
        matches!(refused, Err(BrokerError::ShuttingDown)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_clients_changed_of_the_server_is_there_again() {
    let server = Server::start().await;
    let changes = [set("log.flush.interval.messages", "1234")];
    let changed = server
        .broker
        .change_server_settings(|settings| settings.changed(&changes));
    changed.await.unwrap();

    let server = server.restart().await;
    let settings = server.broker.server_settings();
    assert!(settings.set().eq([("log.flush.interval.messages", "1234")]));
}
