//! A `WebSocket`: follow and consume on one connection, and how it ends.

mod support;

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use millstream_http::HttpSettings;
use serde_json::{Value, json};
use support::sockets::{Socket, receipts};
use support::{PATIENCE, Served};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test]
async fn one_socket_publishes_follows_and_consumes() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    served.queue("q", "t").await;
    let mut socket = Socket::open(&served).await;
    let subscribed = socket
        .ask(json!({"type":"subscribe","subscription":"live","topics":["t"]}))
        .await;
    assert_eq!(subscribed["type"], "subscribed");
    assert!(subscribed["position"].is_string());
    let record = json!({"key":"k","value":{"order":1},"headers":{"a":["1",null]},"timestamp":1234});
    let published = socket
        .ask(json!({"type":"publish","topic":"t","record":record}))
        .await;
    let places = json!([{"partition":0,"offset":0,"timestamp":1234}]);
    assert_eq!(
        (&published["topic"], &published["records"]),
        (&json!("t"), &places)
    );
    let came = socket.event("record", "live").await;
    let read = served.get("/v1/topics/t/partitions/0/records").await.ok();
    assert_eq!(came["record"], read["records"][0]);

    let consuming = socket
        .ask(json!({"type":"consume","subscription":"work","queue":"q","credit":10}))
        .await;
    assert_eq!(consuming["type"], "consuming");
    let messages = socket.messages("work", 1).await;
    assert_eq!(messages[0]["value"], "{\"order\":1}");
    assert_eq!(messages[0]["attempts"], 1);
    let acked = socket
        .ask(json!({"type":"ack","queue":"q","receipts":receipts(&messages)}))
        .await;
    assert_eq!(acked["type"], "settled");
    assert_eq!(acked["results"], json!([{"ok":true}]));
    assert_eq!(served.open_messages("q").await["open"], 0);
    let pong = socket.ask(json!({"type":"ping"})).await;
    assert_eq!(pong["type"], "pong");
}

#[tokio::test]
async fn credit_is_what_may_come() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut socket = Socket::open(&served).await;
    for (name, credit) in [("two", 2), ("none", 0)] {
        let frame = json!({"type":"subscribe","subscription":name,"topics":["t"],"credit":credit});
        socket.ask(frame).await;
    }
    socket.publish("t", &["a", "b", "c", "d"]).await;
    assert_eq!(socket.values("two", 2).await, ["a", "b"]);
    socket.silence().await;
    socket
        .send(&json!({"type":"credit","subscription":"none","credit":1}))
        .await;
    assert_eq!(socket.values("none", 1).await, ["a"]);
    let ok = socket
        .ask(json!({"type":"credit","subscription":"two","credit":100}))
        .await;
    assert_eq!(ok["type"], "ok");
    assert_eq!(socket.values("two", 2).await, ["c", "d"]);
    let gone = socket
        .ask(json!({"type":"unsubscribe","subscription":"two"}))
        .await;
    assert_eq!(gone["type"], "unsubscribed");
    socket.publish("t", &["e"]).await;
    socket.silence().await;
    // The name is free again.
    let again = json!({"type":"subscribe","subscription":"two","topics":["t"],"from":"earliest"});
    socket.ask(again).await;
    assert_eq!(socket.values("two", 5).await, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_queue_gives_as_much_as_there_is_credit_for() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    served.queue("q", "t").await;
    let mut socket = Socket::open(&served).await;
    socket.publish("t", &["a", "b", "c", "d", "e"]).await;
    socket
        .ask(json!({"type":"consume","subscription":"w","queue":"q","credit":2,"max":1}))
        .await;
    let first = socket.messages("w", 2).await;
    socket.silence().await;
    let nacked = json!({"type":"nack","queue":"q","receipts":receipts(&first[..1]),"delay_ms":0});
    assert_eq!(socket.ask(nacked).await["results"], json!([{"ok":true}]));
    let extended =
        json!({"type":"extend","queue":"q","receipts":receipts(&first[1..]),"visibility_ms":60000});
    assert_eq!(socket.ask(extended).await["results"], json!([{"ok":true}]));
    socket
        .send(&json!({"type":"credit","subscription":"w","credit":10}))
        .await;
    let rest = socket.messages("w", 4).await;
    let again = rest.iter().find(|message| message["value"] == "a").unwrap();
    assert_eq!(again["attempts"], 2);
    let rejected = json!({"type":"reject","queue":"q","receipts":receipts(&rest)});
    let results = socket.ask(rejected).await["results"].clone();
    assert_eq!(
        results,
        json!([{"ok":true},{"ok":true},{"ok":true},{"ok":true}])
    );
    let late = json!({"type":"ack","queue":"q","receipts":[first[0]["receipt"], first[1]["receipt"], "x"]});
    let results = socket.ask(late).await["results"].clone();
    assert_eq!(results[0]["code"], "finished");
    assert_eq!(results[1], json!({"ok":true}));
    assert_eq!(results[2]["code"], "invalid");
}

#[tokio::test]
async fn what_a_socket_held_comes_back_when_it_goes() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    served.queue("q", "t").await;
    for how in ["closed", "cut", "unsubscribed"] {
        let mut socket = Socket::open(&served).await;
        socket.publish("t", &["a", "b", "c"]).await;
        let consume = json!({"type":"consume","subscription":"w","queue":"q","credit":2,
            "visibility_ms":43_200_000_u64});
        socket.ask(consume).await;
        let held = socket.messages("w", 2).await;
        assert_eq!(served.open_messages("q").await["leased"], 2);
        match how {
            "closed" => socket.stream.close(None).await.unwrap(),
            "cut" => drop(socket),
            _ => {
                // What was delivered stays the client's until it goes.
                socket
                    .ask(json!({"type":"unsubscribe","subscription":"w"}))
                    .await;
                let ack = json!({"type":"ack","queue":"q","receipts":receipts(&held[..1])});
                assert_eq!(socket.ask(ack).await["results"], json!([{"ok":true}]));
                assert_eq!(served.open_messages("q").await["leased"], 1);
                drop(socket);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while served.open_messages("q").await["leased"] != 0 {
            assert!(Instant::now() < deadline, "{how}: a lease is left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut other = Socket::open(&served).await;
        let left = if how == "unsubscribed" { 2 } else { 3 };
        other
            .ask(json!({"type":"consume","subscription":"w","queue":"q","credit":100}))
            .await;
        let all = other.messages("w", left).await;
        let ack = json!({"type":"ack","queue":"q","receipts":receipts(&all)});
        assert_eq!(
            other.ask(ack).await["results"].as_array().unwrap().len(),
            left
        );
    }
}

#[tokio::test]
async fn a_subscription_goes_on_where_it_stopped() {
    let served = Served::start().await;
    served.topic("t", 2).await;
    let mut socket = Socket::open(&served).await;
    let subscribe = json!({"type":"subscribe","subscription":"s","topics":["t"]});
    socket.ask(subscribe.clone()).await;
    socket.publish("t", &["a"]).await;
    let position = socket.event("record", "s").await["position"].clone();
    socket
        .ask(json!({"type":"unsubscribe","subscription":"s"}))
        .await;
    socket.publish("t", &["b"]).await;
    let mut resume = subscribe;
    resume["position"] = position;
    socket.ask(resume).await;
    assert_eq!(socket.values("s", 1).await, ["b"]);
    // And where records are gone meanwhile, that is told.
    for partition in 0..2 {
        let trim = format!("/v1/topics/t/partitions/{partition}/records");
        served.send("DELETE", &trim, "").await;
    }
    let earlier = socket
        .ask(json!({"type":"subscribe","subscription":"e","topics":["t"],"offsets":{"0":99}}))
        .await;
    assert_eq!(earlier["problem"]["code"], "offset-out-of-range");
    served.send("DELETE", "/v1/topics/t", "").await;
    let end = socket.event("end", "s").await;
    assert_eq!(end["problem"]["code"], "unknown-topic");
    socket
        .refused(
            json!({"type":"credit","subscription":"s","credit":1}),
            "unknown-subscription",
        )
        .await;
}

#[tokio::test]
async fn a_bad_frame_gets_an_error_and_harms_nobody() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut socket = Socket::open(&served).await;
    socket
        .ask(json!({"type":"subscribe","subscription":"s","topics":["t"]}))
        .await;
    for garbage in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{\"type\":1}",
        "{\"id\":1}",
        "\u{0}",
    ] {
        socket.send_text(garbage).await;
        let error = socket.next().await;
        assert_eq!(error["type"], "error", "{garbage:?}: {error}");
        assert_eq!(error["problem"]["code"], "bad-json", "{garbage:?}: {error}");
    }
    socket
        .stream
        .send(Message::binary(b"{}".to_vec()))
        .await
        .unwrap();
    assert_eq!(socket.next().await["problem"]["code"], "bad-json");
    for (frame, code) in [
        (json!({"type":"sing"}), "bad-json"),
        (
            json!({"type":"publish","topic":"none","record":{}}),
            "unknown-topic",
        ),
        (
            json!({"type":"publish","topic":"t","record":{"value":1,"priority":11}}),
            "invalid-record",
        ),
        (
            json!({"type":"publish","topic":"t","record":{"partition":7}}),
            "unknown-partition",
        ),
        (
            json!({"type":"subscribe","subscription":"x","topics":["none"]}),
            "unknown-topic",
        ),
        (
            json!({"type":"subscribe","subscription":"x","topics":[]}),
            "bad-query",
        ),
        (
            json!({"type":"subscribe","subscription":"s","topics":["t"]}),
            "exists",
        ),
        (
            json!({"type":"subscribe","subscription":"x","topics":["t"],"filter":{}}),
            "bad-query",
        ),
        (
            json!({"type":"unsubscribe","subscription":"x"}),
            "unknown-subscription",
        ),
        (
            json!({"type":"consume","subscription":"x","queue":"none","credit":1}),
            "unknown-queue",
        ),
        (
            json!({"type":"ack","queue":"none","receipts":[]}),
            "unknown-queue",
        ),
    ] {
        let detail = socket.refused(frame.clone(), code).await;
        assert!(!detail.is_empty(), "{frame}");
    }
    socket.publish("t", &["still here"]).await;
    assert_eq!(socket.values("s", 1).await, ["still here"]);
}

#[tokio::test]
async fn a_socket_has_bounds() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut socket = Socket::open(&served).await;
    for n in 0..100 {
        let frame =
            json!({"type":"subscribe","subscription":n.to_string(),"topics":["t"],"credit":0});
        assert_eq!(socket.ask(frame).await["type"], "subscribed");
    }
    let more = json!({"type":"subscribe","subscription":"more","topics":["t"]});
    socket.refused(more, "conflict").await;
    let long = "x".repeat(200);
    let named = json!({"type":"subscribe","subscription":long,"topics":["t"]});
    socket.refused(named, "invalid-name").await;
    let receipts = vec!["r"; 10_001];
    served.queue("q", "t").await;
    let many = json!({"type":"ack","queue":"q","receipts":receipts});
    socket.refused(many, "too-large").await;

    // A frame as large as may be is taken, a larger one ends the socket and nothing else.
    let value = "x".repeat(900_000);
    socket.publish("t", &[&value]).await;
    let mut large = Socket::open(&served).await;
    let _ = large.stream.send(Message::text("x".repeat(3 << 20))).await;
    let code = large.farewell().await;
    assert!(code.is_none_or(|code| code == CloseCode::Size), "{code:?}");
    assert_eq!(socket.ask(json!({"type":"ping"})).await["type"], "pong");
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let served = Served::start().await;
    let answer = served.get("/v1/ws").await;
    answer.problem(426, "upgrade-required");
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    // Bytes that are no frames end the socket.
    let mut socket = Socket::open(&served).await;
    let raw = socket.stream.get_mut();
    raw.write_all(&[0xff; 64]).await.unwrap();
    let code = socket.farewell().await;
    assert!(
        code.is_none_or(|code| code == CloseCode::Protocol),
        "{code:?}"
    );
    served.get("/healthz").await;
}

#[tokio::test]
async fn foreign_pages_open_no_socket() {
    let served = Served::start().await;
    for (header, value) in [("origin", "https://evil.example"), ("host", "evil.example")] {
        let refused = Socket::open_with(&served, &[(header, value)]).await;
        let Err(Error::Http(answer)) = refused else {
            panic!("{header}: it was opened")
        };
        assert_eq!(answer.status(), 403, "{header}");
    }
    let own = [("origin", "http://localhost:3000")];
    Socket::open_with(&served, &own).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_loses_nothing() {
    let mut served = Served::start().await;
    served.send("PUT", "/v1/topics/t", "{}").await;
    served.queue("q", "t").await;
    let mut socket = Socket::open(&served).await;
    socket.publish("t", &["a", "b"]).await;
    socket
        .ask(json!({"type":"consume","subscription":"w","queue":"q","credit":2}))
        .await;
    socket.messages("w", 2).await;
    let began = Instant::now();
    let (code, ()) = tokio::join!(socket.farewell(), served.stop());
    assert_eq!(code, Some(CloseCode::Away));
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(socket);
    let data = served.close().await;
    let served = Served::start_on(HttpSettings::default(), data).await;
    assert_eq!(served.open_messages("q").await["leased"], 0);
    assert_eq!(served.open_messages("q").await["open"], 2);
}

#[tokio::test]
async fn a_peer_that_has_vanished_is_dropped() {
    let served = Served::start_pinging(Duration::from_millis(50)).await;
    served.topic("t", 1).await;
    served.queue("q", "t").await;
    let mut alive = Socket::open(&served).await;
    // One that answers no pings, since nobody drives it.
    let mut silent = Socket::open(&served).await;
    silent.publish("t", &["a"]).await;
    silent
        .ask(json!({"type":"consume","subscription":"w","queue":"q","credit":1}))
        .await;
    silent.messages("w", 1).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        assert_eq!(alive.ask(json!({"type":"ping"})).await["type"], "pong");
        if served.open_messages("q").await["leased"] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the silent one is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut slow = Socket::open(&served).await;
    let mut socket = Socket::open(&served).await;
    for name in ["blocks", "drops"] {
        let slow_as = if name == "drops" {
            "drop_oldest"
        } else {
            "block"
        };
        let frame = json!({"type":"subscribe","subscription":name,"topics":["t"],"slow":slow_as,
            "buffer_records":10});
        slow.ask(frame).await;
    }
    let value = "x".repeat(64 << 10);
    for n in 0..300 {
        socket.publish("t", &[&format!("{n} {value}")]).await;
    }
    // It gets everything by one subscription; by the other the last, and how many it did not get.
    let (mut blocks, mut drops, mut dropped) = (0, 0, 0);
    while blocks < 300 || drops + dropped < 300 {
        let frame = slow.next().await;
        match (
            frame["type"].as_str().unwrap(),
            frame["subscription"].as_str(),
        ) {
            ("record", Some("blocks")) => blocks += 1,
            ("record", Some("drops")) => drops += 1,
            ("dropped", Some("drops")) => dropped += frame["count"].as_u64().unwrap(),
            _ => panic!("{frame}"),
        }
    }
    assert!(dropped > 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_after_a_shutdown() {
    let mut served = Served::start().await;
    served.topic("large", 1).await;
    served.send("PUT", "/v1/topics/t", "{}").await;
    served.queue("q", "t").await;
    let mut slow = Socket::open(&served).await;
    slow.publish("t", &["a"]).await;
    let consume = json!({"type":"consume","subscription":"w","queue":"q","credit":1,
        "visibility_ms":43_200_000_u64});
    slow.ask(consume).await;
    slow.messages("w", 1).await;
    slow.ask(json!({"type":"subscribe","subscription":"s","topics":["large"]}))
        .await;
    let mut socket = Socket::open(&served).await;
    let value = "x".repeat(256 << 10);
    for _ in 0..80 {
        socket.publish("large", &[&value]).await;
    }
    let began = Instant::now();
    served.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3));
    let data = served.close().await;
    let served = Served::start_on(HttpSettings::default(), data).await;
    let depth = served.open_messages("q").await;
    assert_eq!((&depth["leased"], &depth["open"]), (&json!(0), &json!(1)));
    drop(slow);
}

#[tokio::test]
async fn a_socket_that_stood_still_for_a_while_is_not_dropped() {
    let served = Served::start_pinging(Duration::from_millis(500)).await;
    served.topic("t", 1).await;
    let mut socket = Socket::open(&served).await;
    let subscribe = json!({"type":"subscribe","subscription":"s","topics":["t"],"from":"earliest"});
    socket.ask(subscribe).await;
    let value = "x".repeat(256 << 10);
    for _ in 0..80 {
        let body = json!({ "value": value }).to_string();
        let answer = served.send("POST", "/v1/topics/t/records", &body).await;
        assert_eq!(answer.status, 200);
    }
    // Nothing is read meanwhile, so nothing can be sent, and nobody asks for a sign of life.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for _ in 0..80 {
        socket.event("record", "s").await;
    }
    for _ in 0..3 {
        socket.silence().await;
        assert_eq!(socket.ask(json!({"type":"ping"})).await["type"], "pong");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_keep_memory_from_others() {
    let served = Served::start_short(4 << 20).await;
    served.topic("t", 1).await;
    for n in 0..12 {
        served.queue(&format!("q{n}"), "t").await;
    }
    let value = "x".repeat(64 << 10);
    for _ in 0..600 {
        let body = json!({ "value": value }).to_string();
        served
            .send("POST", "/v1/topics/t/records", &body)
            .await
            .ok();
    }
    let mut slow = Socket::open(&served).await;
    for n in 0..12 {
        let name = format!("q{n}");
        let consume = json!({"type":"consume","subscription":name,"queue":name,"credit":600});
        slow.send(&consume).await;
    }
    let deadline = Instant::now() + PATIENCE;
    let metrics = || async {
        let page = served.get("/metrics").await;
        String::from_utf8(page.body).unwrap()
    };
    // Its subscriptions themselves wait for each other's memory.
    while !metrics().await.contains("millstream_readers_waiting 1") {
        assert!(Instant::now() < deadline, "it holds too little");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Sooner than a client is given up that nobody waits for.
    let wait = Duration::from_secs(15);
    let read = served.get("/v1/topics/t/partitions/0/records?offset=0&max=1");
    let read = tokio::time::timeout(wait, read)
        .await
        .expect("it is served");
    assert_eq!(read.status, 200, "{read:?}");
    drop(slow);
}

/// One that takes a large record in longer than it is let take next to nothing.
#[tokio::test]
async fn a_client_that_reads_slowly_but_steadily_stays_while_others_wait_for_memory() {
    const RECORD_BYTES: usize = 16 << 20;
    let served = Served::start_short(4 << 20).await;
    let settings =
        r#"{"settings":{"millstream.durability":"memory","max.message.bytes":20000000}}"#;
    let created = served.send("PUT", "/v1/topics/t", settings).await;
    assert_eq!(created.status, 201, "{created:?}");
    let value = "x".repeat(RECORD_BYTES);
    for _ in 0..2 {
        served
            .publish_with(&[], "/v1/topics/t/records", &value)
            .await
            .ok();
    }
    let subscribe = json!({"type":"subscribe","subscription":"s","topics":["t"],"from":"earliest"});
    let mut slow = Socket::open(&served).await;
    slow.send(&subscribe).await;
    let stream = slow.stream.get_mut();
    let mut some = vec![0; 64 << 10];
    let mut taken = 0;
    // The first record is on its way, and the second one in memory behind it.
    while taken < some.len() {
        taken += stream.read(&mut some).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while served.broker.live_stats().delivered < 2 {
        assert!(Instant::now() < deadline, "the second one does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut waiting = Socket::open(&served).await;
    waiting.send(&subscribe).await;

    let began = Instant::now();
    let mut waited_last = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if served.broker.live_readers_wait() {
            waited_last = began.elapsed();
        }
        let bytes = stream.read(&mut some).await.expect("it is not cut off");
        assert!(bytes > 0, "it is not cut off");
        taken += bytes;
    }
    assert!(waited_last > Duration::from_secs(6), "{waited_last:?}");
    while taken < 2 * RECORD_BYTES {
        let bytes = stream.read(&mut some).await.expect("it gets the rest");
        assert!(bytes > 0, "it gets the rest: {taken}");
        taken += bytes;
    }
}

#[tokio::test]
async fn what_a_socket_is_to_get_of_topics_that_are_still_to_come_goes_on() {
    let served = Served::start().await;
    let mut socket = Socket::open(&served).await;
    let subscribe = json!({"type":"subscribe","subscription":"s","patterns":["e2.#"]});
    let position = socket.ask(subscribe).await["position"].clone();
    assert_eq!(position, "-");
    drop(socket);
    served.topic("e2.a", 1).await;
    served.publish("e2.a", r#"{"value":"one"}"#).await.ok();
    let mut socket = Socket::open(&served).await;
    let resume =
        json!({"type":"subscribe","subscription":"s","patterns":["e2.#"],"position":position});
    socket.ask(resume).await;
    assert_eq!(socket.values("s", 1).await, ["one"]);
}

#[tokio::test]
async fn feeds_that_are_not_read_are_bounded_together_and_give_way() {
    const MEMORY_BYTES: usize = 8 << 20;
    let served = Served::start_short(MEMORY_BYTES).await;
    served.topic("t", 1).await;
    let value = "x".repeat(100_000);
    for _ in 0..200 {
        let body = json!({ "value": value }).to_string();
        served.publish("t", &body).await.ok();
    }
    let subscribe = |name: &str| json!({"type":"subscribe","subscription":name,"topics":["t"],"from":"earliest"});
    let mut deaf = Vec::new();
    for _ in 0..40 {
        let mut socket = Socket::open(&served).await;
        for name in ["a", "b", "c"] {
            socket.send(&subscribe(name)).await;
        }
        deaf.push(socket);
    }
    let mut held_most = 0;
    let watch = async {
        loop {
            held_most = held_most.max(served.broker.live_stats().memory_bytes);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Who reads has his turn when those who do not have been given up for it.
    let read = async {
        let mut socket = Socket::open(&served).await;
        socket.ask(subscribe("s")).await;
        assert_eq!(socket.values("s", 200).await.len(), 200);
    };
    tokio::select! {
        () = watch => {}
        read = tokio::time::timeout(Duration::from_secs(60), read) => read.expect("it is served"),
    }
    assert!(held_most > MEMORY_BYTES / 4, "{held_most}");
    // Beside what is claimed before it is read there is its rendering as JSON.
    assert!(held_most < MEMORY_BYTES * 5 / 4, "{held_most}");
    drop(deaf);
}

/// The client has shown no sign of life for three times the interval when the third ping would be due.
#[tokio::test]
async fn a_silent_client_is_dropped_after_two_pings() {
    let served = Served::start_pinging(Duration::from_millis(400)).await;
    let socket = Socket::open(&served).await;
    let mut raw = socket.stream.into_inner();
    let mut heard = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut raw, &mut heard);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    let _ = read.expect("the server hangs up");
    assert_eq!(heard, [0x89, 0, 0x89, 0]);
}

/// A client that does not read what it has subscribed to, behind which messages of the queue `q` wait.
async fn stuck(served: &Served, visibility_ms: u64) -> Socket {
    served.topic("large", 1).await;
    served.topic("t", 1).await;
    let body = json!({"name": "q", "topic": "t", "from": "earliest",
        "policy": {"retry": {"attempts_max": 1}, "dead_letters": true}});
    let made = served.send("POST", "/v1/queues", &body.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut slow = Socket::open(served).await;
    slow.ask(json!({"type":"subscribe","subscription":"s","topics":["large"]}))
        .await;
    slow.ask(
        json!({"type":"consume","subscription":"w","queue":"q","credit":100,"max":1,
        "visibility_ms":visibility_ms}),
    )
    .await;
    // Nothing more fits into what the client does not read.
    let mut socket = Socket::open(served).await;
    let value = "x".repeat(256 << 10);
    for _ in 0..80 {
        socket.publish("large", &[&value]).await;
    }
    socket.publish("t", &["a", "b", "c"]).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while served.open_messages("q").await["leased"] == 0 {
        assert!(Instant::now() < deadline, "nothing is delivered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    slow
}

#[tokio::test]
async fn messages_that_were_never_written_do_not_count_as_attempts() {
    let served = Served::start().await;
    drop(stuck(&served, 30_000).await);
    let deadline = Instant::now() + Duration::from_secs(5);
    while served.open_messages("q").await["leased"] != 0 {
        assert!(Instant::now() < deadline, "nothing comes back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let depth = served.open_messages("q").await;
    assert_eq!((&depth["ready"], &depth["open"]), (&json!(3), &json!(3)));
    let queue = served.get("/v1/queues/q").await.ok();
    assert_eq!(queue["totals"]["dead_lettered"], 0, "{queue}");
}

#[tokio::test]
async fn messages_whose_time_ends_before_they_are_written_do_not_count_as_attempts() {
    let served = Served::start().await;
    let mut slow = stuck(&served, 1_000).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let queue = served.get("/v1/queues/q").await.ok();
    assert_eq!(queue["totals"]["timed_out"], 0, "{queue}");
    // Once it reads it gets them, in time and for the first time.
    let mut done = 0;
    while done < 3 {
        let frame = slow.next().await;
        if frame["type"] == "message" {
            assert_eq!(frame["message"]["attempts"], 1, "{frame}");
            let receipts = receipts(&[frame["message"].clone()]);
            let ack = json!({"type":"ack","queue":"q","receipts":receipts});
            let results = slow.ask(ack).await["results"].clone();
            assert_eq!(results, json!([{"ok":true}]));
            done += 1;
        }
    }
}

#[tokio::test]
async fn a_subscription_is_told_how_far_its_filter_has_come() {
    let served = Served::start_pinging(Duration::from_millis(500)).await;
    served.topic("t", 1).await;
    let mut socket = Socket::open(&served).await;
    let filter = json!({"key": {"equals": "b"}});
    socket
        .ask(json!({"type":"subscribe","subscription":"s","topics":["t"],"filter":filter,"credit":1}))
        .await;
    let publish = async |record: Value| {
        let published = served.publish("t", &record.to_string()).await;
        published.ok();
    };
    publish(json!({"records": [{"value": "left out"}, {"value": "too"}]})).await;
    let position = loop {
        let told = socket.event("position", "s").await;
        let position = told["position"].as_str().unwrap();
        if position.ends_with("/0:2") {
            break position.to_owned();
        }
        assert!(position.ends_with("/0:0"), "{told}");
    };
    // Once is enough, and it took no credit.
    socket.silence_for(Duration::from_millis(1_200)).await;
    publish(json!({"key": "b", "value": "wanted"})).await;
    assert_eq!(socket.values("s", 1).await, ["wanted"]);
    socket.silence().await;
    publish(json!({"key": "b", "value": "waits for credit"})).await;
    socket.silence().await;

    let resume = json!({"type":"subscribe","subscription":"r","topics":["t"],"position":position});
    socket.ask(resume).await;
    assert_eq!(socket.values("r", 2).await, ["wanted", "waits for credit"]);
}
