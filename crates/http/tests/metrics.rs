//! The page that Prometheus reads.

#![allow(clippy::float_cmp, reason = "counts are exact")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::{PATIENCE, Served};

/// The samples of the page, each checked to be well formed, of the metric it stands below, and there once.
async fn samples(served: &Served) -> BTreeMap<String, f64> {
    let page = served.get("/metrics").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = String::from_utf8(page.body).unwrap();
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            rest.split(' ').next().unwrap().clone_into(&mut family);
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&family), "{line} is not of {family}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let before = samples.insert(name.to_owned(), value);
            assert!(before.is_none(), "{line} comes twice");
        }
    }
    samples
}

fn check(samples: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        assert_eq!(samples.get(*name), Some(value), "{name} in {samples:#?}");
    }
}

#[tokio::test]
async fn requests_topics_and_groups_are_counted() {
    let served = Served::start().await;
    served.topic("a\"b", 1).await;
    let mut client = served.client().await;
    for _ in 0..3 {
        let body = r#"{"records":[{"value":"x"},{"value":"y"}]}"#;
        client
            .send("POST", "/v1/topics/a%22b/records", body)
            .await
            .ok();
    }
    served.commit("g", "a\"b", 0, 2).await;
    let samples = samples(&served).await;
    check(
        &samples,
        &[
            (
                r#"millstream_topic_appended_records_total{topic="a\"b"}"#,
                6.0,
            ),
            (r#"millstream_topic_records{topic="a\"b"}"#, 6.0),
            (
                r#"millstream_group_lag_records{group="g",topic="a\"b"}"#,
                4.0,
            ),
            (
                r#"millstream_http_answers_total{operation="publish",status="2xx"}"#,
                3.0,
            ),
            (
                r#"millstream_request_seconds_count{protocol="http",operation="publish"}"#,
                3.0,
            ),
            (
                r#"millstream_request_seconds_bucket{protocol="http",operation="publish",le="+Inf"}"#,
                3.0,
            ),
            ("millstream_produce_seconds_count", 3.0),
            (r#"millstream_metrics_omitted{of="topics"}"#, 0.0),
            (r#"millstream_metrics_omitted{of="group_topics"}"#, 0.0),
        ],
    );
    assert!(samples[r#"millstream_connections{protocol="http"}"#] >= 2.0);
    assert!(samples[r#"millstream_received_bytes_total{protocol="http"}"#] > 100.0);
    assert!(samples[r#"millstream_sent_bytes_total{protocol="http"}"#] > 100.0);
    assert!(samples["millstream_memory_budget_bytes"] > 0.0);
}

#[tokio::test]
async fn an_fsynced_publish_shows_in_the_journal() {
    let served = Served::start().await;
    served.send("PUT", "/v1/topics/t", "{}").await;
    let before = samples(&served).await;
    let path = "/v1/topics/t/records";
    served.send("POST", path, r#"{"value":"x"}"#).await.ok();
    let after = samples(&served).await;
    for name in [
        "millstream_fsync_seconds_count",
        "millstream_journal_write_seconds_count",
        "millstream_journal_group_bytes_count",
        "millstream_journal_bytes_total",
    ] {
        assert!(after[name] > before[name], "{name}");
    }
}

#[tokio::test]
async fn queues_tell_what_is_in_them_and_what_happened() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let queue = json!({
        "name": "q", "topic": "t",
        "policy": { "dead_letters": true, "retry": { "attempts_max": 2 } },
    });
    let answer = served.send("POST", "/v1/queues", &queue.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = r#"{"records":[{"value":"0"},{"value":"1"},{"value":"2"},{"value":"3"}]}"#;
    served.send("POST", "/v1/topics/t/records", body).await.ok();
    let first = receive(&served, 3).await;
    settle(&served, "ack", &first[0]).await;
    settle(&served, "nack", &first[1]).await;
    let again = receive(&served, 1).await;
    assert_eq!(again[0]["attempts"], 2, "{again:?}");
    settle(&served, "reject", &again[0]).await;
    // A dead letter is on its way for a moment.
    let buried = r#"millstream_topic_records{topic="q.dead"}"#;
    let samples = tokio::time::timeout(PATIENCE, async {
        loop {
            let samples = samples(&served).await;
            if samples.get(buried) == Some(&1.0) {
                return samples;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let samples = samples.await.expect("it is buried");
    check(
        &samples,
        &[
            ("millstream_queues", 1.0),
            (r#"millstream_queue_depth{queue="q"}"#, 2.0),
            (r#"millstream_queue_in_flight{queue="q"}"#, 1.0),
            (
                r#"millstream_queue_messages{queue="q",state="leased"}"#,
                1.0,
            ),
            (r#"millstream_queue_delivered_total{queue="q"}"#, 4.0),
            (r#"millstream_queue_redelivered_total{queue="q"}"#, 1.0),
            (r#"millstream_queue_acknowledged_total{queue="q"}"#, 1.0),
            (r#"millstream_queue_nacked_total{queue="q"}"#, 1.0),
            (r#"millstream_queue_dead_lettered_total{queue="q"}"#, 1.0),
        ],
    );
    assert!(samples.contains_key(r#"millstream_queue_oldest_age_seconds{queue="q"}"#));
}

async fn receive(served: &Served, max: usize) -> Vec<Value> {
    let request = json!({ "max": max, "wait_ms": 5_000 }).to_string();
    let answer = served.send("POST", "/v1/queues/q/receive", &request).await;
    answer.ok()["messages"].as_array().unwrap().clone()
}

async fn settle(served: &Served, how: &str, message: &Value) {
    let request = json!({ "receipts": [message["receipt"]] }).to_string();
    let path = format!("/v1/queues/q/{how}");
    served.send("POST", &path, &request).await.ok();
}
