//! Looking at the log for the machine: which records there are, and what they say of themselves.

use std::hash::Hasher;

use millstream_limits::{
    BATCH_DECOMPRESSED_BYTES_MAX, QUEUE_SCAN_BYTES_MAX, QUEUE_SCAN_RECORDS_MAX,
};
use millstream_record::{Batch, BatchHeader, Codec, Offset, Record, TimestampMs};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};

use super::cell::Cell;
use super::read::{after_damage, fetch};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::filter::Filter;
use crate::headers;
use crate::queues::machine::{Content, Effects, ScanRequest, ScannedBatch, ScannedRecord};
use crate::queues::policy::Look;
use crate::topics::PartitionHandle;

/// What one look at the log may still take in: no more than was asked for, or than is good for others that wait. What is
/// left is asked for again.
struct Room {
    records: usize,
    bytes: usize,
}

/// A batch that was looked at.
struct Seen {
    first: Offset,
    last: Offset,
    content: SeenContent,
}

enum SeenContent {
    Whole { newest: TimestampMs },
    Records(Vec<ScannedRecord>),
    Nothing,
    Undecodable,
    Damaged,
}

impl Cell {
    /// Looks at the part of the log that the machine asked for, and tells it.
    pub(super) async fn scan(
        &self,
        broker: &Broker,
        partition: &PartitionHandle,
        request: ScanRequest,
    ) -> Result<(), BrokerError> {
        let filter = self.definition().filter.clone();
        let (mut at, mut seen) = (request.from, Vec::new());
        let mut room = Room::for_records(request.records);
        let mut log_start = None;
        while room.is_left() {
            let fetched = match fetch(broker, partition, at).await {
                Ok(fetched) => fetched,
                Err(BrokerError::OffsetOutOfRange {
                    log_start: start, ..
                }) => {
                    log_start = Some(start);
                    break;
                }
                Err(BrokerError::Damaged(why)) => {
                    let Some(after) = after_damage(broker, partition, at, &why).await else {
                        return Err(BrokerError::Damaged(why));
                    };
                    seen.push(Seen {
                        first: at,
                        last: Offset(after.get() - 1),
                        content: SeenContent::Damaged,
                    });
                    at = after;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if fetched.slices.is_empty() {
                // Compaction may have left nothing up to the end.
                at = at.max(fetched.offsets.last_stable);
                break;
            }
            for bytes in fetched.slices {
                room.spend(0, bytes.len());
                for batch in millstream_record::Batches::new(bytes) {
                    let batch = look_at(broker, batch?, request.look, filter.as_ref()).await;
                    at = at.max(batch.last.next());
                    room.spend(batch.count(), 0);
                    seen.push(batch);
                }
            }
        }
        self.tell(broker, &request, log_start, at, &seen);
        Ok(())
    }

    fn tell(
        &self,
        broker: &Broker,
        request: &ScanRequest,
        log_start: Option<Offset>,
        to: Offset,
        seen: &[Seen],
    ) {
        let batches: Vec<ScannedBatch<'_>> = seen.iter().map(Seen::told).collect();
        let mut state = self.state.lock();
        let now = broker.now();
        let mut effects = Effects::default();
        if let Some(start) = log_start {
            state
                .machine
                .trimmed(request.partition, start, now, &mut effects);
        }
        state
            .machine
            .scanned(request, to, &batches, now, &mut effects);
        // Refused only when the store has ended, which everybody is told.
        let _ = self.perform(
            &mut state,
            &broker.inner.slot,
            &mut effects,
            self.unsynced(),
        );
    }

    /// The promise of what can be found out again, or be done again.
    pub(super) fn unsynced(&self) -> millstream_store::Durability {
        self.durability.min(millstream_store::Durability::Os)
    }
}

impl Room {
    fn for_records(records: usize) -> Self {
        Self {
            records: records.min(QUEUE_SCAN_RECORDS_MAX),
            bytes: QUEUE_SCAN_BYTES_MAX,
        }
    }

    fn is_left(&self) -> bool {
        self.records > 0 && self.bytes > 0
    }

    fn spend(&mut self, records: usize, bytes: usize) {
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl SeenContent {
    fn of_whole(header: &BatchHeader) -> Self {
        Self::Whole {
            newest: header.max_timestamp,
        }
    }
}

impl Seen {
    fn count(&self) -> usize {
        match &self.content {
            SeenContent::Records(records) => records.len(),
            SeenContent::Whole { .. } => (self.last - self.first) as usize + 1,
            SeenContent::Nothing | SeenContent::Undecodable | SeenContent::Damaged => 0,
        }
    }

    fn told(&self) -> ScannedBatch<'_> {
        ScannedBatch {
            first: self.first,
            last: self.last,
            content: match &self.content {
                SeenContent::Whole { newest } => Content::Whole { newest: *newest },
                SeenContent::Records(records) => Content::Records(records),
                SeenContent::Nothing => Content::Nothing,
                SeenContent::Undecodable => Content::Undecodable,
                SeenContent::Damaged => Content::Damaged,
            },
        }
    }
}

async fn look_at(broker: &Broker, batch: Batch, look: Look, filter: Option<&Filter>) -> Seen {
    let header = batch.header;
    let first = header.base_offset;
    let last = Offset(first.get() + i64::from(header.last_offset_delta));
    let is_whole = header.record_count == header.last_offset_delta + 1;
    let content = if header.control || header.record_count == 0 {
        SeenContent::Nothing
    } else {
        let look = if is_whole { look } else { Look::Inside };
        match look {
            Look::Past => SeenContent::of_whole(&header),
            _ if header.codec == Codec::None => look_into(&batch, look, filter),
            _ => {
                let filter = filter.cloned();
                let look_into = move || look_into(&batch, look, filter.as_ref());
                broker.unpack(look_into).await
            }
        }
    };
    Seen {
        first,
        last,
        content,
    }
}

fn look_into(batch: &Batch, look: Look, filter: Option<&Filter>) -> SeenContent {
    // The name of the header may also stand elsewhere. Where it stands nowhere, nothing has to be decoded.
    let id = headers::ID.as_bytes();
    if look == Look::ForIds && batch.mentions(id, BATCH_DECOMPRESSED_BYTES_MAX) == Ok(false) {
        return SeenContent::of_whole(&batch.header);
    }
    let records = batch.records(BATCH_DECOMPRESSED_BYTES_MAX);
    let scanned = records.map(|record| record.map(|record| scanned(&record, filter)));
    match scanned.collect::<Result<Vec<_>, _>>() {
        Ok(records) => SeenContent::Records(records),
        Err(_) => SeenContent::Undecodable,
    }
}

/// What a queue has to know of a record.
fn scanned(record: &Record, filter: Option<&Filter>) -> ScannedRecord {
    let mut scanned = ScannedRecord::new(record.offset, record.timestamp);
    let mut is_dead_letter = false;
    for header in record.headers.iter() {
        let Some(value) = header.value else { continue };
        match std::str::from_utf8(header.key) {
            Ok(headers::PRIORITY) => {
                scanned.priority = number(value).unwrap_or(0).clamp(0, 9) as u8;
            }
            Ok(headers::DELIVER_AT) => scanned.deliver_at = number(value).map(TimestampMs),
            Ok(headers::EXPIRES_AT) => scanned.expires_at = number(value).map(TimestampMs),
            Ok(headers::ID) => scanned.id = Some(id_hash(value)),
            Ok(headers::DEAD_LETTER_QUEUE) => is_dead_letter = true,
            _ => {}
        }
    }
    if is_dead_letter {
        // Its id is of its first life: two queues' letters of one message are no repetition of each other.
        scanned.id = None;
    }
    scanned.key = record.key.as_deref().map(key_hash);
    scanned.wanted = filter.is_none_or(|filter| filter.matches_record(record));
    scanned
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Ids are written down by their hashes: it must never change.
fn id_hash(id: &[u8]) -> u128 {
    let mut hasher = SipHasher128::new();
    hasher.write(id);
    hasher.finish128().as_u128()
}

fn key_hash(key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_is_bounded_by_what_is_asked_for_by_records_and_by_bytes() {
        let mut few = Room::for_records(3);
        few.spend(2, 1_000);
        assert!(few.is_left());
        few.spend(2, 1_000);
        assert!(!few.is_left());
        let mut many = Room::for_records(usize::MAX);
        many.spend(QUEUE_SCAN_RECORDS_MAX - 1, 1_000);
        assert!(many.is_left());
        many.spend(1, 0);
        assert!(!many.is_left());
        let mut large = Room::for_records(usize::MAX);
        large.spend(0, QUEUE_SCAN_BYTES_MAX);
        assert!(!large.is_left());
    }
}
