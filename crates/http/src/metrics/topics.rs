//! What came to topics, what went, what they hold; and where routes lead it.

use std::sync::Arc;

use millstream_broker::Broker;
use millstream_broker::routes::RouteStats;
use millstream_broker::topics::TopicHandle;

use super::Omitted;
use super::text::{Column, Page};

const TRAFFIC: [Column<Figures>; 4] = [
    (
        "millstream_topic_appended_records_total",
        "Records that were appended.",
        |topic| topic.appended_records,
    ),
    (
        "millstream_topic_appended_bytes_total",
        "Bytes of the batches that were appended.",
        |topic| topic.appended_bytes,
    ),
    (
        "millstream_topic_fetched_records_total",
        "Records that were fetched, in whole batches.",
        |topic| topic.fetched_records,
    ),
    (
        "millstream_topic_fetched_bytes_total",
        "Bytes of the batches that were fetched.",
        |topic| topic.fetched_bytes,
    ),
];

const HELD: [Column<Figures>; 2] = [
    (
        "millstream_topic_records",
        "Offsets between the start and the end of the topic's partitions.",
        |topic| topic.held,
    ),
    (
        "millstream_topic_bytes",
        "Bytes of the topic's batches.",
        |topic| topic.size_bytes,
    ),
];

const ROUTED: [Column<RouteStats>; 3] = [
    (
        "millstream_route_records_total",
        "Records that a route took, once for all its targets.",
        |stats| stats.records,
    ),
    (
        "millstream_route_refused_total",
        "Publishes that were refused because a target did not take a record.",
        |stats| stats.refused,
    ),
    (
        "millstream_route_skipped_records_total",
        "Records that a target did not get because it has been deleted.",
        |stats| stats.skipped,
    ),
];

/// A topic and its figures.
struct Figures {
    topic: Arc<TopicHandle>,
    appended_records: u64,
    appended_bytes: u64,
    fetched_records: u64,
    fetched_bytes: u64,
    held: u64,
    size_bytes: u64,
}

pub(super) fn write(page: &mut Page, broker: &Broker, omitted: &mut Omitted) {
    let mut topics = broker.topics();
    page.gauge("millstream_topics", "Topics.", topics.len());
    let partitions = topics.iter().map(|topic| topic.partitions().len());
    page.gauge(
        "millstream_partitions",
        "Partitions of all topics.",
        partitions.sum::<usize>(),
    );
    topics.sort_by(|one, other| one.name().cmp(other.name()));
    omitted.cut("topics", &mut topics);
    let figures: Vec<Figures> = topics.into_iter().map(look_at).collect();
    let rows = figures
        .iter()
        .map(|topic| (topic.topic.name().as_str(), topic));
    page.counter_table(&TRAFFIC, "topic", &rows);
    page.gauge_table(&HELD, "topic", &rows);
    routes(page, broker, omitted);
}

fn look_at(topic: Arc<TopicHandle>) -> Figures {
    let (mut held, mut size_bytes) = (0, 0);
    for partition in topic.partitions() {
        let offsets = partition.offsets();
        let held_here = offsets.high_watermark.get() - offsets.log_start.get();
        held += held_here.max(0) as u64;
        size_bytes += partition.size_bytes();
    }
    let appended = topic.appended();
    let (fetched_records, fetched_bytes) = topic.fetched();
    Figures {
        topic,
        appended_records: appended.records,
        appended_bytes: appended.bytes,
        fetched_records,
        fetched_bytes,
        held,
        size_bytes,
    }
}

fn routes(page: &mut Page, broker: &Broker, omitted: &mut Omitted) {
    let mut routes = broker.routes().list();
    page.gauge("millstream_routes", "Routes between topics.", routes.len());
    omitted.cut("routes", &mut routes);
    let figures: Vec<_> = routes
        .into_iter()
        .filter_map(|route| {
            let stats = broker.routes().stats(&route.name)?;
            Some((route, stats))
        })
        .collect();
    let rows = figures
        .iter()
        .map(|(route, stats)| (route.name.as_str(), stats));
    page.counter_table(&ROUTED, "route", &rows);
}
