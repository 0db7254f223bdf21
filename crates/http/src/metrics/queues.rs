//! What is in queues, and what happened to it.

use millstream_broker::Broker;
use millstream_broker::queues::QueueStats;
use millstream_broker::queues::machine::Depth;

use super::Omitted;
use super::text::{Column, Page};

const AT_PRESENT: [Column<QueueStats>; 4] = [
    (
        "millstream_queue_depth",
        "Messages that are not finished.",
        |queue| queue.depth.open,
    ),
    (
        "millstream_queue_in_flight",
        "Messages that are delivered, and not settled yet.",
        |queue| queue.depth.leased,
    ),
    (
        "millstream_queue_waiting_requests",
        "Requests that wait for messages.",
        |queue| queue.waiting_requests as u64,
    ),
    (
        "millstream_queue_paused",
        "1 while deliveries are suspended.",
        |queue| u64::from(queue.paused),
    ),
];

const HAPPENED: [Column<QueueStats>; 16] = [
    (
        "millstream_queue_delivered_total",
        "Deliveries, each attempt for itself.",
        |queue| queue.totals.delivered,
    ),
    (
        "millstream_queue_redelivered_total",
        "Deliveries after the first of their message.",
        |queue| queue.totals.redelivered,
    ),
    (
        "millstream_queue_acknowledged_total",
        "Messages that were acknowledged.",
        |queue| queue.totals.acknowledged,
    ),
    (
        "millstream_queue_nacked_total",
        "Messages that a consumer gave back.",
        |queue| queue.totals.nacked,
    ),
    (
        "millstream_queue_timed_out_total",
        "Messages that came back because their lease ran out.",
        |queue| queue.totals.timed_out,
    ),
    (
        "millstream_queue_dead_lettered_total",
        "Messages that went to the dead letters.",
        |queue| queue.totals.dead_lettered,
    ),
    (
        "millstream_queue_discarded_total",
        "Messages that failed for good where no dead letters are kept.",
        |queue| queue.totals.discarded,
    ),
    (
        "millstream_queue_expired_total",
        "Messages whose time to live ended.",
        |queue| queue.totals.expired,
    ),
    (
        "millstream_queue_overflowed_total",
        "Messages that were dropped because the queue was too long.",
        |queue| queue.totals.overflowed,
    ),
    (
        "millstream_queue_purged_total",
        "Messages that were purged.",
        |queue| queue.totals.purged,
    ),
    (
        "millstream_queue_duplicates_total",
        "Messages that repeated the id of an earlier one.",
        |queue| queue.totals.duplicates,
    ),
    (
        "millstream_queue_filtered_total",
        "Messages that the queue's filter does not want.",
        |queue| queue.totals.filtered,
    ),
    (
        "millstream_queue_lost_total",
        "Messages that retention or a deletion took out of the log before they were finished.",
        |queue| queue.totals.lost,
    ),
    (
        "millstream_queue_damaged_total",
        "Messages of which what is stored is damaged, so that they cannot be delivered.",
        |queue| queue.totals.damaged,
    ),
    (
        "millstream_queue_skipped_total",
        "Offsets without a message: gaps, control batches, aborted transactions.",
        |queue| queue.totals.skipped,
    ),
    (
        "millstream_queue_ids_forgotten_total",
        "Ids that deduplication forgot before their window was over, for lack of room: what repeats one is delivered.",
        |queue| queue.totals.ids_forgotten,
    ),
];

pub(super) fn write(page: &mut Page, broker: &Broker, omitted: &mut Omitted) {
    let mut queues = broker.queue_stats();
    page.gauge("millstream_queues", "Queues.", queues.len());
    omitted.cut("queues", &mut queues);
    let rows = queues.iter().map(|(name, _, stats)| (&**name, stats));
    page.gauge_table(&AT_PRESENT, "queue", &rows);
    let mut family = page.gauges(
        "millstream_queue_messages",
        "Messages that are not finished, by state: parked are those that are delayed or rest between attempts, behind_key \
         those behind others of their key, waiting those that have not been looked at yet.",
    );
    for (name, stats) in rows.clone() {
        for (state, count) in by_state(&stats.depth) {
            family.sample(&[("queue", name), ("state", state)], count);
        }
    }
    let mut family = page.gauges(
        "millstream_queue_oldest_age_seconds",
        "The age of the oldest message that is not finished, as of a few seconds ago; 0 if there is none.",
    );
    let now_ms = broker.env().clock.wall_ms();
    for (name, stats) in rows.clone() {
        let made_at = stats.oldest.map_or(now_ms, |time| time.0);
        let age_ms = now_ms.saturating_sub(made_at).max(0);
        family.sample(&[("queue", name)], age_ms as f64 / 1e3);
    }
    page.counter_table(&HAPPENED, "queue", &rows);
}

/// The states that a message which is not finished can be in.
fn by_state(depth: &Depth) -> [(&'static str, u64); 5] {
    [
        ("ready", depth.ready),
        ("leased", depth.leased),
        ("parked", depth.parked),
        ("behind_key", depth.behind_key),
        ("waiting", depth.waiting),
    ]
}
