//! The page that Prometheus reads, in its text format 0.0.4.

use std::fmt::{self, Write};
use std::sync::atomic::Ordering;

use millstream_broker::groups::{GroupId, OffsetKey};

use super::counters::{BUCKETS_US, Histogram, Operation};
use crate::app::App;

/// A page under way.
#[derive(Default)]
struct Page(String);

/// A value of a label, escaped.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl Page {
    /// Begins a metric.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl fmt::Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.metric(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.metric(name, "counter", help);
        self.sample(name, "", value);
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let (counts, sum_us) = histogram.read();
        let mut below = 0;
        for (bound, count) in BUCKETS_US.iter().zip(counts) {
            below += count;
            let bound = *bound as f64 / 1e6;
            self.sample(
                &format!("{name}_bucket"),
                &format!("{labels},le=\"{bound}\""),
                below,
            );
        }
        below += counts[BUCKETS_US.len()];
        self.sample(
            &format!("{name}_bucket"),
            &format!("{labels},le=\"+Inf\""),
            below,
        );
        self.sample(&format!("{name}_sum"), labels, sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), labels, below);
    }
}

/// Everything there is to count at present.
pub(crate) async fn page(app: &App) -> String {
    let mut page = Page::default();
    listener(&mut page, app);
    store(&mut page, app);
    topics(&mut page, app);
    groups(&mut page, app).await;
    page.0
}

fn listener(page: &mut Page, app: &App) {
    let metrics = &app.metrics;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    page.gauge(
        "millstream_http_connections",
        "Open HTTP connections.",
        load(&metrics.connections),
    );
    page.counter(
        "millstream_http_connections_opened_total",
        "HTTP connections accepted.",
        load(&metrics.connections_opened),
    );
    page.counter(
        "millstream_http_connections_refused_total",
        "HTTP connections refused because there were too many.",
        load(&metrics.connections_refused),
    );
    page.counter(
        "millstream_http_connections_failed_total",
        "HTTP connections dropped: too slow, silent, or not speaking HTTP.",
        load(&metrics.connections_failed),
    );
    page.counter(
        "millstream_http_foreign_requests_total",
        "Requests refused for a foreign Origin or Host.",
        load(&metrics.foreign),
    );
    page.counter(
        "millstream_http_body_bytes_total",
        "Bytes of request bodies.",
        load(&metrics.body_bytes),
    );
    page.counter(
        "millstream_http_records_published_total",
        "Records published over HTTP.",
        load(&metrics.published),
    );
    page.counter(
        "millstream_http_records_read_total",
        "Records read or received over HTTP.",
        load(&metrics.read),
    );
    let name = "millstream_http_answers_total";
    page.metric(name, "counter", "Answers by operation and status class.");
    for operation in Operation::ALL {
        for (hundreds, count) in metrics.answers[operation as usize].iter().enumerate() {
            let count = load(count);
            if count > 0 {
                let labels = format!("operation=\"{}\",status=\"{hundreds}xx\"", operation.name());
                page.sample(name, &labels, count);
            }
        }
    }
    let name = "millstream_http_request_seconds";
    page.metric(
        name,
        "histogram",
        "From the head of a request to its answer, waiting for records included.",
    );
    for operation in Operation::ALL {
        let labels = format!("operation=\"{}\"", operation.name());
        page.histogram(name, &labels, &metrics.latency[operation as usize]);
    }
}

fn store(page: &mut Page, app: &App) {
    let stats = app.broker.stats();
    page.gauge(
        "millstream_memory_bytes",
        "Memory that records take up.",
        stats.memory_bytes,
    );
    page.gauge(
        "millstream_memory_budget_bytes",
        "Memory that records may take up.",
        stats.memory_budget_bytes,
    );
    page.gauge(
        "millstream_journal_unsettled_bytes",
        "Bytes in the journal that are not settled yet.",
        stats.unsettled_bytes,
    );
    page.counter(
        "millstream_journal_bytes_total",
        "Bytes written to the journal.",
        stats.journal_bytes,
    );
    page.counter(
        "millstream_journal_groups_total",
        "Groups of commits written to the journal.",
        stats.journal_groups,
    );
    page.counter(
        "millstream_journal_commits_total",
        "Commits written to the journal.",
        stats.journal_commits,
    );
    page.counter(
        "millstream_journal_syncs_total",
        "Groups that were synced.",
        stats.journal_syncs,
    );
    page.counter(
        "millstream_journal_seconds_total",
        "Time spent writing and syncing groups.",
        stats.journal_us as f64 / 1e6,
    );
    page.gauge(
        "millstream_journal_group_seconds_max",
        "The longest write and sync of one group.",
        stats.journal_group_us_max as f64 / 1e6,
    );
    page.gauge(
        "millstream_disk_full",
        "1 while records are refused for want of disk space.",
        u8::from(stats.disk_full),
    );
    page.gauge(
        "millstream_readers_waiting",
        "1 while reads wait for memory that slow readers hold.",
        u8::from(app.broker.readers_wait()),
    );
    page.gauge(
        "millstream_failed",
        "1 when the store has failed and the server must be restarted.",
        u8::from(app.broker.failed().is_some()),
    );
}

fn topics(page: &mut Page, app: &App) {
    let topics = app.broker.topics();
    page.gauge("millstream_topics", "Topics.", topics.len());
    let sums: Vec<(String, i64, i64, u64)> = topics
        .iter()
        .map(|topic| {
            let mut sums = (0, 0, 0);
            for partition in topic.partitions() {
                let offsets = partition.offsets();
                sums.0 += offsets.high_watermark.get();
                sums.1 += offsets.high_watermark.get() - offsets.log_start.get();
                sums.2 += partition.size_bytes();
            }
            let label = format!("topic=\"{}\"", Label(topic.name().as_str()));
            (label, sums.0, sums.1, sums.2)
        })
        .collect();
    let name = "millstream_topic_records_written_total";
    page.metric(
        name,
        "counter",
        "Records that were ever readable: the sum of end offsets.",
    );
    for (label, written, _, _) in &sums {
        page.sample(name, label, written);
    }
    let name = "millstream_topic_records";
    page.metric(
        name,
        "gauge",
        "Offsets between the start and the end of the topic's partitions.",
    );
    for (label, _, held, _) in &sums {
        page.sample(name, label, held);
    }
    let name = "millstream_topic_bytes";
    page.metric(name, "gauge", "Bytes of the topic's batches.");
    for (label, _, _, bytes) in &sums {
        page.sample(name, label, bytes);
    }
}

async fn groups(page: &mut Page, app: &App) {
    let groups = app.broker.groups();
    let listing = groups.list();
    page.gauge("millstream_groups", "Consumer groups.", listing.len());
    let name = "millstream_group_lag_records";
    page.metric(
        name,
        "gauge",
        "Records that a group has not read yet, by topic.",
    );
    for group in listing {
        let Ok(offsets) = groups.all_offsets(&group.id).await else {
            continue;
        };
        let lags = lag_by_topic(
            app,
            &offsets
                .iter()
                .map(|(at, kept)| (*at, kept.offset.get()))
                .collect::<Vec<_>>(),
        );
        for (topic, lag) in lags {
            let labels = format!(
                "group=\"{}\",topic=\"{}\"",
                Label(group_name(&group.id)),
                Label(&topic)
            );
            page.sample(name, &labels, lag);
        }
    }
}

fn group_name(id: &GroupId) -> &str {
    id.as_str()
}

/// The lag in each topic, given the committed offsets in the order of topics.
fn lag_by_topic(app: &App, offsets: &[(OffsetKey, i64)]) -> Vec<(String, i64)> {
    let mut lags: Vec<(String, i64)> = Vec::new();
    for topic_offsets in offsets.chunk_by(|one, other| one.0.topic == other.0.topic) {
        let Some(topic) = app.broker.topic_by_id(topic_offsets[0].0.topic) else {
            continue;
        };
        let lag = topic_offsets.iter().filter_map(|(at, offset)| {
            let end = topic.partition(at.partition)?.offsets().high_watermark;
            Some((end.get() - offset).max(0))
        });
        lags.push((topic.name().as_str().to_owned(), lag.sum()));
    }
    lags
}
