//! What the broker counts of its topics and clients.

use millstream_broker::produce::NewMessage;

use super::*;

#[tokio::test]
async fn topics_count_what_comes_and_what_goes() {
    for kind in KINDS {
        let server = Server::start().await;
        let topic = server.topic("a", 2, kind).await;
        let partition = topic.partition(1).unwrap();
        let three = batch(&["0", "1", "2"]);
        server.append(&partition, three.clone()).await.unwrap();
        let message = NewMessage {
            partition: Some(0),
            value: Some(Bytes::from_static(b"value")),
            ..NewMessage::default()
        };
        server.broker.publish(&topic, &[message]).await.unwrap();
        let appended = topic.appended();
        assert_eq!((appended.batches, appended.records), (2, 4));
        assert!(appended.bytes > three.len() as u64);
        assert_eq!(topic.fetched(), (0, 0));
        assert_eq!(server.broker.produce_times().total(), 2);

        server.fetch(&partition, 1).await.unwrap();
        server.fetch(&partition, 3).await.unwrap();
        assert_eq!(
            topic.fetched(),
            (3, three.len() as u64),
            "whole batches, and nothing where nothing is"
        );
    }
}

#[tokio::test]
async fn a_batch_that_is_refused_counts_nowhere() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    let refused = server.append(&partition, Bytes::from_static(b"garbage"));
    assert!(refused.await.is_err());
    assert_eq!(partition.topic().appended().batches, 0);
    assert_eq!(server.broker.produce_times().total(), 0);
}

#[tokio::test]
async fn listeners_of_one_protocol_share_what_they_count() {
    let server = Server::start().await;
    let one = server.broker.protocol("kafka", ["Produce", "Fetch"]);
    let other = server.broker.protocol("kafka", ["Produce", "Fetch"]);
    assert!(Arc::ptr_eq(&one, &other));
    server.broker.protocol("http", ["read"]);
    let names: Vec<_> = server
        .broker
        .protocols()
        .iter()
        .map(|protocol| protocol.name())
        .collect();
    assert_eq!(names, ["kafka", "http"]);
}
