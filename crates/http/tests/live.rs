//! Live feeds as Server-Sent Events.

mod support;

use std::time::{Duration, Instant};

use millstream_http::HttpSettings;
use serde_json::{Value, json};
use support::events::Feed;
use support::{PATIENCE, Served};

async fn publish(served: &Served, topic: &str, records: &Value) {
    let path = format!("/v1/topics/{topic}/records");
    let body = json!({ "records": records }).to_string();
    served.send("POST", &path, &body).await.ok();
}

async fn publish_values(served: &Served, topic: &str, values: impl IntoIterator<Item = &str>) {
    let records: Vec<Value> = values
        .into_iter()
        .map(|value| json!({ "value": value }))
        .collect();
    publish(served, topic, &records.into()).await;
}

#[tokio::test]
async fn records_come_as_reads_tell_them() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut feed = Feed::follow(&served, "/v1/live?topic=t").await;
    let records = json!([
        {"key":"k","value":{"order":1},"headers":{"a":"1","b":["x",null]},"timestamp":1234},
        {"value":"two\nlines\r\nand \u{2028} more","timestamp":1235},
        {"key":{"base64":"/w=="},"value":null,"timestamp":1236},
        {"value":"x".repeat(100_000),"timestamp":1237},
    ]);
    publish(&served, "t", &records).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(feed.record().await);
    }
    let read = served.get("/v1/topics/t/partitions/0/records").await.ok();
    assert_eq!(Value::from(told), read["records"]);
    assert!(feed.retry_ms.is_some());
}

#[tokio::test]
async fn a_feed_goes_on_where_it_stopped() {
    let served = Served::start().await;
    served.topic("t", 3).await;
    let values: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let deal = |values: &[String]| -> Value {
        let record = |value: &String| {
            let partition = value.parse::<u32>().unwrap() % 3;
            json!({ "value": value, "partition": partition })
        };
        values.iter().map(record).collect()
    };
    let mut feed = Feed::follow(&served, "/v1/live?topic=t").await;
    publish(&served, "t", &deal(&values[..30])).await;
    let mut seen = feed.values(10).await;
    let id = feed.last_id.clone();
    drop(feed);
    publish(&served, "t", &deal(&values[30..])).await;
    // By the header and by the parameter, which go before any other place.
    let mut feed = Feed::resume(&served, "/v1/live?topic=t&from=now", &id).await;
    seen.extend(feed.values(25).await);
    let path = format!(
        "/v1/live?topic=t&from=earliest&last_event_id={}",
        feed.last_id
    );
    let mut feed = Feed::follow(&served, &path).await;
    seen.extend(feed.values(25).await);
    publish_values(&served, "t", ["the end"]).await;
    assert_eq!(feed.values(1).await, ["the end"]);
    seen.sort_by_key(|value| value.parse::<u32>().unwrap());
    assert_eq!(seen, values);
}

#[tokio::test]
async fn a_feed_that_was_told_nothing_yet_goes_on_too() {
    let served = Served::start().await;
    served.topic("t", 2).await;
    publish_values(&served, "t", ["before"]).await;
    let feed = Feed::follow(&served, "/v1/live?topic=t").await;
    let id = feed.last_id.clone();
    drop(feed);
    publish_values(&served, "t", ["while nobody listened"]).await;
    let mut feed = Feed::resume(&served, "/v1/live?topic=t", &id).await;
    assert_eq!(feed.values(1).await, ["while nobody listened"]);
}

#[tokio::test]
async fn a_feed_to_topics_that_are_still_to_come_goes_on_with_them() {
    let served = Served::start().await;
    let feed = Feed::follow(&served, "/v1/live?pattern=e2.%23").await;
    // An empty one would be taken for none, by clients as well.
    assert_eq!(feed.last_id, "-");
    let id = feed.last_id.clone();
    drop(feed);
    served.topic("e2.a", 1).await;
    publish_values(&served, "e2.a", ["one", "two", "three"]).await;
    let mut feed = Feed::resume(&served, "/v1/live?pattern=e2.%23", &id).await;
    assert_eq!(feed.values(3).await, ["one", "two", "three"]);
    let path = format!("/v1/live?pattern=e2.%23&last_event_id={id}");
    let mut feed = Feed::follow(&served, &path).await;
    assert_eq!(feed.values(3).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_feed_survives_a_restart_of_the_server() {
    let served = Served::start().await;
    served.send("PUT", "/v1/topics/t", "{}").await;
    let mut feed = Feed::follow(&served, "/v1/live?topic=t").await;
    publish_values(&served, "t", ["one", "two"]).await;
    assert_eq!(feed.values(1).await, ["one"]);
    let id = feed.last_id.clone();
    let data = served.close().await;
    let served = Served::start_on(HttpSettings::default(), data).await;
    publish_values(&served, "t", ["three"]).await;
    let mut feed = Feed::resume(&served, "/v1/live?topic=t", &id).await;
    assert_eq!(feed.values(2).await, ["two", "three"]);
}

#[tokio::test]
async fn what_is_gone_meanwhile_is_told() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let feed = Feed::follow(&served, "/v1/live?topic=t").await;
    let id = feed.last_id.clone();
    drop(feed);
    publish_values(&served, "t", ["a", "b", "c", "d"]).await;
    let trim = "/v1/topics/t/partitions/0/records?before=3";
    assert_eq!(served.send("DELETE", trim, "").await.status, 204);
    let mut feed = Feed::resume(&served, "/v1/live?topic=t", &id).await;
    let lost = feed.event().await;
    assert_eq!(lost.name, "lost");
    assert_eq!(
        lost.json(),
        json!({"topic":"t","partition":0,"from":0,"to":3,"reason":"retention"})
    );
    assert_eq!(feed.values(1).await, ["d"]);
}

#[tokio::test]
async fn patterns_and_names_can_be_mixed() {
    let served = Served::start().await;
    for topic in ["orders.eu", "orders.us", "prices", "other"] {
        served.topic(topic, 1).await;
    }
    let path = "/v1/live?topic=prices&pattern=orders.%23&topic=prices";
    let mut feed = Feed::follow(&served, path).await;
    for topic in ["other", "orders.eu", "prices", "orders.us"] {
        publish_values(&served, topic, [topic]).await;
    }
    let mut seen = feed.values(3).await;
    seen.sort();
    assert_eq!(seen, ["orders.eu", "orders.us", "prices"]);
    // What is created later joins in.
    served.topic("orders.new", 1).await;
    publish_values(&served, "orders.new", ["new"]).await;
    assert_eq!(feed.values(1).await, ["new"]);
    // A topic that only a pattern names is nobody's end, one that was named is.
    served.send("DELETE", "/v1/topics/orders.eu", "").await;
    publish_values(&served, "orders.us", ["still there"]).await;
    assert_eq!(feed.values(1).await, ["still there"]);
    served.send("DELETE", "/v1/topics/prices", "").await;
    feed.ends_with("unknown-topic").await;
}

#[tokio::test]
async fn a_filter_leaves_records_out() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let path = "/v1/live?topic=t&filter=%7B%22header%22:%22region%22,%22equals%22:%22eu%22%7D";
    let mut feed = Feed::follow(&served, path).await;
    let records = json!([
        {"value":"no"},
        {"value":"yes","headers":{"region":"eu"}},
        {"value":"no","headers":{"region":"us"}},
        {"value":"too","headers":{"region":"eu"}},
    ]);
    publish(&served, "t", &records).await;
    assert_eq!(feed.values(2).await, ["yes", "too"]);
}

#[tokio::test]
async fn a_feed_begins_where_it_is_told_to() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let records = json!([
        {"key":"a","value":"a1","timestamp":1000},
        {"key":"b","value":"b1","timestamp":2000},
        {"key":"a","value":"a2","timestamp":3000},
        {"key":"b","value":null,"timestamp":4000},
        {"key":"c","value":"c1","timestamp":5000},
    ]);
    publish(&served, "t", &records).await;
    for (place, expected) in [
        ("from=earliest", &["a1", "b1", "a2"][..]),
        ("time=1500", &["b1", "a2"]),
        ("offsets=0:2", &["a2"]),
        ("from=latest_per_key", &["a2", "c1"]),
        ("from=now", &[]),
    ] {
        let mut feed = Feed::follow(&served, &format!("/v1/live?topic=t&{place}")).await;
        assert_eq!(feed.values(expected.len()).await, expected, "{place}");
    }
    let mut feed = Feed::follow(&served, "/v1/live?topic=t&from=latest_per_key").await;
    // There is no place to go on from before it follows.
    assert_eq!(feed.last_id, "");
    publish_values(&served, "t", ["and then"]).await;
    assert_eq!(feed.values(3).await, ["a2", "c1", "and then"]);
    let id = feed.last_id.clone();
    publish_values(&served, "t", ["more"]).await;
    let mut feed = Feed::resume(&served, "/v1/live?topic=t&from=latest_per_key", &id).await;
    assert_eq!(feed.values(1).await, ["more"]);
    let gone = served
        .get("/v1/live?topic=t&offsets=0:99")
        .await
        .problem(410, "offset-out-of-range");
    assert!(!gone.is_empty());
}

/// Publishes more than the sockets between hold while the reader does not read; returns how many records.
async fn outrun(served: &Served) -> usize {
    let value = "x".repeat(64 << 10);
    for n in 0..400 {
        let record = json!([{"key": format!("k{}", n % 10), "value": format!("{n} {value}")}]);
        publish(served, "t", &record).await;
    }
    400
}

/// What a slow reader is told in the end: the numbers of records, and how many were dropped.
async fn rest(feed: &mut Feed, last: usize) -> (Vec<usize>, u64) {
    let (mut numbers, mut dropped) = (Vec::new(), 0);
    loop {
        let event = feed.event().await;
        match event.name.as_str() {
            "message" => {
                let record = event.json();
                let value = record["value"].as_str().unwrap();
                numbers.push(value.split(' ').next().unwrap().parse().unwrap());
            }
            "dropped" => dropped += event.json()["count"].as_u64().unwrap(),
            "end" => return (numbers, dropped),
            other => panic!("{other}"),
        }
        if numbers.len() + dropped as usize > last {
            return (numbers, dropped);
        }
    }
}

#[tokio::test]
async fn a_slow_reader_gets_what_its_policy_says() {
    for policy in ["block", "drop_oldest", "drop_newest", "latest_per_key"] {
        // On a busy machine the feed may begin so late that it has it all from the log, and drops nothing.
        let deadline = Instant::now() + PATIENCE;
        while outrun_with(policy).await == 0 && policy != "block" {
            assert!(Instant::now() < deadline, "{policy} drops nothing");
        }
    }
}

/// Outruns a reader of that policy, checks what it gets, and returns how many records were dropped.
async fn outrun_with(policy: &str) -> u64 {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let path = format!("/v1/live?topic=t&slow={policy}&buffer_records=20");
    let mut feed = Feed::follow(&served, &path).await;
    let count = outrun(&served).await;
    let (numbers, dropped) = rest(&mut feed, count - 1).await;
    assert_eq!(numbers.len() + dropped as usize, count, "{policy}");
    assert!(numbers.is_sorted(), "{policy}");
    match policy {
        "block" => assert_eq!(dropped, 0),
        "drop_oldest" => assert!(numbers.ends_with(&[398, 399]), "{numbers:?}"),
        "drop_newest" => assert!(numbers.starts_with(&[0, 1]), "{numbers:?}"),
        // The last of each key came.
        _ => assert!(numbers.ends_with(&[390, 391, 392, 393, 394, 395, 396, 397, 398, 399])),
    }
    let page = served.get("/metrics").await;
    let page = String::from_utf8(page.body).unwrap();
    let counted = format!("millstream_live_dropped_records_total {dropped}\n");
    assert!(page.contains(&counted), "{counted}");
    dropped
}

#[tokio::test]
async fn a_slow_reader_that_is_not_waited_for_comes_back_without_loss() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let path = "/v1/live?topic=t&slow=disconnect&buffer_records=20";
    let mut feed = Feed::follow(&served, path).await;
    let count = outrun(&served).await;
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let (more, dropped) = rest(&mut feed, count - 1 - numbers.len()).await;
        assert_eq!(dropped, 0);
        numbers.extend(more);
        let id = feed.last_id.clone();
        feed = Feed::resume(&served, path, &id).await;
    }
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    for (query, status, code) in [
        ("", 400, "bad-query"),
        ("?topic=t&topics=u", 400, "bad-query"),
        ("?topic=t&from=yesterday", 400, "bad-query"),
        ("?topic=t&from=now&time=4", 400, "bad-query"),
        ("?topic=t&filter=%7B", 400, "bad-query"),
        ("?pattern=a*", 400, "bad-query"),
        ("?pattern=", 400, "bad-query"),
        ("?topic=t&slow=never", 400, "bad-query"),
        ("?topic=t&buffer_records=0", 400, "bad-query"),
        ("?topic=t&buffer_bytes=99999999999", 400, "bad-query"),
        ("?topic=t&last_event_id=here", 400, "bad-query"),
        ("?topic=none", 404, "unknown-topic"),
    ] {
        let path = format!("/v1/live{query}");
        served.get(&path).await.problem(status, code);
    }
    let many = "&pattern=a".repeat(200);
    let path = format!("/v1/live?topic=t{many}");
    served.get(&path).await.problem(400, "bad-query");
    let garbage = Feed::open(
        served.raw().await,
        "/v1/live?topic=t",
        &[("last-event-id", "\u{fffd};")],
    )
    .await;
    garbage.err().unwrap().problem(400, "bad-header");
    assert_eq!(served.broker.live_stats().subscriptions, 0);
}

#[tokio::test]
async fn a_shutdown_ends_feeds_properly() {
    let mut served = Served::start().await;
    served.topic("t", 1).await;
    let mut feeds = Vec::new();
    for _ in 0..20 {
        feeds.push(Feed::follow(&served, "/v1/live?topic=t").await);
    }
    publish_values(&served, "t", ["last"]).await;
    for feed in &mut feeds {
        assert_eq!(feed.values(1).await, ["last"]);
    }
    let began = Instant::now();
    served.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    for feed in &mut feeds {
        feed.ends_with("shutting-down").await;
    }
}

#[tokio::test]
async fn silence_is_broken_by_comments() {
    let served = Served::start_pinging(Duration::from_millis(50)).await;
    served.topic("t", 1).await;
    let began = Instant::now();
    let mut feed = Feed::follow(&served, "/v1/live?topic=t").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    publish_values(&served, "t", ["at last"]).await;
    assert_eq!(feed.values(1).await, ["at last"]);
    let looks = began.elapsed().as_millis() as usize / 50;
    assert!((1..=looks).contains(&feed.comments), "{}", feed.comments);
}

#[tokio::test]
async fn a_reader_is_told_how_far_its_filter_has_come() {
    let served = Served::start_pinging(Duration::from_millis(50)).await;
    served.topic("t", 1).await;
    let path = "/v1/live?topic=t&filter=%7B%22key%22%3A%7B%22equals%22%3A%22b%22%7D%7D";
    let mut feed = Feed::follow(&served, path).await;
    publish_values(&served, "t", ["left out", "too"]).await;
    let event = feed.event().await;
    assert_eq!(event.name, "position");
    assert_eq!(event.json(), json!({ "position": event.id }));
    assert!(event.id.ends_with("/0:2"), "{event:?}");
    // Once is enough.
    let comments = feed.comments;
    publish(&served, "t", &json!([{"key": "b", "value": "wanted"}])).await;
    assert_eq!(feed.values(1).await, ["wanted"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    publish(&served, "t", &json!([{"key": "b", "value": "again"}])).await;
    assert_eq!(feed.values(1).await, ["again"]);
    assert!(feed.comments > comments);

    let trim = "/v1/topics/t/partitions/0/records?before=2";
    assert_eq!(served.send("DELETE", trim, "").await.status, 204);
    let mut feed = Feed::resume(&served, path, &event.id).await;
    assert_eq!(feed.values(2).await, ["wanted", "again"]);
}

#[tokio::test]
async fn a_reader_that_leaves_is_forgotten() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut feeds = Vec::new();
    for _ in 0..50 {
        feeds.push(Feed::follow(&served, "/v1/live?topic=t").await);
    }
    assert_eq!(served.broker.live_stats().subscriptions, 50);
    drop(feeds);
    let deadline = Instant::now() + Duration::from_secs(5);
    while served.broker.live_stats().subscriptions > 0 {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            served.broker.live_stats()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(served.broker.live_stats().hubs, 0);
}

#[tokio::test]
async fn pages_that_are_allowed_may_follow_and_others_may_not() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let origin = [("origin", "http://localhost:3000")];
    let feed = Feed::open(served.raw().await, "/v1/live?topic=t", &origin).await;
    let headers = feed.ok().unwrap().headers;
    let allowed = (
        "access-control-allow-origin".to_owned(),
        origin[0].1.to_owned(),
    );
    assert!(headers.contains(&allowed), "{headers:?}");
    let foreign = [("origin", "http://evil.example")];
    let feed = Feed::open(served.raw().await, "/v1/live?topic=t", &foreign).await;
    feed.err().unwrap().problem(403, "foreign-origin");
}
