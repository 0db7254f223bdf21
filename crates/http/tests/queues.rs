//! Queues over HTTP: how a queue is changed.

mod support;

use serde_json::{Value, json};
use support::{Answer, Served};

async fn queue(served: &Served, policy: Value) {
    served.topic("t", 1).await;
    let body = json!({"name": "q", "topic": "t", "policy": policy}).to_string();
    let made = served.send("POST", "/v1/queues", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
}

async fn alter(served: &Served, policy: Value) -> Answer {
    let body = json!({ "policy": policy }).to_string();
    served.send("PATCH", "/v1/queues/q", &body).await
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let served = Served::start().await;
    queue(&served, json!({})).await;
    let changes = [
        json!({"in_flight_max": 7}),
        json!({"ttl_ms": 60_000}),
        json!({"priorities": true}),
        json!({"delays": true}),
        json!({"retry": {"attempts_max": 3}}),
        json!({"retry": {"jitter_percent": 20}}),
        json!({"dedup_window_ms": 1_000}),
        json!({"record_ttl": true}),
    ];
    for round in 0..5 {
        let cleared = changes.iter().map(|change| {
            let names = change.as_object().unwrap().keys();
            names.map(|name| (name.clone(), Value::Null)).collect()
        });
        let cleared: serde_json::Map<String, Value> = cleared
            .flat_map(|some: Vec<(String, Value)>| some)
            .collect();
        alter(&served, cleared.into()).await.ok();
        let asked = changes.iter().map(|change| alter(&served, change.clone()));
        for answer in futures_util::future::join_all(asked).await {
            answer.ok();
        }
        let policy = &served.get("/v1/queues/q").await.ok()["policy"];
        for change in &changes {
            for (name, value) in change.as_object().unwrap() {
                let has = match value {
                    Value::Object(inner) => {
                        inner.iter().all(|(key, one)| policy[name][key] == *one)
                    }
                    plain => policy[name] == *plain,
                };
                assert!(has, "round {round}: {change} is lost: {policy}");
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_of_a_policy_is_named() {
    let served = Served::start().await;
    queue(&served, json!({})).await;
    for (policy, named) in [
        (json!({"in_flight_max": 0}), "in_flight_max"),
        (json!({"length": {"records_max": 5}}), "overflow"),
        (json!({"rate": {"per_second": 5}}), "burst"),
        (json!({"keys": {"in_flight_max": 1}}), "interval_ms"),
        (json!({"access": "some"}), "some"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let detail = alter(&served, policy.clone())
            .await
            .problem(400, "invalid-policy");
        assert!(detail.contains(named), "{policy}: {detail}");
    }
    let again = json!({"name": "q", "topic": "t"}).to_string();
    let taken = served.send("POST", "/v1/queues", &again).await;
    taken.problem(409, "exists");
}
