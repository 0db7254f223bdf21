//! `docs/kafka-apis.md` is what the dispatch table says.

use std::path::Path;

#[test]
fn docs_kafka_apis_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kafka-apis.md");
    let page = millstream_kafka::served_apis_page();
    if std::env::var_os("MILLSTREAM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).expect("docs/ can be written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/kafka-apis.md has drifted from the dispatch table; run `make docs`"
    );
}
