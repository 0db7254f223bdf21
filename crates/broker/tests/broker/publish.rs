//! Publishing records one by one.

use millstream_broker::produce::NewMessage;
use millstream_record::partitioner::partition_of_key;

use super::*;

fn message(key: Option<&str>, value: &str) -> NewMessage {
    NewMessage {
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..NewMessage::default()
    }
}

/// All values of a partition, in order.
async fn values(server: &Server, topic: &Arc<TopicHandle>, partition: u32) -> Vec<String> {
    let partition = topic.partition(partition).unwrap();
    let fetched = server
        .broker
        .fetch(FetchSpec::of(&partition, Offset::ZERO))
        .await;
    let fetched = fetched.into_iter().next().unwrap().result.unwrap();
    fetched
        .batches()
        .flat_map(|batch| {
            batch
                .unwrap()
                .records(1 << 20)
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        })
        .map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn keys_go_where_kafkas_producers_put_them_and_keep_their_order() {
    let server = Server::start().await;
    let topic = server.topic("orders", 4, &[]).await;
    let messages: Vec<_> = (0..100)
        .map(|n| message(Some(&format!("key-{}", n % 10)), &n.to_string()))
        .collect();
    let published = server.broker.publish(&topic, &messages).await.unwrap();
    let mut stored: Vec<Vec<String>> = Vec::new();
    for partition in 0..4 {
        stored.push(values(&server, &topic, partition).await);
    }
    for (n, place) in published.iter().enumerate() {
        let key = format!("key-{}", n % 10);
        assert_eq!(place.partition as i32, partition_of_key(key.as_bytes(), 4));
        let at = place.offset.get() as usize;
        assert_eq!(stored[place.partition as usize][at], n.to_string());
    }
    assert_eq!(stored.iter().map(Vec::len).sum::<usize>(), 100);
}

#[tokio::test]
async fn records_without_a_key_stay_together_and_take_turns() {
    let server = Server::start().await;
    let topic = server.topic("orders", 3, &[]).await;
    let mut used = Vec::new();
    for _ in 0..3 {
        let messages = [message(None, "a"), message(None, "b")];
        let published = server.broker.publish(&topic, &messages).await.unwrap();
        assert_eq!(published[0].partition, published[1].partition);
        used.push(published[0].partition);
    }
    used.sort_unstable();
    assert_eq!(used, [0, 1, 2]);
}

#[tokio::test]
async fn more_than_a_batch_holds_becomes_several_in_one_commit() {
    let server = Server::start().await;
    let topic = server
        .topic("orders", 1, &[("max.message.bytes", "2000")])
        .await;
    let value = "x".repeat(600);
    let messages: Vec<_> = (0..10).map(|_| message(None, &value)).collect();
    let published = server.broker.publish(&topic, &messages).await.unwrap();
    let offsets: Vec<i64> = published.iter().map(|place| place.offset.get()).collect();
    assert_eq!(offsets, (0..10).collect::<Vec<_>>());
    assert_eq!(values(&server, &topic, 0).await.len(), 10);
}

#[tokio::test]
async fn one_record_that_is_refused_refuses_all() {
    let server = Server::start().await;
    let topic = server
        .topic("orders", 2, &[("max.message.bytes", "2000")])
        .await;
    let messages = [message(Some("a"), "fits"), message(None, &"x".repeat(3000))];
    let refused = server.broker.publish(&topic, &messages).await;
    assert!(matches!(refused, Err(BrokerError::InvalidBatch(_))));
    let nowhere = NewMessage {
        partition: Some(2),
        ..message(None, "x")
    };
    let refused = server
        .broker
        .publish(&topic, &[message(None, "a"), nowhere])
        .await;
    assert!(matches!(refused, Err(BrokerError::UnknownPartition)));
    for partition in topic.partitions() {
        assert_eq!(partition.offsets().log_end, Offset::ZERO);
    }
}

#[tokio::test]
async fn the_topics_own_time_is_told() {
    let server = Server::start().await;
    let topic = server
        .topic("orders", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let old = NewMessage {
        timestamp: Some(TimestampMs(1_000)),
        ..message(None, "x")
    };
    let published = server.broker.publish(&topic, &[old]).await.unwrap();
    assert!(published[0].timestamp > TimestampMs(1_000_000_000_000));
}
