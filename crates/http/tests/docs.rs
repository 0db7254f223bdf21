//! `docs/openapi.json` is what the server describes itself as.

mod support;

use std::path::Path;

use support::Served;

#[test]
fn docs_openapi_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let document = millstream_http::openapi_document();
    if std::env::var_os("MILLSTREAM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, document).expect("docs/ can be written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == document,
        "docs/openapi.json has drifted from the code; run `make docs`"
    );
}

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
            let refusal = &operation["responses"]["default"]["content"];
            assert!(
                refusal["application/problem+json"].is_object(),
                "{method} {path}"
            );
            let concrete = path.replace("{partition}", "0").replace(['{', '}'], "");
            let answer = served.send(&method.to_uppercase(), &concrete, "").await;
            let is_missing = answer.status == 405
                || (answer.status == 404 && answer.json()["code"] == "not-found");
            assert!(!is_missing, "{method} {path}: {answer:?}");
        }
    }
    assert!(count >= 18, "{count}");
}
