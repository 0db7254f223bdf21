//! Peers that are foreign, broken, slow or silent.

mod support;

use std::time::{Duration, Instant};

use millstream_http::HttpSettings;
use support::{Client, Served};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn foreign_pages_and_names_are_refused() {
    let served = Served::start_with(HttpSettings {
        allowed_origins: vec!["https://app.example".to_owned()],
        allowed_hosts: vec!["queue.internal".to_owned()],
        ..HttpSettings::default()
    })
    .await;
    let mut client = served.client().await;
    let mut get =
        async |headers: &[(&str, &str)]| client.request("GET", "/v1/topics", headers, b"").await;
    let detail = get(&[("origin", "http://evil.example")])
        .await
        .problem(403, "foreign-origin");
    assert!(detail.contains("--http-allowed-origins"), "{detail}");
    let detail = get(&[("host", "evil.example")])
        .await
        .problem(403, "foreign-host");
    assert!(detail.contains("--http-allowed-hosts"), "{detail}");
    get(&[("host", "queue.internal:80")]).await.ok();
    let allowed = get(&[("origin", "https://app.example")]).await;
    allowed.ok();
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(allowed.header("vary"), Some("Origin"));
    let plain = get(&[]).await;
    assert_eq!(plain.header("access-control-allow-origin"), None);
    // A refusal can be read by the page too, if it is one that may ask.
    let mut client = served.client().await;
    let refused = client
        .request(
            "GET",
            "/v1/topics/none",
            &[("origin", "http://localhost:3000")],
            b"",
        )
        .await;
    refused.problem(404, "unknown-topic");
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
}

#[tokio::test]
async fn an_upgrade_from_a_foreign_page_is_refused() {
    let served = Served::start().await;
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("origin", "https://evil.example"),
    ];
    let answer = served
        .client()
        .await
        .request("GET", "/v1/ws", &upgrade, b"")
        .await;
    answer.problem(403, "foreign-origin");
}

#[tokio::test]
async fn preflights_of_allowed_pages_are_answered() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let asked = [
        ("origin", "http://localhost:3000"),
        ("access-control-request-method", "PUT"),
        (
            "access-control-request-headers",
            "content-type,idempotency-key",
        ),
    ];
    let answer = client.request("OPTIONS", "/v1/topics/t", &asked, b"").await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    assert!(
        answer
            .header("access-control-allow-methods")
            .unwrap()
            .contains("PUT")
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("content-type,idempotency-key")
    );
    let foreign = [("origin", "http://evil.example"), asked[1]];
    let answer = client
        .request("OPTIONS", "/v1/topics/t", &foreign, b"")
        .await;
    answer.problem(403, "foreign-origin");
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_problems() {
    let served = Served::start().await;
    served.get("/").await.problem(404, "not-found");
    served.get("/v2/topics").await.problem(404, "not-found");
    let wrong = served.send("DELETE", "/v1/topics", "").await;
    wrong.problem(405, "method-not-allowed");
    assert!(wrong.header("allow").unwrap().contains("POST"), "{wrong:?}");
    let typed = [("content-type", "text/plain")];
    let answer = served
        .client()
        .await
        .request("POST", "/v1/topics", &typed, b"{\"name\":\"t\"}")
        .await;
    answer.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let served = Served::start().await;
    for garbage in [
        &b"\x00\x01\x02\x03\xff\xfe\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = served.client().await;
        client.write(garbage).await;
        let _ = client.shut().await;
        client.closed().await;
    }
    served.get("/healthz").await;
}

#[tokio::test]
async fn heads_and_bodies_beyond_the_bounds_are_refused() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut client = served.client().await;
    let long = "x".repeat(200 << 10);
    // The server hangs up on what it has not read, which may destroy its answer on the way.
    let head = format!("GET /v1/topics HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n");
    client.write(head.as_bytes()).await;
    let answer = client.try_answer().await;
    assert!(answer.is_none_or(|answer| answer.status == 431));
    let mut client = served.client().await;
    let many: Vec<String> = (0..200).map(|at| format!("x-{at}: 1\r\n")).collect();
    let head = format!(
        "GET /v1/topics HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        many.concat()
    );
    client.write(head.as_bytes()).await;
    let answer = client.try_answer().await;
    assert!(answer.is_none_or(|answer| answer.status == 431));

    // Refused on the word of its length, before any of it is sent.
    let mut client = served.client().await;
    client
        .write(b"POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n")
        .await;
    client.answer(false).await.problem(413, "too-large");
    client.closed().await;

    // And as soon as it is too long where no length was told.
    let mut client = served.client().await;
    client
        .write(b"POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut chunk = format!("{:x}\r\n", 1 << 20).into_bytes();
    chunk.extend(vec![b'x'; 1 << 20]);
    chunk.extend_from_slice(b"\r\n");
    for _ in 0..33 {
        client.write(&chunk).await;
    }
    if let Some(answer) = client.try_answer().await {
        answer.problem(413, "too-large");
    }
    let kept = served.get("/v1/topics/t/partitions/0/records").await.ok();
    assert_eq!(kept["records"], serde_json::json!([]));
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_cut_off() {
    let served = Served::start_with(HttpSettings {
        connection_idle: Duration::from_millis(300),
        ..HttpSettings::default()
    })
    .await;
    let mut slow = served.client().await;
    let dripping = async {
        for byte in b"GET /v1/topics HTTP/1.1\r\nx-slow: 1" {
            slow.write(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slow.closed().await;
    };
    let mut silent = served.client().await;
    let began = Instant::now();
    tokio::join!(dripping, silent.closed());
    assert!(began.elapsed() < Duration::from_secs(5));
    // A request that waits on purpose is not idle.
    served.topic("t", 1).await;
    let path = "/v1/topics/t/partitions/0/records?wait_ms=900";
    served.get(path).await.ok();
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut client = served.client().await;
    client
        .write(b"POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n")
        .await;
    let (read, mut write) = client.into_inner().into_split();
    let dripping = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        write
    });
    let mut answer = Vec::new();
    let began = Instant::now();
    let mut read = read;
    let _ = tokio::time::timeout(
        Duration::from_secs(18),
        tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer),
    )
    .await
    .expect("the server gives up");
    dripping.abort();
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.starts_with("HTTP/1.1 408") && text.contains("body-too-slow"),
        "{text}"
    );
    assert!(began.elapsed() >= Duration::from_secs(9));
}

#[tokio::test]
async fn a_peer_that_hangs_up_midway_leaves_nothing() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    for _ in 0..20 {
        let mut client = served.client().await;
        client
            .write(b"POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf")
            .await;
        drop(client);
    }
    let answer = served.get("/v1/topics/t/partitions/0/records").await.ok();
    assert_eq!(answer["records"], serde_json::json!([]));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_and_places_come_back() {
    let served = Served::start_with(HttpSettings {
        connections_max: 2,
        ..HttpSettings::default()
    })
    .await;
    let mut first = served.client().await;
    first.send("GET", "/healthz", "").await;
    let mut second = served.client().await;
    second.send("GET", "/healthz", "").await;
    served.client().await.closed().await;
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut third = served.client().await;
        third
            .write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        if third.try_answer().await.is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "the place never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn two_thousand_idle_connections_are_in_nobodys_way() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..2_000 {
        idle.push(served.client().await);
    }
    let began = Instant::now();
    let body = r#"{"value":"still here"}"#;
    served.send("POST", "/v1/topics/t/records", body).await.ok();
    assert!(began.elapsed() < Duration::from_secs(2));
    let answer = idle[1_999]
        .send("GET", "/v1/topics/t/partitions/0/records", "")
        .await
        .ok();
    assert_eq!(answer["records"][0]["value"], "still here");
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let mut client = served.client().await;
    let mut all = Vec::new();
    for at in 0..50 {
        let body = format!("{{\"value\":\"{at}\"}}");
        all.extend(
            format!(
                "POST /v1/topics/t/records HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        );
    }
    client.write(&all).await;
    for at in 0..50 {
        assert_eq!(client.answer(false).await.ok()["records"][0]["offset"], at);
    }
}

/// A server with so little memory for readers, and a topic and a queue of three records of 5 MiB.
async fn with_large_records(read_memory_bytes: usize) -> Served {
    let served = Served::start_short(read_memory_bytes).await;
    let settings =
        r#"{"settings":{"millstream.durability":"memory","max.message.bytes":20000000}}"#;
    assert_eq!(
        served.send("PUT", "/v1/topics/t", settings).await.status,
        201
    );
    served.queue("q", "t").await;
    let value = "x".repeat(5 << 20);
    for _ in 0..3 {
        let path = "/v1/topics/t/records?key=k";
        served.publish_with(&[], path, &value).await.ok();
    }
    served
}

async fn ask(served: &Served, request: &str) -> Client {
    let mut client = served.client().await;
    let head = format!("{request}host: localhost\r\n\r\n");
    client.write(head.as_bytes()).await;
    client
}

#[tokio::test]
async fn an_answer_counts_until_it_is_taken() {
    let served = with_large_records(64 << 20).await;
    for request in [
        "GET /v1/topics/t/partitions/0/records HTTP/1.1\r\n",
        "GET /v1/topics/t/records?key=k HTTP/1.1\r\n",
        "GET /v1/topics/t/partitions/0/records?offset=1 HTTP/1.1\r\naccept: application/octet-stream\r\n",
        "GET /v1/queues/q/peek HTTP/1.1\r\n",
        "POST /v1/queues/q/receive HTTP/1.1\r\ncontent-length: 0\r\n",
    ] {
        let client = ask(&served, request).await;
        let deadline = Instant::now() + Duration::from_secs(10);
        // The answer is written as far as the peer takes it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        while served.broker.read_memory().0 < 5 << 20 {
            assert!(Instant::now() < deadline, "{request}: not counted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(client);
        while served.broker.read_memory().0 > 0 {
            assert!(Instant::now() < deadline, "{request}: not given back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn peers_that_take_next_to_nothing_do_not_keep_memory_from_others() {
    let served = with_large_records(12 << 20).await;
    let request = "GET /v1/topics/t/partitions/0/records?offset=0 HTTP/1.1\r\naccept: application/octet-stream\r\n";
    let mut trickling = Vec::new();
    for _ in 0..2 {
        let mut socket = ask(&served, request).await.into_inner();
        trickling.push(tokio::spawn(async move {
            let mut some = [0; 2_048];
            while tokio::io::AsyncReadExt::read(&mut socket, &mut some)
                .await
                .is_ok_and(|bytes| bytes > 0)
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(served.broker.read_memory().0 >= 10 << 20);
    let read = served.get("/v1/topics/t/partitions/0/records?offset=2");
    let read = tokio::time::timeout(Duration::from_secs(15), read).await;
    read.expect("it is served").ok();
    for trickling in trickling {
        trickling.abort();
    }
}
