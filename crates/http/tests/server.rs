//! Groups, health and metrics over HTTP.

#![allow(clippy::float_cmp, reason = "counts are exact")]

mod support;

use std::collections::BTreeMap;

use millstream_broker::groups::{
    Generation, GroupId, MemberId, MemberRef, OffsetCommit, OffsetKey, PartitionCommit,
};
use millstream_record::Offset;
use support::Served;

async fn commit(served: &Served, group: &str, topic: &str, partition: u32, offset: i64) {
    let at = OffsetKey {
        topic: served.broker.topic(topic).unwrap().id(),
        partition,
    };
    let member = MemberRef {
        generation: Generation::NONE,
        member_id: MemberId::new(""),
        instance_id: None,
    };
    let commit = OffsetCommit {
        member,
        retention_ms: None,
        partitions: vec![PartitionCommit {
            at,
            offset: Offset(offset),
            leader_epoch: None,
            metadata: "m".into(),
        }],
    };
    let kept = served
        .broker
        .groups()
        .commit_offsets(&GroupId::new(group), commit)
        .await;
    assert_eq!(kept.unwrap(), [Ok(())]);
}

#[tokio::test]
async fn groups_are_listed_described_with_their_lag_and_deleted() {
    let served = Served::start().await;
    served.topic("t", 2).await;
    for partition in [0, 0, 0, 1] {
        let body = format!(r#"{{"partition":{partition},"value":"x"}}"#);
        served
            .send("POST", "/v1/topics/t/records", &body)
            .await
            .ok();
    }
    commit(&served, "g/1", "t", 0, 1).await;
    commit(&served, "g/1", "t", 1, 1).await;
    commit(&served, "h", "t", 0, 0).await;

    let listed = served.get("/v1/groups?prefix=g").await.ok();
    assert_eq!(listed["groups"].as_array().unwrap().len(), 1);
    assert_eq!(listed["groups"][0]["id"], "g/1");
    assert_eq!(listed["groups"][0]["state"], "Empty");
    let first = served.get("/v1/groups?max=1").await.ok();
    assert_eq!(first["next"], "g/1");

    let described = served.get("/v1/groups/g%2F1").await.ok();
    assert_eq!(described["lag"], 2);
    assert_eq!(described["offsets"][0]["lag"], 2);
    assert_eq!(described["offsets"][0]["offset"], 1);
    assert_eq!(described["offsets"][0]["latest"], 3);
    assert_eq!(described["offsets"][1]["lag"], 0);

    assert_eq!(
        served.send("DELETE", "/v1/groups/g%2F1", "").await.status,
        204
    );
    served
        .get("/v1/groups/g%2F1")
        .await
        .problem(404, "unknown-group");
    served
        .send("DELETE", "/v1/groups/g%2F1", "")
        .await
        .problem(404, "unknown-group");
}

#[tokio::test]
async fn health_is_told() {
    let served = Served::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer
                .header("content-type")
                .unwrap()
                .starts_with("text/plain")
        );
    }
}

#[tokio::test]
async fn metrics_are_what_prometheus_reads_and_count_what_was_done() {
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
    commit(&served, "g", "a\"b", 0, 2).await;
    let page = served.get("/metrics").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = String::from_utf8(page.body).unwrap();
    let mut samples = BTreeMap::new();
    let mut typed = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed = Some(rest.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = typed.as_ref().unwrap();
            assert!(
                name.starts_with(family.as_str()),
                "{line} is not of {family}"
            );
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(
                samples.insert(name.to_owned(), value).is_none(),
                "{line} comes twice"
            );
        }
    }
    let sample = |name: &str| samples.get(name).copied().unwrap_or(-1.0);
    assert_eq!(
        sample("millstream_topic_appended_records_total{topic=\"a\\\"b\"}"),
        6.0
    );
    assert_eq!(sample("millstream_topic_records{topic=\"a\\\"b\"}"), 6.0);
    assert_eq!(
        sample("millstream_group_lag_records{group=\"g\",topic=\"a\\\"b\"}"),
        4.0
    );
    assert_eq!(
        sample("millstream_http_answers_total{operation=\"publish\",status=\"2xx\"}"),
        3.0
    );
    assert_eq!(
        sample("millstream_request_seconds_count{protocol=\"http\",operation=\"publish\"}"),
        3.0
    );
    assert_eq!(
        sample(
            "millstream_request_seconds_bucket{protocol=\"http\",operation=\"publish\",le=\"+Inf\"}"
        ),
        3.0
    );
    assert!(sample("millstream_connections{protocol=\"http\"}") >= 2.0);
    assert!(sample("millstream_memory_budget_bytes") > 0.0);
}
