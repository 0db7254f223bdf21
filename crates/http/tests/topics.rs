//! Topics over HTTP.

mod support;

use serde_json::json;
use support::Served;

#[tokio::test]
async fn a_topic_is_created_described_altered_and_deleted() {
    let served = Served::start().await;
    let body = r#"{"name":"orders/eu","partitions":2,"settings":{"retention.ms":1000,"millstream.durability":"memory"}}"#;
    let created = served.send("POST", "/v1/topics", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("location"), Some("/v1/topics/orders%2Feu"));

    let described = served.get("/v1/topics/orders%2Feu").await.ok();
    assert_eq!(described["name"], "orders/eu");
    assert_eq!(described["durability"], "memory");
    assert_eq!(described["settings"]["retention.ms"], "1000");
    assert_eq!(
        described["changed"],
        json!(["millstream.durability", "retention.ms"])
    );
    assert_eq!(described["partitions"][1]["partition"], 1);
    assert_eq!(described["partitions"][1]["latest"], 0);

    let body = r#"{"partitions":3,"settings":{"retention.ms":null,"max.message.bytes":2000}}"#;
    let altered = served
        .send("PATCH", "/v1/topics/orders%2Feu", body)
        .await
        .ok();
    assert_eq!(altered["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(altered["settings"]["max.message.bytes"], "2000");
    assert_eq!(
        altered["changed"],
        json!(["max.message.bytes", "millstream.durability"])
    );

    assert_eq!(
        served
            .send("DELETE", "/v1/topics/orders%2Feu", "")
            .await
            .status,
        204
    );
    served
        .get("/v1/topics/orders%2Feu")
        .await
        .problem(404, "unknown-topic");
}

#[tokio::test]
async fn put_makes_sure_of_a_topic() {
    let served = Served::start().await;
    served.topic("one", 2).await;
    let same = r#"{"partitions":2,"settings":{"millstream.durability":"memory"}}"#;
    served.send("PUT", "/v1/topics/one", same).await.ok();
    served.send("PUT", "/v1/topics/one", "").await.ok();
    let detail = served
        .send("PUT", "/v1/topics/one", r#"{"partitions":3}"#)
        .await
        .problem(409, "exists");
    assert!(detail.contains("has 2 partitions, not 3"), "{detail}");
    let detail = served
        .send(
            "PUT",
            "/v1/topics/one",
            r#"{"settings":{"retention.ms":5}}"#,
        )
        .await
        .problem(409, "exists");
    assert!(detail.contains("retention.ms"), "{detail}");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let served = Served::start().await;
    for name in ["a1", "a2", "a3", "b1"] {
        served.topic(name, 1).await;
    }
    let names = |json: &serde_json::Value| -> Vec<String> {
        let topics = json["topics"].as_array().unwrap().iter();
        topics
            .map(|topic| topic["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = served.get("/v1/topics?prefix=a&max=2").await.ok();
    assert_eq!(names(&first), ["a1", "a2"]);
    assert_eq!(first["next"], "a2");
    let last = served.get("/v1/topics?prefix=a&max=2&after=a2").await.ok();
    assert_eq!(names(&last), ["a3"]);
    assert!(last["next"].is_null());
    assert_eq!(names(&served.get("/v1/topics").await.ok()).len(), 4);
    served
        .get("/v1/topics?max=0")
        .await
        .problem(400, "bad-query");
    served
        .get("/v1/topics?max=x")
        .await
        .problem(400, "bad-query");
    let detail = served
        .get("/v1/topics?maxx=1")
        .await
        .problem(400, "bad-query");
    assert!(detail.contains("maxx"), "{detail}");
}

#[tokio::test]
async fn what_a_topic_cannot_be_is_refused() {
    let served = Served::start().await;
    served.topic("there", 1).await;
    for (body, status, code, said) in [
        (r#"{"name":"there"}"#, 409, "exists", "there"),
        (r#"{"name":""}"#, 400, "invalid-name", "at least one"),
        (
            r#"{"name":"a\u0000b"}"#,
            400,
            "invalid-name",
            "control character",
        ),
        (
            r#"{"name":"a","partitions":0}"#,
            400,
            "invalid-partitions",
            "between 1",
        ),
        (
            r#"{"name":"a","settings":{"retention.msec":1}}"#,
            400,
            "invalid-setting",
            "did you mean",
        ),
        (
            r#"{"name":"a","settings":{"retention.ms":"x"}}"#,
            400,
            "invalid-setting",
            "retention.ms",
        ),
        (
            r#"{"name":"a","partitons":1}"#,
            400,
            "bad-json",
            "partitons",
        ),
        (
            r#"{"name":"a","settings":{"retention.ms":null}}"#,
            400,
            "bad-json",
            "text, a number, true or false",
        ),
        (r#"{"partitions":1}"#, 400, "bad-json", "name"),
        (r#"{"name":"a""#, 400, "bad-json", "EOF"),
        ("[]", 400, "bad-json", ""),
    ] {
        let detail = served
            .send("POST", "/v1/topics", body)
            .await
            .problem(status, code);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(256));
    served
        .send("POST", "/v1/topics", &long)
        .await
        .problem(400, "invalid-name");
    served
        .send(
            "PATCH",
            "/v1/topics/there",
            r#"{"settings":{"millstream.durability":"fsync"}}"#,
        )
        .await
        .problem(400, "invalid-setting");
    served
        .send("PATCH", "/v1/topics/nowhere", "{}")
        .await
        .problem(404, "unknown-topic");
    served
        .send("DELETE", "/v1/topics/nowhere", "")
        .await
        .problem(404, "unknown-topic");
    served.get("/v1/topics/%ff").await.problem(400, "bad-path");
}
