//! How far groups are, and how live subscriptions are doing.

use millstream_broker::Broker;
use millstream_broker::groups::OffsetKey;
use millstream_limits::METRICS_GROUP_LAGS_MAX;

use super::text::Page;
use super::{Omitted, Room};

pub(super) async fn write(page: &mut Page, broker: &Broker, omitted: &mut Omitted) {
    groups(page, broker, omitted).await;
    live(page, broker);
}

async fn groups(page: &mut Page, broker: &Broker, omitted: &mut Omitted) {
    let groups = broker.groups();
    let mut listing = groups.list();
    page.gauge("millstream_groups", "Consumer groups.", listing.len());
    omitted.cut("groups", &mut listing);
    let mut family = page.gauges(
        "millstream_group_lag_records",
        "Records that a group has not read yet, by topic.",
    );
    let mut room = Room::new(METRICS_GROUP_LAGS_MAX);
    for group in listing {
        let Ok(offsets) = groups.all_offsets(&group.id).await else {
            continue;
        };
        let offsets: Vec<_> = offsets
            .iter()
            .map(|(at, kept)| (*at, kept.offset.get()))
            .collect();
        for (topic, lag) in lag_by_topic(broker, &offsets, &mut room) {
            family.sample(&[("group", group.id.as_str()), ("topic", &topic)], lag);
        }
    }
    omitted.count("group_topics", room.over);
}

/// The lag in each topic that there is room for, given the committed offsets in the order of topics.
fn lag_by_topic(
    broker: &Broker,
    offsets: &[(OffsetKey, i64)],
    room: &mut Room,
) -> Vec<(String, i64)> {
    let mut lags: Vec<(String, i64)> = Vec::new();
    for topic_offsets in offsets.chunk_by(|one, other| one.0.topic == other.0.topic) {
        let Some(topic) = broker.topic_by_id(topic_offsets[0].0.topic) else {
            continue;
        };
        if !room.take() {
            continue;
        }
        let lag = topic_offsets.iter().filter_map(|(at, offset)| {
            let end = topic.partition(at.partition)?.offsets().high_watermark;
            Some((end.get() - offset).max(0))
        });
        lags.push((topic.name().as_str().to_owned(), lag.sum()));
    }
    lags
}

fn live(page: &mut Page, broker: &Broker) {
    let stats = broker.live_stats();
    page.gauge(
        "millstream_live_memory_bytes",
        "Memory for records that live subscriptions have not taken, and for a few more that hubs keep.",
        stats.memory_bytes,
    );
    page.gauge(
        "millstream_live_subscriptions",
        "Live subscriptions that are open.",
        stats.subscriptions,
    );
    page.gauge(
        "millstream_live_partitions",
        "Partitions that somebody follows live.",
        stats.hubs,
    );
    page.counter(
        "millstream_live_delivered_records_total",
        "Records delivered to live subscriptions.",
        stats.delivered,
    );
    page.counter(
        "millstream_live_dropped_records_total",
        "Records that slow live subscriptions did not get.",
        stats.dropped,
    );
}
