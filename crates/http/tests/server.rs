//! Groups and health over HTTP.

mod support;

use support::Served;

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
    served.commit("g/1", "t", 0, 1).await;
    served.commit("g/1", "t", 1, 1).await;
    served.commit("h", "t", 0, 0).await;

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
