//! Publishing on a `WebSocket`, and acknowledging with it.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::Served;
use support::sockets::{Socket, receipts};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn publishes_of_one_socket_keep_their_order() {
    let served = Served::start().await;
    // A durable topic: answers take a while, and many are under way.
    served.send("PUT", "/v1/topics/t", "{}").await;
    let mut socket = Socket::open(&served).await;
    for n in 0..1_000 {
        let record = json!({ "value": n.to_string() });
        socket
            .send(&json!({"type":"publish","id":n,"topic":"t","record":record}))
            .await;
    }
    let mut offsets = vec![None; 1_000];
    for _ in 0..1_000 {
        let answer = socket.next().await;
        let id = answer["id"].as_u64().unwrap() as usize;
        offsets[id] = answer["records"][0]["offset"].as_u64();
    }
    let expected: Vec<_> = (0..1_000).map(Some).collect();
    assert_eq!(offsets, expected);
}

#[tokio::test]
async fn publishes_do_not_wait_for_memory_that_those_before_them_hold() {
    let served = Served::start_taking(1 << 20).await;
    served.send("PUT", "/v1/topics/t", "{}").await;
    let mut socket = Socket::open(&served).await;
    let value = "x".repeat(300_000);
    for n in 0..20 {
        let frame = json!({"type":"publish","id":n,"topic":"t","record":{"value":value}});
        socket.send(&frame).await;
    }
    // Answers may overtake each other.
    for _ in 0..20 {
        let answer = socket.next().await;
        assert_eq!(answer["records"][0]["offset"], answer["id"], "{answer}");
    }
}

#[tokio::test]
async fn a_socket_goes_on_while_a_publish_waits() {
    let served = Served::start_taking(1 << 20).await;
    served.topic("t", 1).await;
    // A body that comes slowly holds the memory that there is.
    let mut other = served.raw().await;
    let head =
        "POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ncontent-length: 800000\r\n\r\n";
    other.write_all(head.as_bytes()).await.unwrap();
    other.write_all(&vec![b'x'; 799_999]).await.unwrap();
    let mut socket = Socket::open(&served).await;
    let value = "x".repeat(300_000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let publish = json!({"type":"publish","id":1,"topic":"t","record":{"value":value}});
    socket.send(&publish).await;
    for n in 0..3 {
        socket.send(&json!({"type":"ping","id":n})).await;
        assert_eq!(socket.next().await, json!({"type":"pong","id":n}));
    }
    drop(other);
    let published = socket.next().await;
    assert_eq!(published["type"], "published", "{published}");
}

#[tokio::test]
async fn a_publish_with_a_key_is_published_once_and_in_its_turn() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut socket = Socket::open(&served).await;
    let once = json!({"type":"publish","topic":"t","records":[{"value":"a"},{"value":"b"}],"idempotency_key":"k"});
    let first = socket.ask(once.clone()).await;
    assert_eq!(first["type"], "published", "{first}");
    assert_eq!(first.get("replayed"), None);
    let mut other = Socket::open(&served).await;
    for socket in [&mut socket, &mut other] {
        let again = socket.ask(once.clone()).await;
        assert_eq!(
            (&again["records"], &again["replayed"]),
            (&first["records"], &json!(true))
        );
    }
    // With something else it is a mistake, as it is with another form of the same.
    let reused =
        json!({"type":"publish","topic":"t","records":[{"value":"c"}],"idempotency_key":"k"});
    socket.refused(reused, "idempotency-key-reused").await;
    let empty = json!({"type":"publish","topic":"t","record":{},"idempotency_key":""});
    socket.refused(empty, "bad-json").await;
    let none = json!({"type":"publish","topic":"t","records":[],"idempotency_key":"k"});
    socket.refused(none, "idempotency-key-reused").await;
    assert_eq!(served.count("t").await, 2);

    // What is published with keys and without keeps its order, though nobody waits for an answer.
    for n in 0..40 {
        let mut frame = json!({"type":"publish","topic":"t","record":{"value":n.to_string()}});
        if n % 3 == 0 {
            frame["idempotency_key"] = json!(format!("key {n}"));
        }
        socket.send(&frame).await;
    }
    for _ in 0..40 {
        assert_eq!(socket.next().await["type"], "published");
    }
    let read = served
        .get("/v1/topics/t/partitions/0/records?offset=2")
        .await
        .ok();
    let values = read["records"].as_array().unwrap().iter();
    let values: Vec<_> = values
        .map(|record| record["value"].as_str().unwrap())
        .collect();
    let sent: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(values, sent);
}

#[tokio::test]
async fn a_socket_acks_and_publishes_both_or_neither() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    served.topic("results", 1).await;
    served.indexed_topic("accounts").await;
    served.queue("q", "t").await;
    let mut socket = Socket::open(&served).await;
    socket.publish("t", &["a", "b"]).await;
    socket
        .ask(json!({"type":"consume","subscription":"w","queue":"q","credit":2}))
        .await;
    let messages = socket.messages("w", 2).await;
    let both = receipts(&messages);
    let taken = json!({"type":"publish","topic":"accounts","record":{"key":"a"}});
    socket.ask(taken).await;
    let work = |receipts: &Value, publish: Value| json!({"type":"ack-and-publish","queue":"q","receipts":receipts,"publish":publish});
    let results = json!([{"topic":"results","records":[{"value":"done"},{"value":"too"}]}]);

    let bogus = json!([both[0], "1-2-3-4"]);
    socket
        .refused(work(&bogus, results.clone()), "receipt-lost")
        .await;
    let nowhere = json!([results[0], {"topic":"nowhere","records":[{}]}]);
    socket
        .refused(work(&json!(both), nowhere), "unknown-topic")
        .await;
    let second =
        json!([results[0], {"topic":"accounts","records":[{}, {"key":"a","expected":"absent"}]}]);
    let lost = socket.ask(work(&json!(both), second)).await;
    assert_eq!(lost["problem"]["code"], "precondition-failed", "{lost}");
    assert_eq!(lost["problem"]["pointer"], "#/publish/1/records/1/expected");
    assert_eq!(served.open_messages("q").await["open"], 2);
    assert_eq!(served.count("results").await, 0);

    let done = socket.ask(work(&json!(both), results.clone())).await;
    assert_eq!(done["type"], "acked-and-published", "{done}");
    assert_eq!(done["published"][0]["topic"], "results");
    assert_eq!(done["published"][0]["records"][1]["offset"], 1);
    assert_eq!(served.open_messages("q").await["open"], 0);
    assert_eq!(served.count("results").await, 2);
    let again = socket
        .refused(work(&json!(both), results), "receipt-lost")
        .await;
    assert!(again.contains("finished"), "{again}");
}

#[tokio::test]
async fn which_record_of_a_publish_lost_is_told() {
    let served = Served::start().await;
    served.indexed_topic("accounts").await;
    let mut socket = Socket::open(&served).await;
    let opened =
        json!({"type":"publish","topic":"accounts","record":{"key":"a","expected":"absent"}});
    socket.ask(opened.clone()).await;
    let lost = socket.ask(opened).await;
    assert_eq!(lost["problem"]["pointer"], "#/record/expected", "{lost}");
    let several = json!({"type":"publish","topic":"accounts","records":[{"key":"b","expected":"absent"},{"key":"a","expected":3}]});
    let lost = socket.ask(several).await;
    assert_eq!(lost["problem"]["pointer"], "#/records/1/expected", "{lost}");
    assert_eq!(lost["problem"]["position"], 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_answers_takes_no_memory_for_publishes() {
    let served = Served::start_taking(1 << 20).await;
    for topic in ["t", "large", "results"] {
        served.topic(topic, 1).await;
    }
    served.queue("q", "t").await;
    let value = "x".repeat(256 << 10);
    for _ in 0..80 {
        let body = json!({ "value": value }).to_string();
        served.publish("large", &body).await.ok();
    }
    let mut slow = Socket::open(&served).await;
    slow.publish("t", &["a", "b", "c"]).await;
    slow.ask(json!({"type":"consume","subscription":"w","queue":"q","credit":3}))
        .await;
    let messages = slow.messages("w", 3).await;
    // From here on it reads nothing, and so no answer can be sent either.
    slow.send(&json!({"type":"subscribe","subscription":"s","topics":["large"],"from":"earliest"}))
        .await;
    for receipt in receipts(&messages) {
        let publish = json!([{"topic":"results","records":[{"value":value}]}]);
        let work =
            json!({"type":"ack-and-publish","queue":"q","receipts":[receipt],"publish":publish});
        slow.send(&work).await;
    }
    // Whether or not it was still heard, others have room.
    let mut other = Socket::open(&served).await;
    for _ in 0..6 {
        other.publish("results", &[&value]).await;
    }
    assert!(served.count("results").await >= 6);
    drop(slow);
}
