//! What one step takes from the front of the dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_catalog::TopicName;
use millstream_limits::{BATCH_DECOMPRESSED_BYTES_MAX, QUEUE_BURIAL_BYTES_MAX};
use millstream_record::{Batch, Offset, Record};

use super::super::bury::headers_without_epitaph;
use super::super::unpacked::size_of_record;
use super::Redriven;
use crate::error::BrokerError;
use crate::headers;
use crate::produce::NewMessage;
use crate::topics::TopicHandle;

/// How many records one step moves.
const STEP_RECORDS: usize = 1_000;

/// A dead letter that its topic does not take.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) topic: TopicName,
    /// Where it was.
    pub(super) offset: Offset,
    pub(super) error: BrokerError,
}

pub(super) struct Step {
    /// Where the next step begins.
    pub(super) next: Offset,
    pub(super) redriven: Redriven,
    pub(super) refusals: Vec<Refusal>,
    /// What is published anew, and where.
    pub(super) by_topic: BTreeMap<String, (Arc<TopicHandle>, Vec<Record>)>,
    /// What goes to the end of the dead letters.
    pub(super) stay: Vec<NewMessage>,
    records: usize,
    bytes: usize,
    pub(super) going: u64,
    /// The last of those, and where it goes.
    pub(super) last_going: Option<(TopicName, Offset)>,
}

impl Step {
    pub(super) fn beginning(from: Offset) -> Self {
        Self {
            next: from,
            redriven: Redriven::default(),
            refusals: Vec::new(),
            by_topic: BTreeMap::new(),
            stay: Vec::new(),
            records: 0,
            bytes: 0,
            going: 0,
            last_going: None,
        }
    }

    /// Takes a batch's records between two offsets, as far as they fit. Whether the step is full.
    pub(super) fn take(
        &mut self,
        batch: &Batch,
        (from, end): (Offset, Offset),
        max: u64,
        target: impl Fn(&Record) -> Option<Arc<TopicHandle>>,
    ) -> bool {
        let records = batch.records(BATCH_DECOMPRESSED_BYTES_MAX);
        let Ok(records) = records.collect::<Result<Vec<_>, _>>() else {
            return self.take_undecodable(batch, end);
        };
        for record in records {
            if record.offset < from {
                continue;
            }
            let is_full = self.records == STEP_RECORDS || self.bytes >= QUEUE_BURIAL_BYTES_MAX;
            if record.offset >= end || is_full || self.going == max {
                self.next = record.offset;
                return true;
            }
            self.next = record.offset.next();
            self.records += 1;
            self.bytes += size_of_record(&record);
            match target(&record) {
                None => self.stay.push(letter_of(&record)),
                Some(topic) => {
                    self.going += 1;
                    self.last_going = Some((topic.name().clone(), record.offset));
                    let of_topic = self.by_topic.entry(topic.name().to_string());
                    let (_, records) = of_topic.or_insert_with(|| (topic, Vec::new()));
                    records.push(record);
                }
            }
        }
        // Its last records, or all of them, may be gone. What follows it was not looked at.
        self.next = batch.header.next_offset().min(end);
        false
    }

    fn take_undecodable(&mut self, batch: &Batch, end: Offset) -> bool {
        let first = batch.header.base_offset;
        if first >= end || (self.records > 0 && self.bytes >= QUEUE_BURIAL_BYTES_MAX) {
            self.next = first;
            return true;
        }
        self.next = batch.header.last_offset().next();
        self.records += 1;
        self.bytes += batch.bytes.len();
        self.redriven.refused += 1;
        self.stay.push(NewMessage {
            value: Some(batch.bytes.clone()),
            ..NewMessage::default()
        });
        false
    }
}

/// What is said of a record's first life: kept, it would be taken for a repetition of itself, or for long expired.
const OF_THE_FIRST_LIFE: [&str; 3] = [headers::ID, headers::EXPIRES_AT, headers::DELIVER_AT];

/// The record as it is published anew, now.
pub(super) fn message_anew(record: &Record) -> NewMessage {
    let mut headers = headers_without_epitaph(record.headers.iter());
    headers.retain(|(name, _)| {
        let mut old = OF_THE_FIRST_LIFE.iter();
        !old.any(|old| old.as_bytes() == name)
    });
    NewMessage {
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
        ..NewMessage::default()
    }
}

/// The dead letter as it is.
pub(super) fn letter_of(record: &Record) -> NewMessage {
    let headers = record.headers.iter().map(|header| {
        let value = header.value.map(Bytes::copy_from_slice);
        (Bytes::copy_from_slice(header.key), value)
    });
    NewMessage {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: headers.collect(),
        timestamp: Some(record.timestamp),
        ..NewMessage::default()
    }
}

#[cfg(test)]
mod tests {
    use millstream_record::{BatchBuilder, Codec, LeaderEpoch, NewRecord, TimestampMs, emptied};

    use super::*;

    /// Only what a step has looked at leaves the dead letters with it.
    #[test]
    fn a_batch_without_records_leads_no_further_than_its_end() {
        let mut builder = BatchBuilder::new(Codec::None).at(Offset(3), LeaderEpoch(0));
        for _ in 0..2 {
            builder.append(&NewRecord {
                timestamp: TimestampMs(1),
                key: None,
                value: Some(b"x"),
                headers: &[],
            });
        }
        let batch = builder.build().unwrap();
        let mut step = Step::beginning(Offset(3));
        let between = (Offset(3), Offset(100));
        assert!(!step.take(&emptied(&batch.header), between, 10, |_| None));
        assert_eq!((step.next, step.stay.len()), (Offset(5), 0));

        let mut step = Step::beginning(Offset(3));
        assert!(!step.take(&batch, between, 10, |_| None));
        assert_eq!((step.next, step.stay.len()), (Offset(5), 2));
    }
}
