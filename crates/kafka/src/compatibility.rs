//! The served APIs as a page for people: `docs/kafka-apis.md` is what [`served_apis_page`] returns.

use std::fmt::Write;

use crate::dispatch::APIS;

const INTRODUCTION: &str = "\
# Kafka APIs

<!-- Written from the table in crates/kafka/src/dispatch.rs. To change it, change the table and run `make docs`. -->

What a server answers over the Kafka protocol, with the versions of each request. Clients learn the same from
`ApiVersions` and choose the newest version that both know. Produce is advertised from version 0 on, as Kafka 4 does for
the sake of older librdkafka releases; a request of version 0 to 2 is refused with `UNSUPPORTED_VERSION`.

A request for any other API closes the connection, as it does with Kafka.

| API | key | versions |
| --- | --- | --- |
";

/// The page, in Markdown.
pub fn served_apis_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for api in APIS {
        let (name, key) = (api.key.name(), api.key.number());
        let _ = writeln!(
            page,
            "| {name} | {key} | {}–{} |",
            api.versions.min, api.versions.max
        );
    }
    page
}
