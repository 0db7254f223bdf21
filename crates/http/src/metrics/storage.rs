//! The journal, the disk and memory.

use millstream_broker::Broker;

use super::text::Page;

pub(super) fn write(page: &mut Page, broker: &Broker) {
    page.gauge(
        "millstream_failed",
        "1 when the store has failed and the server must be restarted.",
        u8::from(broker.failed().is_some()),
    );
    page.histogram(
        "millstream_produce_seconds",
        "From an append to its acknowledgement, whoever appends.",
        &broker.produce_times(),
    );
    memory(page, broker);
    journal(page, broker);
    disk(page, broker);
}

fn memory(page: &mut Page, broker: &Broker) {
    let stats = broker.stats();
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
        "millstream_memory_cache_bytes",
        "The part of it that gives way when it is needed.",
        stats.memory_cache_bytes,
    );
    page.gauge(
        "millstream_producers_waiting",
        "Appends that wait for memory.",
        stats.producers_waiting,
    );
    page.gauge(
        "millstream_readers_waiting",
        "1 while reads wait for memory that slow readers hold.",
        u8::from(broker.readers_wait() || broker.live_readers_wait()),
    );
}

fn journal(page: &mut Page, broker: &Broker) {
    let stats = broker.stats();
    page.counter(
        "millstream_journal_bytes_total",
        "Bytes written to the journal.",
        stats.journal_bytes,
    );
    page.counter(
        "millstream_journal_commits_total",
        "Commits written to the journal.",
        stats.journal_commits,
    );
    page.histogram(
        "millstream_journal_group_bytes",
        "Sizes of the groups of commits that are written, and synced, at once.",
        &stats.journal_group_sizes,
    );
    page.histogram(
        "millstream_journal_write_seconds",
        "Writing a group, and syncing it if it has to be.",
        &stats.journal_write_times,
    );
    page.histogram(
        "millstream_fsync_seconds",
        "Syncing a group alone.",
        &stats.journal_sync_times,
    );
    page.gauge(
        "millstream_journal_group_seconds_max",
        "The longest write and sync of one group.",
        stats.journal_group_us_max as f64 / 1e6,
    );
    page.gauge(
        "millstream_journal_unsettled_bytes",
        "Bytes in the journal that are not in packs yet.",
        stats.unsettled_bytes,
    );
}

fn disk(page: &mut Page, broker: &Broker) {
    let stats = broker.stats();
    if let Some(available) = stats.disk_available_bytes {
        page.gauge(
            "millstream_disk_available_bytes",
            "Bytes that are free on the disk.",
            available,
        );
    }
    page.gauge(
        "millstream_disk_claimed_bytes",
        "The part of them that records taken so far will need.",
        stats.disk_claimed_bytes,
    );
    page.gauge(
        "millstream_disk_reserve_bytes",
        "What is kept free beside that.",
        stats.disk_reserve_bytes,
    );
    page.gauge(
        "millstream_disk_full",
        "1 while records are refused for want of disk space.",
        u8::from(stats.disk_full),
    );
}
