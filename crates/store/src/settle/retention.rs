//! What retention by time and by size lets go.

use std::collections::BTreeMap;

use millstream_record::{Offset, TimestampMs};

use super::{PartitionFacts, SlotView};
use crate::ids::{PackId, PartitionId};
use crate::manifest::Manifest;
use crate::pack::PackRange;

/// Where each partition's log should start now, for those where it should move. The slot commits these as trims; once
/// they are durable and the [`SlotView`] reports them, the [`super::Housekeeper`] gives the disk back.
///
/// As in Kafka, the oldest range goes while all its records are older than `retention.ms`, and while what is left
/// without it is still at least `retention.bytes`. What is not settled yet counts and stays.
pub fn expired(
    manifest: &Manifest,
    view: &dyn SlotView,
    now: TimestampMs,
) -> Vec<(PartitionId, Offset)> {
    let created: BTreeMap<PackId, TimestampMs> = manifest
        .packs
        .values()
        .map(|pack| (pack.id, pack.created))
        .collect();
    let mut moves = Vec::new();
    for (partition, ranges) in manifest.by_partition() {
        let Some(facts) = view.facts(partition) else {
            continue;
        };
        // Without timestamps a range is as old as its pack.
        let age = |(pack, range): &(PackId, PackRange)| {
            if range.max_timestamp == TimestampMs::NONE {
                created[pack]
            } else {
                range.max_timestamp
            }
        };
        let log_start = new_log_start(&facts, &ranges, age, now);
        if log_start > facts.log_start {
            moves.push((partition, log_start));
        }
    }
    moves
}

fn new_log_start(
    facts: &PartitionFacts,
    ranges: &[(PackId, PackRange)],
    age: impl Fn(&(PackId, PackRange)) -> TimestampMs,
    now: TimestampMs,
) -> Offset {
    let mut log_start = facts.log_start;
    let policy = &facts.policy;
    if !policy.cleanup.deletes() {
        return log_start;
    }
    let live = ranges
        .iter()
        .filter(|(_, range)| range.end > facts.log_start);
    let bytes: u64 = live.clone().map(|(_, range)| range.bytes).sum();
    let mut excess_bytes = match policy.retention_bytes {
        Some(kept) => (bytes + facts.tail_bytes).saturating_sub(kept),
        None => 0,
    };
    for placed in live {
        let range = &placed.1;
        let too_old = policy.retention_ms.is_some_and(|retention_ms| {
            let age_ms = now.0.saturating_sub(age(placed).0);
            age_ms > 0 && age_ms as u64 > retention_ms
        });
        let too_much =
            policy.retention_bytes.is_some() && range.bytes <= excess_bytes && !range.is_empty();
        if !too_old && !too_much && !range.is_empty() {
            break;
        }
        // An empty range goes along with what follows it, or stays.
        if too_old || too_much {
            excess_bytes = excess_bytes.saturating_sub(range.bytes);
            log_start = range.end;
        }
    }
    log_start
}
