//! Connections and requests, by protocol.

use millstream_metrics::Protocol;

use super::text::{Column, Page};
use crate::app::App;

const OPEN: [Column<Protocol>; 1] = [("millstream_connections", "Open connections.", |protocol| {
    protocol.open.get()
})];

const COUNTED: [Column<Protocol>; 5] = [
    (
        "millstream_connections_accepted_total",
        "Connections accepted.",
        |protocol| protocol.accepted.get(),
    ),
    (
        "millstream_connections_refused_total",
        "Connections refused because there were too many.",
        |protocol| protocol.refused.get(),
    ),
    (
        "millstream_connections_dropped_total",
        "Connections that were cut off: garbage, silence, not reading.",
        |protocol| protocol.dropped.get(),
    ),
    (
        "millstream_received_bytes_total",
        "Bytes from clients.",
        |protocol| protocol.received_bytes.get(),
    ),
    (
        "millstream_sent_bytes_total",
        "Bytes to clients.",
        |protocol| protocol.sent_bytes.get(),
    ),
];

pub(super) fn write(page: &mut Page, app: &App) {
    let protocols = app.broker.protocols();
    let rows = protocols
        .iter()
        .map(|protocol| (protocol.name(), &**protocol));
    page.gauge_table(&OPEN, "protocol", &rows);
    page.counter_table(&COUNTED, "protocol", &rows);
    let mut family = page.histograms(
        "millstream_request_seconds",
        "From a request to its answer, waiting for records included. Kinds of requests that never came are left out.",
    );
    for protocol in &protocols {
        for operation in protocol.operations() {
            let took = operation.took().read();
            if took.total() > 0 {
                let labels = [
                    ("protocol", protocol.name()),
                    ("operation", operation.name()),
                ];
                family.histogram(&labels, &took);
            }
        }
    }
    http(page, app);
}

/// What only HTTP has.
fn http(page: &mut Page, app: &App) {
    page.counter(
        "millstream_http_foreign_requests_total",
        "Requests refused for a foreign Origin or Host.",
        app.metrics.foreign.get(),
    );
    let mut family = page.counters(
        "millstream_http_answers_total",
        "Answers by operation and class of status.",
    );
    for (operation, hundreds, count) in app.metrics.answers() {
        if count > 0 {
            let status = format!("{hundreds}xx");
            family.sample(
                &[("operation", operation.name()), ("status", &status)],
                count,
            );
        }
    }
}
