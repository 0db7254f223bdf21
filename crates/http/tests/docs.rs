//! `docs/openapi.json` is what the server describes itself as, and `docs/metrics.md` lists what it counts.

mod support;

use std::fmt::Write;
use std::path::Path;

use support::Served;

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
seconds, sizes in bytes. Topics, queues, groups and routes have series of their own, up to a thousand each. What to watch, and
what to do about it, is in [operations](operations.md).

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
