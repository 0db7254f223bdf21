//! `docs/openapi.json` is what the server describes itself as, and `docs/metrics.md` lists what it counts.

mod support;

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use support::Served;
use support::sockets::Socket;

/// The file in `docs/` is this, or becomes it.
fn assert_current(file: &str, document: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(file);
    if std::env::var_os("MILLSTREAM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, document).expect("docs/ can be written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == document,
        "docs/{file} has drifted from the code; run `make docs`"
    );
}

#[test]
fn docs_openapi_is_current() {
    assert_current("openapi.json", millstream_http::openapi_document());
}

#[tokio::test]
async fn docs_metrics_is_current() {
    let served = Served::start().await;
    let page = served.get("/metrics").await;
    let page = String::from_utf8(page.body).unwrap();
    let mut document = METRICS_HEAD.to_owned();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = lines
            .next()
            .and_then(|line| line.rsplit_once(' '))
            .unwrap()
            .1;
        writeln!(document, "| `{name}` | {kind} | {help} |").unwrap();
    }
    assert_current("metrics.md", &document);
}

const METRICS_HEAD: &str = "# Metrics

<!-- Written from the code by `make docs`. -->

`GET /metrics` on the HTTP port is for Prometheus. Counters and histograms begin at 0 when the server starts; times are in
seconds, sizes in bytes. Topics, queues, groups and routes have series of their own, up to a thousand each; the lags of groups,
one for each topic that a group reads, up to ten thousand in all. What to watch, and what to do about it, is in
[operations](operations.md).

| name | kind | what it is |
| --- | --- | --- |
";

#[tokio::test]
async fn the_description_and_the_page_are_served() {
    let served = Served::start().await;
    let document = served.get("/openapi.json").await.ok();
    assert_eq!(document["openapi"], "3.1.0");
    let page = served.get("/docs").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        !String::from_utf8_lossy(&page.body).contains("https://"),
        "the page works offline"
    );
}

#[tokio::test]
async fn every_operation_of_the_description_is_there_and_may_refuse() {
    let served = Served::start().await;
    let document = served.get("/openapi.json").await.ok();
    let mut count = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            count += 1;
            // Any request may come from a foreign page.
            let refusal = &operation["responses"]["403"]["content"];
            assert!(
                refusal["application/problem+json"].is_object(),
                "{method} {path}"
            );
            let concrete = path.replace("{partition}", "0").replace(['{', '}'], "");
            let answer = served.send(&method.to_uppercase(), &concrete, "").await;
            let status = answer.status.to_string();
            assert!(
                operation["responses"][&status].is_object(),
                "{method} {path}: {answer:?}"
            );
            let is_missing = answer.status == 405
                || (answer.status == 404 && answer.json()["code"] == "not-found");
            assert!(!is_missing, "{method} {path}: {answer:?}");
        }
    }
    assert!(count >= 18, "{count}");
}

/// What docs/operations.md says is counted of a queue's messages is there under that name.
#[tokio::test]
async fn docs_operations_names_totals_that_there_are() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("in `totals`: ").unwrap();
    let list: String = rest.split("\n\n").take(2).collect();
    let served = Served::start().await;
    served.topic("t", 1).await;
    let queue = r#"{"name":"q","topic":"t"}"#;
    assert_eq!(served.send("POST", "/v1/queues", queue).await.status, 201);
    let totals = &served.get("/v1/queues/q").await.ok()["totals"];
    let names = list.split('`').skip(1).step_by(2);
    let names: Vec<&str> = names.filter(|name| !name.contains(' ')).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        assert!(totals[name].is_u64(), "{name} is not in {totals}");
    }
}

/// Whether `real` is what a page shows: the same, but for times, places and receipts, and for texts that are left out.
fn same(shown: &Value, real: &Value, name: &str) -> bool {
    match (shown, real) {
        (Value::Object(shown), Value::Object(real)) => {
            let names = |object: &serde_json::Map<String, Value>| -> Vec<String> {
                object.keys().cloned().collect()
            };
            names(shown) == names(real)
                && shown.iter().all(|(name, one)| same(one, &real[name], name))
        }
        (Value::Array(shown), Value::Array(real)) => {
            // Of several places only the first is shown.
            let is_cut = name == "records" && shown.len() < real.len();
            (is_cut || shown.len() == real.len())
                && shown
                    .iter()
                    .zip(real)
                    .all(|(one, other)| same(one, other, ""))
        }
        (Value::Number(_), Value::Number(_)) if ["timestamp", "held_until"].contains(&name) => true,
        (Value::String(shown), Value::String(real)) => {
            shown == "..." || ["position", "receipt"].contains(&name) || shown == real
        }
        _ => shown == real,
    }
}

/// The frames that docs/http-websocket.md shows, sent and compared in their order.
#[tokio::test]
async fn docs_http_websocket_shows_what_happens() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/http-websocket.md");
    let page = std::fs::read_to_string(page).unwrap();
    let served = Served::start().await;
    served.topic("orders", 1).await;
    served.topic("shipping", 1).await;
    let queue = r#"{"name":"mail","topic":"orders","from":"earliest"}"#;
    assert_eq!(served.send("POST", "/v1/queues", queue).await.status, 201);
    let mut socket = Socket::open(&served).await;
    // Receipts as they are shown, and as they are.
    let mut receipts: Vec<(String, String)> = Vec::new();
    let mut compared = 0;
    let blocks = page.split("```frames\n").skip(1);
    for line in blocks.flat_map(|block| block.split("```").next().unwrap().lines()) {
        if let Some(sent) = line.strip_prefix("> ") {
            let mut sent = sent.to_owned();
            for (shown, real) in &receipts {
                sent = sent.replace(shown, real);
            }
            socket.send_text(&sent).await;
            continue;
        }
        let shown: Value = serde_json::from_str(line.strip_prefix("< ").unwrap()).unwrap();
        let real = socket.next().await;
        assert!(
            same(&shown, &real, ""),
            "{shown}\nis shown, and\n{real}\ncame"
        );
        compared += 1;
        if let Some(receipt) = shown["message"]["receipt"].as_str() {
            let got = real["message"]["receipt"].as_str().unwrap();
            receipts.push((receipt.to_owned(), got.to_owned()));
        }
    }
    assert!(compared > 15, "the page has lost its examples");
}
