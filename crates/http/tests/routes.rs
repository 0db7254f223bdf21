//! Routes over HTTP.

mod support;

use serde_json::json;
use support::Served;

#[tokio::test]
async fn a_route_is_made_described_listed_and_deleted() {
    let served = Served::start().await;
    for topic in ["orders", "orders-eu", "audit"] {
        served.topic(topic, 1).await;
    }
    let body = r#"{"source_topic":"orders","targets":["orders-eu"],"filter":{"header":"region","equals":"eu"}}"#;
    let created = served.send("PUT", "/v1/routes/to%20eu", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("location"), Some("/v1/routes/to%20eu"));
    let body = r#"{"source_pattern":"orders.#","targets":["audit"]}"#;
    let created = served.send("PUT", "/v1/routes/audit", body).await;
    assert_eq!(created.status, 201, "{created:?}");

    let records = r#"{"records":[{"value":"1","headers":{"region":"eu"}},{"value":"2"}]}"#;
    served
        .send("POST", "/v1/topics/orders/records", records)
        .await
        .ok();
    let route = served.get("/v1/routes/to%20eu").await.ok();
    assert_eq!(route["name"], "to eu");
    assert_eq!(route["source_topic"], "orders");
    assert_eq!(route["source_pattern"], json!(null));
    assert_eq!(route["targets"], json!(["orders-eu"]));
    assert_eq!(route["filter"], json!({"header": "region", "equals": "eu"}));
    assert_eq!(
        route["stats"],
        json!({"records": 1, "refused": 0, "skipped": 0})
    );
    assert_eq!(route["sources"], json!(["orders"]));
    assert_eq!(route["missing"], json!([]));
    let read = served
        .get("/v1/topics/orders-eu/partitions/0/records")
        .await
        .ok();
    assert_eq!(read["records"].as_array().unwrap().len(), 1);
    assert_eq!(read["records"][0]["value"], "1");

    let page = served.get("/v1/routes?max=1").await.ok();
    assert_eq!(page["routes"][0]["name"], "audit");
    assert_eq!(page["next"], "audit");
    let page = served.get("/v1/routes?max=1&after=audit").await.ok();
    assert_eq!(page["routes"][0]["name"], "to eu");
    assert_eq!(page["next"], json!(null));

    let deleted = served.send("DELETE", "/v1/routes/to%20eu", "").await;
    assert_eq!(deleted.status, 204);
    for method in ["GET", "DELETE"] {
        let gone = served.send(method, "/v1/routes/to%20eu", "").await;
        gone.problem(404, "unknown-route");
    }
}

#[tokio::test]
async fn put_makes_sure_of_a_route() {
    let served = Served::start().await;
    for topic in ["a", "b", "c"] {
        served.topic(topic, 1).await;
    }
    let body = r#"{"source_topic":"a","targets":["b","c"]}"#;
    assert_eq!(served.send("PUT", "/v1/routes/r", body).await.status, 201);
    let same = r#"{"source_topic":"a","targets":["c","b","b"],"filter":null}"#;
    served.send("PUT", "/v1/routes/r", same).await.ok();
    for other in [
        r#"{"source_topic":"a","targets":["b"]}"#,
        r#"{"source_pattern":"a","targets":["b","c"]}"#,
        r#"{"source_topic":"a","targets":["b","c"],"filter":{"header":"h"}}"#,
    ] {
        let answer = served.send("PUT", "/v1/routes/r", other).await;
        answer.problem(409, "exists");
    }
}

#[tokio::test]
async fn what_cannot_be_a_route_is_refused() {
    let served = Served::start().await;
    for topic in ["a", "b", "c"] {
        served.topic(topic, 1).await;
    }
    for (name, from, to) in [("ab", "a", "b"), ("bc", "b", "c")] {
        let body = format!(r#"{{"source_topic":"{from}","targets":["{to}"]}}"#);
        let answer = served
            .send("PUT", &format!("/v1/routes/{name}"), &body)
            .await;
        assert_eq!(answer.status, 201);
    }
    for (body, status, code, said) in [
        (
            r#"{"source_topic":"c","targets":["a"]}"#,
            400,
            "invalid-route",
            "loop",
        ),
        (
            r##"{"source_pattern":"#","targets":["a"]}"##,
            400,
            "invalid-route",
            "loop",
        ),
        (
            r#"{"source_topic":"a","targets":["x"]}"#,
            400,
            "invalid-route",
            "target x does not exist",
        ),
        (
            r#"{"source_topic":"x","targets":["a"]}"#,
            400,
            "invalid-route",
            "source x does not exist",
        ),
        (
            r#"{"source_topic":"a","targets":[]}"#,
            400,
            "invalid-route",
            "targets",
        ),
        (r#"{"targets":["a"]}"#, 400, "invalid-route", "one source"),
        (
            r#"{"source_topic":"a","source_pattern":"a","targets":["c"]}"#,
            400,
            "invalid-route",
            "one source",
        ),
        (
            r#"{"source_pattern":"a.b*","targets":["c"]}"#,
            400,
            "invalid-route",
            "source_pattern",
        ),
        (
            r#"{"source_topic":"a","targets":["c"],"filter":{"heder":"x"}}"#,
            400,
            "invalid-route",
            "filter",
        ),
        (
            r#"{"source_topic":"","targets":["c"]}"#,
            400,
            "invalid-name",
            "name",
        ),
        (
            r#"{"source_topic":"a","targets":"c"}"#,
            400,
            "bad-json",
            "sequence",
        ),
        (
            r#"{"source_topic":"a","target":["c"]}"#,
            400,
            "bad-json",
            "target",
        ),
        ("", 400, "bad-json", "EOF"),
    ] {
        let answer = served.send("PUT", "/v1/routes/new", body).await;
        let detail = answer.problem(status, code);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    let long = format!("/v1/routes/{}", "x".repeat(256));
    let body = r#"{"source_topic":"a","targets":["c"]}"#;
    served
        .send("PUT", &long, body)
        .await
        .problem(400, "invalid-route");
    assert_eq!(
        served.get("/v1/routes").await.ok()["routes"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_target_that_refuses_is_named() {
    let served = Served::start().await;
    served.topic("a", 1).await;
    let small = r#"{"settings":{"max.message.bytes":200}}"#;
    assert_eq!(served.send("PUT", "/v1/topics/b", small).await.status, 201);
    let body = r#"{"source_topic":"a","targets":["b"]}"#;
    assert_eq!(served.send("PUT", "/v1/routes/r", body).await.status, 201);
    let record = format!(r#"{{"value":"{}"}}"#, "x".repeat(300));
    let answer = served.send("POST", "/v1/topics/a/records", &record).await;
    let detail = answer.problem(413, "too-large");
    assert!(detail.contains("route r leads to topic b"), "{detail}");
    let read = served.get("/v1/topics/a/partitions/0/records").await.ok();
    assert_eq!(read["latest"], 0, "all or none");
    assert_eq!(served.get("/v1/routes/r").await.ok()["stats"]["refused"], 1);
}
