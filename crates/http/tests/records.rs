//! Publishing and reading records over HTTP.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Answer, Served};

async fn publish(served: &Served, topic: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let path = format!("/v1/topics/{topic}/records");
    served
        .client()
        .await
        .request("POST", &path, headers, body)
        .await
}

async fn publish_json(served: &Served, topic: &str, body: &str) -> Value {
    let headers = [("content-type", "application/json")];
    publish(served, topic, &headers, body.as_bytes()).await.ok()
}

async fn records(served: &Served, topic: &str) -> Vec<Value> {
    let path = format!("/v1/topics/{topic}/partitions/0/records");
    let answer = served.get(&path).await.ok();
    answer["records"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_is_published_in_json_is_read_back() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let body = r#"{"records":[
        {"key":"k","value":{"order":1},"headers":{"a":"1","b":["x",null]},"timestamp":1234},
        {"value":{"base64":"AP8="},"priority":7,"id":"seven"},
        {"key":{"base64":"/w=="},"value":null}]}"#;
    let published = publish_json(&served, "t", body).await;
    assert_eq!(published["topic"], "t");
    let offsets: Vec<_> = published["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["offset"].as_i64().unwrap())
        .collect();
    assert_eq!(offsets, [0, 1, 2]);
    assert_eq!(published["records"][0]["timestamp"], 1234);

    let records = records(&served, "t").await;
    assert_eq!(
        records[0],
        json!({"topic":"t","partition":0,"offset":0,"timestamp":1234,"key":"k","value":"{\"order\":1}",
            "headers":{"a":"1","b":["x",null]}})
    );
    assert_eq!(records[1]["value"], json!({"base64":"AP8="}));
    assert_eq!(
        records[1]["headers"],
        json!({"millstream.priority":"7","millstream.id":"seven"})
    );
    assert!(records[1]["key"].is_null());
    assert_eq!(records[2]["key"], json!({"base64":"/w=="}));
    assert!(records[2]["value"].is_null());
}

#[tokio::test]
async fn a_raw_body_is_the_value() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let headers = [
        ("content-type", "text/csv; charset=utf-8"),
        ("millstream-key", "k"),
        ("millstream-header-trace", "abc"),
    ];
    publish(&served, "t", &headers, b"a,b\n").await.ok();
    let path = "t/records";
    let query = format!("/v1/topics/{path}?key=q&priority=3&expires_at=99&id=i&timestamp=77");
    let raw = [0xff, 0, 1];
    served
        .client()
        .await
        .request("POST", &query, &[], &raw)
        .await
        .ok();
    publish(&served, "t", &[], b"").await.ok();

    let records = records(&served, "t").await;
    assert_eq!(records[0]["value"], "a,b\n");
    assert_eq!(records[0]["key"], "k");
    assert_eq!(
        records[0]["headers"],
        json!({"content-type":"text/csv; charset=utf-8","trace":"abc"})
    );
    assert_eq!(records[1]["value"], json!({"base64":"/wAB"}));
    assert_eq!(records[1]["key"], "q");
    assert_eq!(records[1]["timestamp"], 77);
    assert_eq!(
        records[1]["headers"],
        json!({"millstream.priority":"3","millstream.expires-at":"99","millstream.id":"i"})
    );
    assert_eq!(records[2]["value"], "");

    let raw_value = served
        .client()
        .await
        .request(
            "GET",
            "/v1/topics/t/partitions/0/records?offset=1",
            &[("accept", "application/octet-stream")],
            b"",
        )
        .await;
    assert_eq!((raw_value.status, &raw_value.body[..]), (200, &raw[..]));
    assert_eq!(raw_value.header("millstream-offset"), Some("1"));
    assert_eq!(raw_value.header("millstream-key"), Some("q"));
}

#[tokio::test]
async fn events_become_records_as_the_kafka_binding_has_them() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-subject", "a%20b"),
        ("content-type", "application/json"),
    ];
    publish(&served, "t", &binary, b"{\"a\":1}").await.ok();
    let event = r#"{"specversion":"1.0","id":"2","source":"/s","type":"t","partitionkey":"p","data":{"a":1}}"#;
    let structured = [(
        "content-type",
        "application/cloudevents+json; charset=utf-8",
    )];
    publish(&served, "t", &structured, event.as_bytes())
        .await
        .ok();
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let body = format!("[{event},{event}]");
    let published = publish(&served, "t", &batch, body.as_bytes()).await.ok();
    assert_eq!(published["records"].as_array().unwrap().len(), 2);

    let records = records(&served, "t").await;
    assert_eq!(records.len(), 4);
    assert_eq!(
        records[0]["headers"],
        json!({"content-type":"application/json","ce_id":"1","ce_source":"/s","ce_specversion":"1.0",
            "ce_subject":"a b","ce_type":"t"})
    );
    for record in &records[1..] {
        assert_eq!(record["key"], "p");
        assert_eq!(record["value"], "{\"a\":1}");
        assert_eq!(record["headers"]["ce_id"], "2");
    }

    // What makes it an event is any of its headers.
    for headers in [&[("ce-id", "1")][..], &[json_type(), ("ce-id", "1")]] {
        let detail = publish(&served, "t", headers, b"{}")
            .await
            .problem(400, "invalid-record");
        assert!(detail.contains("no specversion"), "{detail}");
    }
    let mut untimely = binary.to_vec();
    untimely.push(("ce-time", "garbage"));
    let detail = publish(&served, "t", &untimely, b"{}")
        .await
        .problem(400, "invalid-record");
    assert!(detail.contains("RFC 3339"), "{detail}");
    let unfinished = [("ce-specversion", "1.0"), ("ce-id", "1")];
    let detail = publish(&served, "t", &unfinished, b"x")
        .await
        .problem(400, "invalid-record");
    assert!(detail.contains("no source"), "{detail}");
    publish(&served, "t", &structured, b"{}")
        .await
        .problem(400, "invalid-record");
    let detail = publish(&served, "t", &batch, format!("[{event},{{}}]").as_bytes())
        .await
        .problem(400, "invalid-record");
    assert!(detail.starts_with("event 1"), "{detail}");
}

#[tokio::test]
async fn keys_and_partitions_say_where_records_go() {
    let served = Served::start().await;
    served.topic("t", 8).await;
    let published = publish_json(
        &served,
        "t",
        r#"{"records":[{"key":"a","value":"1"},{"partition":5,"value":"2"},{"key":"a","value":"3"}]}"#,
    )
    .await;
    let records = &published["records"];
    assert_eq!(records[0]["partition"], records[2]["partition"]);
    assert_eq!(records[1]["partition"], 5);
    let by_key = served.get("/v1/topics/t/records?key=a").await.ok();
    let values: Vec<_> = by_key["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, ["1", "3"]);
    assert_eq!(by_key["next_offset"], by_key["latest"]);
    assert_eq!(by_key["partition"], records[0]["partition"]);
    let none = served
        .get("/v1/topics/t/records?key_base64=YmI=")
        .await
        .ok();
    assert_eq!(none["records"], json!([]));
    served
        .get("/v1/topics/t/records")
        .await
        .problem(400, "bad-query");
    served
        .get("/v1/topics/t/records?key_base64=%21")
        .await
        .problem(400, "bad-query");
}

#[tokio::test]
async fn reads_begin_where_they_are_told_and_end_within_their_bounds() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    for at in 0..5 {
        publish_json(
            &served,
            "t",
            &format!(r#"{{"value":"{at}","timestamp":{}}}"#, 100 + at),
        )
        .await;
    }
    let read = async |query: &str| {
        served
            .get(&format!("/v1/topics/t/partitions/0/records?{query}"))
            .await
    };
    let offsets = |answer: &Value| -> Vec<i64> {
        let records = answer["records"].as_array().unwrap().iter();
        records
            .map(|record| record["offset"].as_i64().unwrap())
            .collect()
    };
    let page = read("offset=1&max=2").await.ok();
    assert_eq!(offsets(&page), [1, 2]);
    assert_eq!(
        (page["next_offset"].clone(), page["latest"].clone()),
        (json!(3), json!(5))
    );
    assert_eq!(offsets(&read("time=103").await.ok()), [3, 4]);
    assert_eq!(offsets(&read("time=999").await.ok()), [0i64; 0]);
    assert_eq!(offsets(&read("from=latest").await.ok()), [0i64; 0]);
    assert_eq!(offsets(&read("from=earliest&max_bytes=1").await.ok()), [0]);
    let detail = read("offset=9").await.problem(410, "offset-out-of-range");
    assert!(detail.contains("0 to 5"), "{detail}");
    for query in [
        "offset=1&time=1",
        "from=nowhere",
        "max=0",
        "max=100000",
        "wait_ms=60001",
        "offset=x",
        "nothing=1",
    ] {
        read(query).await.problem(400, "bad-query");
    }
    served
        .get("/v1/topics/t/partitions/1/records")
        .await
        .problem(404, "unknown-partition");
    served
        .get("/v1/topics/t/partitions/x/records")
        .await
        .problem(400, "bad-path");
    served
        .get("/v1/topics/u/partitions/0/records")
        .await
        .problem(404, "unknown-topic");

    let trimmed = served
        .send("DELETE", "/v1/topics/t/partitions/0/records?before=2", "")
        .await;
    assert_eq!(trimmed.status, 204);
    assert_eq!(offsets(&read("").await.ok()), [2, 3, 4]);
    read("offset=1").await.problem(410, "offset-out-of-range");
}

#[tokio::test]
async fn a_read_waits_for_records() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let began = Instant::now();
    let path = "/v1/topics/t/partitions/0/records?from=latest&wait_ms=100";
    assert_eq!(served.get(path).await.ok()["records"], json!([]));
    assert!(began.elapsed() >= Duration::from_millis(100));

    let path = "/v1/topics/t/partitions/0/records?from=latest&wait_ms=15000";
    let began = Instant::now();
    let publishing = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish_json(&served, "t", r#"{"value":"here"}"#).await;
    };
    let (answer, ()) = tokio::join!(served.get(path), publishing);
    assert_eq!(answer.ok()["records"][0]["value"], "here");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_waiting_read_ends_with_the_server() {
    let mut served = Served::start().await;
    served.topic("t", 1).await;
    let mut client = served.client().await;
    let path = "/v1/topics/t/partitions/0/records?wait_ms=60000";
    client
        .write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    let (answer, ()) = tokio::join!(client.answer(false), served.stop());
    assert_eq!(answer.ok()["records"], json!([]));
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    client.closed().await;
}

fn json_type() -> (&'static str, &'static str) {
    ("content-type", "application/json")
}

#[tokio::test]
async fn what_cannot_be_published_is_refused() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let json = [("content-type", "application/json")];
    for (body, code, said) in [
        ("{\"value\":", "bad-json", "EOF"),
        ("{\"valeu\":1}", "bad-json", "valeu"),
        ("{\"records\":[{\"key\":1}]}", "bad-json", "records[0]"),
        ("{\"priority\":11}", "invalid-record", "0 to 9"),
        ("{\"id\":\"\"}", "invalid-record", "id is empty"),
        ("\u{7f}\u{0}garbage", "bad-json", ""),
    ] {
        let detail = publish(&served, "t", &json, body.as_bytes())
            .await
            .problem(400, code);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    publish(&served, "t", &json, br#"{"partition":1,"value":"x"}"#)
        .await
        .problem(404, "unknown-partition");
    publish(&served, "u", &json, b"{}")
        .await
        .problem(404, "unknown-topic");
    let with_query = served
        .client()
        .await
        .request("POST", "/v1/topics/t/records?key=k", &json, b"{}")
        .await;
    with_query.problem(400, "bad-query");
    for (query, code, said) in [
        ("key=%ff", "bad-query", "key=%ff"),
        ("k%ffy=1", "bad-query", "UTF-8"),
        ("id=", "invalid-record", "id is empty"),
    ] {
        let path = format!("/v1/topics/t/records?{query}");
        let refused = served.publish_with(&[], &path, "x").await;
        let detail = refused.problem(400, code);
        assert!(detail.contains(said), "{query}: {detail}");
    }
    let read = served.get("/v1/topics/t/records?key=%ff").await;
    read.problem(400, "bad-query");
    for name in ["millstream-header-a", "millstream-key"] {
        for body_type in ["application/json", "application/cloudevents-batch+json"] {
            let headers = [("content-type", body_type), (name, "x")];
            let refused = publish(&served, "t", &headers, b"[]").await;
            let detail = refused.problem(400, "bad-header");
            assert!(detail.contains(name), "{detail}");
        }
    }
    for headers in [
        &[("content-encoding", "gzip")][..],
        &[
            json_type(),
            ("content-encoding", "identity"),
            ("content-encoding", "br"),
        ],
    ] {
        let refused = publish(&served, "t", headers, b"{}").await;
        let detail = refused.problem(415, "unsupported-media-type");
        assert!(detail.contains("Content-Encoding"), "{detail}");
    }
    let many = format!("{{\"records\":[{}]}}", vec!["{}"; 10_001].join(","));
    publish(&served, "t", &json, many.as_bytes())
        .await
        .problem(413, "too-large");
    let large = vec![b'x'; 2 << 20];
    publish(&served, "t", &[], &large)
        .await
        .problem(413, "too-large");
    assert!(records(&served, "t").await.is_empty());
}
