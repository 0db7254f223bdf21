//! Queues over HTTP: who may receive, and how a queue is changed.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::sockets::Socket;
use support::{Answer, PATIENCE, Served};

async fn queue(served: &Served, policy: Value) {
    served.topic("t", 1).await;
    let body = json!({"name": "q", "topic": "t", "policy": policy}).to_string();
    let made = served.send("POST", "/v1/queues", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
}

async fn publish(served: &Served, value: &str) {
    let body = json!({ "value": value }).to_string();
    served
        .send("POST", "/v1/topics/t/records", &body)
        .await
        .ok();
}

async fn receive(served: &Served, asked: Value) -> Answer {
    served
        .send("POST", "/v1/queues/q/receive", &asked.to_string())
        .await
}

async fn alter(served: &Served, policy: Value) -> Answer {
    let body = json!({ "policy": policy }).to_string();
    served.send("PATCH", "/v1/queues/q", &body).await
}

fn values(answer: &Answer) -> Vec<String> {
    let messages = answer.ok()["messages"].as_array().unwrap().clone();
    let value = |message: &Value| message["value"].as_str().unwrap().to_owned();
    messages.iter().map(value).collect()
}

#[tokio::test]
async fn an_exclusive_queue_is_one_consumers() {
    let served = Served::start().await;
    queue(&served, json!({"access": "exclusive"})).await;
    publish(&served, "one").await;
    publish(&served, "two").await;
    let detail = receive(&served, json!({}))
        .await
        .problem(400, "consumer-needed");
    assert!(detail.contains("send `consumer`"), "{detail}");

    let first = receive(&served, json!({"consumer": "a"})).await;
    assert_eq!(values(&first), ["one"]);
    let refused = receive(&served, json!({"consumer": "b"})).await;
    let detail = refused.problem(409, "queue-taken");
    assert!(detail.contains("another consumer has it"), "{detail}");
    assert_eq!(refused.header("retry-after"), None);
    receive(&served, json!({}))
        .await
        .problem(400, "consumer-needed");
    let mut socket = Socket::open(&served).await;
    let refused = socket
        .ask(json!({"type": "consume", "subscription": "s", "queue": "q", "credit": 1}))
        .await;
    assert_eq!(refused["problem"]["code"], "queue-taken", "{refused}");

    let second = receive(&served, json!({"consumer": "a"})).await;
    assert_eq!(values(&second), ["two"]);
}

#[tokio::test]
async fn a_single_active_consumer_has_a_name_and_others_wait() {
    let served = Served::start().await;
    queue(&served, json!({"access": "single_active"})).await;
    publish(&served, "one").await;
    publish(&served, "two").await;
    receive(&served, json!({}))
        .await
        .problem(400, "consumer-needed");
    let first = receive(&served, json!({"consumer": "a"})).await;
    assert_eq!(values(&first), ["one"]);
    let other = receive(&served, json!({"consumer": "b", "wait_ms": 50})).await;
    assert_eq!(values(&other).len(), 0);
    let second = receive(&served, json!({"consumer": "a"})).await;
    assert_eq!(values(&second), ["two"]);
}

#[tokio::test]
async fn who_waits_unnamed_gets_nothing_once_the_queue_wants_names() {
    let served = Served::start().await;
    queue(&served, json!({})).await;
    let mut waiting = served.client().await;
    let waiter = tokio::spawn(async move {
        let asked = json!({"wait_ms": 30_000}).to_string();
        waiting.send("POST", "/v1/queues/q/receive", &asked).await
    });
    let deadline = Instant::now() + PATIENCE;
    while served.get("/v1/queues/q").await.ok()["waiting_requests"] != 1 {
        assert!(Instant::now() < deadline, "the request never waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    alter(&served, json!({"access": "exclusive"})).await.ok();
    publish(&served, "one").await;
    assert_eq!(values(&waiter.await.unwrap()).len(), 0);
    let named = receive(&served, json!({"consumer": "a", "wait_ms": 5_000})).await;
    assert_eq!(values(&named), ["one"]);
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
async fn ids_count_for_five_minutes_unless_a_queue_is_told_otherwise() {
    let served = Served::start().await;
    queue(&served, json!({})).await;
    let window = async || {
        let queue = served.get("/v1/queues/q").await.ok();
        queue["policy"]["dedup_window_ms"].as_u64()
    };
    assert_eq!(window().await, Some(300_000));
    for (asked, window_ms) in [(json!(0), 0), (Value::Null, 300_000), (json!(1_000), 1_000)] {
        alter(&served, json!({ "dedup_window_ms": asked }))
            .await
            .ok();
        assert_eq!(window().await, Some(window_ms));
    }
    for (name, asked, window_ms) in [("zero", json!(0), 0), ("null", Value::Null, 300_000)] {
        let new = json!({"name": name, "topic": "t", "policy": {"dedup_window_ms": asked}});
        let made = served.send("POST", "/v1/queues", &new.to_string()).await;
        assert_eq!(made.json()["policy"]["dedup_window_ms"], window_ms);
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
        (
            json!({"retry": {"backoff": {"exponential": {"delay_ms": 5, "factor": 3}}}}),
            "factor",
        ),
        (
            json!({"retry": {"backoff": {"fixed": {"delay_ms": 5, "delay": 3}}}}),
            "delay",
        ),
    ] {
        let detail = alter(&served, policy.clone())
            .await
            .problem(400, "invalid-policy");
        assert!(detail.contains(named), "{policy}: {detail}");
    }
    let never = json!({"name": "other", "topic": "t", "from": "never"}).to_string();
    let refused = served.send("POST", "/v1/queues", &never).await;
    let detail = refused.problem(400, "bad-json");
    assert!(detail.contains("\"earliest\", \"latest\""), "{detail}");
    let again = json!({"name": "q", "topic": "t"}).to_string();
    let taken = served.send("POST", "/v1/queues", &again).await;
    taken.problem(409, "exists");
}

/// A program can tell why a redrive ended, whether or not it came to something before that.
#[tokio::test]
async fn a_redrive_into_a_full_queue_says_why_it_ended() {
    let served = Served::start().await;
    let length = json!({"records_max": 2, "overflow": "refuse"});
    queue(&served, json!({"length": length, "dead_letters": true})).await;
    publish(&served, "a").await;
    publish(&served, "b").await;
    let received = receive(&served, json!({"max": 2})).await;
    let messages = received.ok()["messages"].as_array().unwrap().clone();
    let receipts: Vec<_> = messages.iter().map(|one| &one["receipt"]).collect();
    let receipts = json!({ "receipts": receipts }).to_string();
    let reject = served.send("POST", "/v1/queues/q/reject", &receipts);
    reject.await.ok();
    let deadline = Instant::now() + PATIENCE;
    while served.count("q.dead").await != 2 {
        assert!(Instant::now() < deadline, "the letters are never written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    publish(&served, "c").await;
    let redrive = || served.send("POST", "/v1/queues/q/redrive", "{}");
    let answer = redrive().await;
    let redriven = answer.ok();
    assert_eq!(redriven["moved"], 1, "{redriven}");
    assert_eq!(redriven["stopped"]["code"], "queue-full", "{redriven}");
    let detail = redriven["stopped"]["detail"].as_str().unwrap();
    assert!(detail.contains("queue q is full"), "{detail}");
    redrive().await.problem(409, "queue-full");
    let into_own = served.send("POST", "/v1/queues/q/redrive", r#"{"to": "q.dead"}"#);
    into_own.await.problem(409, "conflict");
}
