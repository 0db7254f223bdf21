//! The way back from the dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_limits::{BATCH_DECOMPRESSED_BYTES_MAX, QUEUE_BURIAL_BYTES_MAX};
use millstream_record::{Batch, Offset, Record};
use millstream_store::{Append, Commit, Trim};

use super::QueueHandle;
use super::bury::headers_without_epitaph;
use super::read::fetch;
use super::unpacked::size_of_record;
use crate::error::BrokerError;
use crate::headers;
use crate::produce::NewMessage;
use crate::queues::error::QueueError;
use crate::topics::{PartitionHandle, TopicHandle};

/// How many records one step moves.
const STEP_RECORDS: usize = 1_000;

/// Which dead letters go where.
#[derive(Clone, Debug, Default)]
pub struct Redrive {
    /// How many at most; all if left out.
    pub max: Option<u64>,
    /// Where to; where each came from if left out.
    pub to: Option<Arc<TopicHandle>>,
}

/// What became of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Published anew.
    pub moved: u64,
    /// Their topic does not take them, or they cannot be decoded: they went to the end of the dead letters.
    pub refused: u64,
}

impl QueueHandle {
    /// Moves the queue's dead letters back, each exactly once: they are appended there and leave the dead-letter topic in
    /// one commit. Says how many were moved. Those that arrive meanwhile stay.
    ///
    /// Each is published anew: as of now, and without its id and the times at which it was to be delivered and to expire.
    ///
    /// A dead letter that its topic refuses stops none of the others. It goes to the end of the dead letters, as does one of
    /// another queue in the same topic, or one whose topic is gone: only from the front can letters be taken out. A batch
    /// that cannot be decoded goes there as one letter, with its bytes as the value.
    pub async fn redrive(&self, redrive: &Redrive) -> Result<Redriven, QueueError> {
        let _redriving = self.broker.inner.queues.redrives.lock().await;
        let definition = self.definition();
        let Some(letters) = self.broker.topic(&definition.dead_letter_topic) else {
            return if definition.policy.dead_letters {
                Ok(Redriven::default())
            } else {
                Err(QueueError::NoDeadLetters)
            };
        };
        let mut all = Redriven::default();
        for partition in letters.partitions() {
            let end = partition.offsets().last_stable;
            let mut from = partition.offsets().log_start;
            while from < end && all.moved < redrive.max.unwrap_or(u64::MAX) {
                let left = redrive.max.unwrap_or(u64::MAX) - all.moved;
                let step = self.step(&partition, (from, end), left, redrive).await?;
                from = step.next;
                all.moved += step.redriven.moved;
                all.refused += step.redriven.refused;
            }
        }
        Ok(all)
    }

    async fn step(
        &self,
        partition: &PartitionHandle,
        (from, end): (Offset, Offset),
        max: u64,
        redrive: &Redrive,
    ) -> Result<Step, QueueError> {
        let mut step = Step::beginning(from);
        let fetched = fetch(&self.broker, partition, from).await?;
        if fetched.slices.is_empty() {
            // Nothing is left up to the end.
            step.next = end;
        }
        for batch in fetched.batches() {
            let batch = batch.map_err(BrokerError::from)?;
            let target = |record: &Record| self.target(record, redrive);
            if step.take(&batch, (from, end), max, target) {
                break;
            }
        }
        let mut commit = Commit {
            trims: vec![Trim {
                partition: partition.log.id(),
                log_start: step.next,
            }],
            ..Commit::default()
        };
        for (topic, records) in std::mem::take(&mut step.by_topic).into_values() {
            let appends = self.publish_anew(&topic, records, &mut step).await?;
            commit.appends.extend(appends);
        }
        self.broker.check_room(&commit.appends)?;
        if !step.stay.is_empty() {
            let stay = std::mem::take(&mut step.stay);
            commit
                .appends
                .extend(self.broker.put_back(partition, stay)?);
        }
        let bytes = commit.appends.iter().map(|append| append.batch.len()).sum();
        let _admission = self.broker.admit(bytes).await;
        let sequenced = self
            .broker
            .inner
            .slot
            .commit(commit)
            .map_err(BrokerError::from)?;
        sequenced.durable.await.map_err(BrokerError::from)?;
        Ok(step)
    }

    /// What is appended for the records that a topic takes. The others stay.
    async fn publish_anew(
        &self,
        topic: &Arc<TopicHandle>,
        records: Vec<Record>,
        step: &mut Step,
    ) -> Result<Vec<Append>, BrokerError> {
        let mut messages: Vec<NewMessage> = records.iter().map(message_anew).collect();
        let mut composed = self.broker.compose(topic, &messages).await;
        if composed.as_ref().is_err_and(is_of_the_letters) {
            let mut taken = Vec::new();
            for (message, record) in messages.into_iter().zip(&records) {
                match self
                    .broker
                    .compose(topic, std::slice::from_ref(&message))
                    .await
                {
                    Ok(_) => taken.push(message),
                    Err(error) if is_of_the_letters(&error) => {
                        let offset = record.offset;
                        tracing::warn!(queue = %self.name(), topic = %topic.name(), %offset, %error, "dead letter is refused by its topic; it stays with the dead letters");
                        step.stay.push(letter_of(record));
                        step.redriven.refused += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            messages = taken;
            if messages.is_empty() {
                return Ok(Vec::new());
            }
            composed = self.broker.compose(topic, &messages).await;
        }
        step.redriven.moved += messages.len() as u64;
        Ok(composed?.appends.into_iter().collect())
    }

    /// Where a dead letter goes; none if it is not this queue's, or has nowhere to go.
    fn target(&self, record: &Record, redrive: &Redrive) -> Option<Arc<TopicHandle>> {
        let said = |name: &str| {
            let mut all = record.headers.iter();
            let header = all.find(|header| header.key == name.as_bytes())?;
            std::str::from_utf8(header.value?).ok()
        };
        if said(headers::DEAD_LETTER_QUEUE) != Some(&**self.name()) {
            return None;
        }
        match &redrive.to {
            Some(topic) => Some(Arc::clone(topic)),
            None => self.broker.topic(said(headers::DEAD_LETTER_TOPIC)?),
        }
    }
}

/// Whether a refusal is about what is to be published, and not about the moment.
fn is_of_the_letters(error: &BrokerError) -> bool {
    !matches!(
        error,
        BrokerError::Io(_)
            | BrokerError::Failed(_)
            | BrokerError::ShuttingDown
            | BrokerError::Internal(_)
    )
}

struct Step {
    /// Where the next step begins.
    next: Offset,
    redriven: Redriven,
    /// What is published anew, and where.
    by_topic: BTreeMap<String, (Arc<TopicHandle>, Vec<Record>)>,
    /// What goes to the end of the dead letters.
    stay: Vec<NewMessage>,
    records: usize,
    bytes: usize,
    going: u64,
}

impl Step {
    fn beginning(from: Offset) -> Self {
        Self {
            next: from,
            redriven: Redriven::default(),
            by_topic: BTreeMap::new(),
            stay: Vec::new(),
            records: 0,
            bytes: 0,
            going: 0,
        }
    }

    /// Takes a batch's records between two offsets, as far as they fit. Whether the step is full.
    fn take(
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
fn message_anew(record: &Record) -> NewMessage {
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
fn letter_of(record: &Record) -> NewMessage {
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
