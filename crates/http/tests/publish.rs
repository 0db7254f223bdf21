//! Publishing under conditions: expected positions, idempotency keys, together with acknowledgements.

mod support;

use serde_json::{Value, json};
use support::{Answer, Served};

impl Served {
    async fn tell(&self, queue: &str, what: &str, body: &Value) -> Answer {
        let path = format!("/v1/queues/{queue}/{what}");
        self.send("POST", &path, &body.to_string()).await
    }
}

fn values(read: &Value) -> Vec<&str> {
    let records = read["records"].as_array().unwrap();
    records
        .iter()
        .map(|record| record["value"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn which_of_several_records_lost_is_told() {
    let served = Served::start().await;
    served.indexed_topic("accounts").await;
    let taken = r#"{"key":"7","expected":"absent"}"#;
    served.publish("accounts", taken).await.ok();
    // Enough for several partitions and batches; only one of them is there already.
    let records: Vec<Value> = (0..12)
        .map(|n| match n {
            3 => json!({"key": "no expectation"}),
            _ => json!({"key": n.to_string(), "expected": "absent"}),
        })
        .collect();
    let body = json!({ "records": records }).to_string();
    let path = "/v1/topics/accounts/records";
    let json_body = ("content-type", "application/json");
    for headers in [&[json_body][..], &[json_body, ("idempotency-key", "k")]] {
        let answer = served.publish_with(headers, path, &body).await;
        answer.problem(412, "precondition-failed");
        assert_eq!(answer.json()["pointer"], "#/records/7/expected");
    }
    assert_eq!(served.count("accounts").await, 1);
}

#[tokio::test]
async fn who_expects_another_position_is_told_where_it_is() {
    let served = Served::start().await;
    served.indexed_topic("accounts").await;
    let opened = r#"{"key":"a","value":"opened","expected":"absent"}"#;
    served.publish("accounts", opened).await.ok();
    let answer = served.publish("accounts", opened).await;
    answer.problem(412, "precondition-failed");
    assert_eq!(answer.json()["position"], 0);
    assert_eq!(answer.json()["pointer"], "#/expected");
    let paid = r#"{"key":"a","value":"paid","expected":0}"#;
    served.publish("accounts", paid).await.ok();
    let answer = served.publish("accounts", paid).await;
    answer.problem(412, "precondition-failed");
    let position = answer.json()["position"].as_i64().unwrap();
    assert!(position > 0);

    let nobody = r#"{"key":"b","value":"paid","expected":7}"#;
    let answer = served.publish("accounts", nobody).await;
    answer.problem(412, "precondition-failed");
    assert_eq!(answer.json().get("position"), Some(&Value::Null));

    let raw = [("content-type", "text/plain"), ("millstream-key", "a")];
    let path = format!("/v1/topics/accounts/records?expected={position}");
    served.publish_with(&raw, &path, "closed").await.ok();
    let answer = served.publish_with(&raw, &path, "closed").await;
    answer.problem(412, "precondition-failed");
    let path = "/v1/topics/accounts/records?expected=absent";
    let answer = served.publish_with(&raw, path, "opened").await;
    answer.problem(412, "precondition-failed");

    assert_eq!(answer.json().get("pointer"), None, "a query is not JSON");

    let read = served.get("/v1/topics/accounts/records?key=a").await.ok();
    assert_eq!(values(&read), ["opened", "paid", "closed"]);
}

#[tokio::test]
async fn a_position_is_expected_where_it_can_be_known() {
    let served = Served::start().await;
    served.topic("plain", 1).await;
    served.indexed_topic("indexed").await;
    for (topic, body, code, said) in [
        (
            "plain",
            r#"{"key":"a","expected":0}"#,
            "invalid-record",
            "key.index",
        ),
        (
            "indexed",
            r#"{"expected":0}"#,
            "invalid-record",
            "needs a key",
        ),
        (
            "indexed",
            r#"{"key":"a","expected":-1}"#,
            "bad-json",
            "offset",
        ),
        (
            "indexed",
            r#"{"key":"a","expected":"none"}"#,
            "bad-json",
            "absent",
        ),
        (
            "indexed",
            r#"{"key":"a","expected":1.5}"#,
            "bad-json",
            "absent",
        ),
    ] {
        let detail = served.publish(topic, body).await.problem(400, code);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    let answer = served
        .publish_with(&[], "/v1/topics/indexed/records?key=a&expected=x", "v")
        .await;
    answer.problem(400, "bad-query");
}

#[tokio::test]
async fn one_key_is_read_by_the_index_page_by_page() {
    let served = Served::start().await;
    served.indexed_topic("accounts").await;
    for n in 0..30 {
        let body = format!(r#"{{"key":"k{}","value":"{n}"}}"#, n % 3);
        served.publish("accounts", &body).await.ok();
    }
    let mut found: Vec<String> = Vec::new();
    let mut offset = 0;
    loop {
        let path = format!("/v1/topics/accounts/records?key=k1&max=4&offset={offset}");
        let page = served.get(&path).await.ok();
        assert!(values(&page).len() <= 4);
        found.extend(values(&page).into_iter().map(str::to_owned));
        offset = page["next_offset"].as_i64().unwrap();
        if page["next_offset"] == page["latest"] {
            break;
        }
    }
    let expected: Vec<_> = (0..10).map(|n| (3 * n + 1).to_string()).collect();
    assert_eq!(found, expected);
    let nobody = served.get("/v1/topics/accounts/records?key=x").await.ok();
    assert_eq!(nobody["records"], json!([]));
}

#[tokio::test]
async fn the_same_request_sent_again_publishes_nothing() {
    let served = Served::start().await;
    served.topic("orders", 3).await;
    let path = "/v1/topics/orders/records";
    let headers = [
        ("idempotency-key", "one"),
        ("content-type", "application/json"),
    ];
    let body = r#"{"records":[{"key":"a","delay_ms":1000},{"key":"b"},{"key":"c"}]}"#;
    let first = served.publish_with(&headers, path, body).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = served.publish_with(&headers, path, body).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.ok(), first.ok());
    assert_eq!(served.count("orders").await, 3);

    let other_body = body.replace("1000", "2000");
    for (headers, path, body) in [
        (&headers[..], path, &other_body[..]),
        (&headers[..1], path, body),
        (&headers[..1], "/v1/topics/orders/records?key=k", "v"),
    ] {
        let answer = served.publish_with(headers, path, body).await;
        answer.problem(422, "idempotency-key-reused");
    }
    assert_eq!(served.count("orders").await, 3);
    served.topic("others", 1).await;
    let elsewhere = "/v1/topics/others/records";
    served.publish_with(&headers, elsewhere, body).await.ok();

    let long = "x".repeat(256);
    for key in ["", &long] {
        let headers = [("idempotency-key", key)];
        let answer = served.publish_with(&headers, path, "v").await;
        answer.problem(400, "bad-header");
    }
    let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let answer = served.publish_with(&two, path, "v").await;
    answer.problem(400, "bad-header");
}

#[tokio::test]
async fn what_is_acknowledged_and_published_happens_together() {
    let served = Served::start().await;
    for topic in ["orders", "results", "audit"] {
        served.topic(topic, 1).await;
    }
    let queue = r#"{"name":"work","topic":"orders"}"#;
    assert_eq!(served.send("POST", "/v1/queues", queue).await.status, 201);
    let records = r#"{"records":[{"value":"1"},{"value":"2"}]}"#;
    served.publish("orders", records).await.ok();
    let asked = json!({"max": 2, "wait_ms": 5000});
    let received = served.tell("work", "receive", &asked).await.ok();
    let receipt = |at: usize| received["messages"][at]["receipt"].clone();

    let publish = json!([
        {"topic": "results", "records": [{"value": "r1"}, {"value": "r2"}]},
        {"topic": "audit", "records": [{"value": {"done": 1}}]},
    ]);
    let request = json!({"receipts": [receipt(0)], "publish": publish});
    let answer = served.tell("work", "ack-and-publish", &request).await.ok();
    let published = &answer["published"];
    assert_eq!(published[0]["topic"], "results");
    assert_eq!(published[0]["records"][1]["offset"], 1);
    assert_eq!(published[1]["topic"], "audit");
    assert_eq!(published[1]["records"].as_array().unwrap().len(), 1);

    // The first is done already, and takes the second with it.
    for receipts in [
        json!([receipt(1), receipt(0)]),
        json!([receipt(1), "nonsense"]),
    ] {
        let request = json!({"receipts": receipts, "publish": publish});
        let answer = served.tell("work", "ack-and-publish", &request).await;
        let detail = answer.problem(409, "receipt-lost");
        assert!(detail.contains("receipt 1 is refused"), "{detail}");
    }
    assert_eq!(served.count("results").await, 2);
    let depth = &served.get("/v1/queues/work").await.ok()["depth"];
    assert_eq!(depth["leased"], 1);

    let request = json!({"receipts": [receipt(1)], "publish": []});
    served.tell("work", "ack-and-publish", &request).await.ok();
    assert_eq!(served.get("/v1/queues/work").await.ok()["depth"]["open"], 0);
}

#[tokio::test]
async fn a_publish_that_is_refused_acknowledges_nothing() {
    let served = Served::start().await;
    served.topic("orders", 1).await;
    served.indexed_topic("accounts").await;
    let queue = r#"{"name":"work","topic":"orders"}"#;
    assert_eq!(served.send("POST", "/v1/queues", queue).await.status, 201);
    served.publish("orders", r#"{"value":"1"}"#).await.ok();
    let opened = r#"{"key":"a","value":"opened"}"#;
    served.publish("accounts", opened).await.ok();
    let asked = json!({"max": 1, "wait_ms": 5000});
    let received = served.tell("work", "receive", &asked).await.ok();
    let receipts = json!([received["messages"][0]["receipt"]]);
    for (publish, status, code) in [
        (
            json!([{"topic": "x", "records": [{}]}]),
            404,
            "unknown-topic",
        ),
        (
            json!([{"topic": "orders", "records": [{"key": 1}]}]),
            400,
            "bad-json",
        ),
        (
            json!([{"topic": "orders", "records": [{}], "more": 1}]),
            400,
            "bad-json",
        ),
        (
            json!([{"topic": "orders", "records": [{"partition": 9}]}]),
            404,
            "unknown-partition",
        ),
        (json!({}), 400, "bad-json"),
        (
            json!([{"topic": "orders", "records": [{}]}, {"topic": "accounts", "records": [{"key": "a", "expected": "absent"}]}]),
            412,
            "precondition-failed",
        ),
    ] {
        let request = json!({"receipts": receipts, "publish": publish});
        let answer = served.tell("work", "ack-and-publish", &request).await;
        answer.problem(status, code);
        if status == 412 {
            assert_eq!(answer.json()["pointer"], "#/publish/1/records/0/expected");
        }
        let depth = &served.get("/v1/queues/work").await.ok()["depth"];
        assert_eq!(depth["leased"], 1, "{request}");
    }
    assert_eq!(served.count("orders").await, 1);
    let last = json!([{"topic": "accounts", "records": [{"key": "a", "expected": 0}]}]);
    let request = json!({"receipts": receipts, "publish": last});
    served.tell("work", "ack-and-publish", &request).await.ok();
    assert_eq!(served.count("accounts").await, 2);
}
