//! The way back from the dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_record::{Offset, Record};
use millstream_store::{Commit, Trim};

use super::QueueHandle;
use super::bury::headers_without_epitaph;
use super::read::fetch;
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

impl QueueHandle {
    /// Moves the queue's dead letters back, each exactly once: they are appended there and leave the dead-letter topic in
    /// one commit. Says how many were moved. Those that arrive meanwhile stay.
    ///
    /// Each is published anew: as of now, and without its id and the times at which it was to be delivered and to expire.
    ///
    /// A dead letter of another queue in the same topic, or one whose topic is gone, goes to the end of the dead letters.
    pub async fn redrive(&self, redrive: &Redrive) -> Result<u64, QueueError> {
        let _redriving = self.broker.inner.queues.redrives.lock().await;
        let definition = self.definition();
        let Some(letters) = self.broker.topic(&definition.dead_letter_topic) else {
            return if definition.policy.dead_letters {
                Ok(0)
            } else {
                Err(QueueError::NoDeadLetters)
            };
        };
        let mut left = redrive.max.unwrap_or(u64::MAX);
        let mut moved = 0;
        for partition in letters.partitions() {
            let end = partition.offsets().last_stable;
            let mut from = partition.offsets().log_start;
            while from < end && left > 0 {
                let step = self.step(&partition, (from, end), left, redrive).await?;
                from = step.next;
                left -= step.moved;
                moved += step.moved;
            }
        }
        Ok(moved)
    }

    async fn step(
        &self,
        partition: &PartitionHandle,
        (from, end): (Offset, Offset),
        max: u64,
        redrive: &Redrive,
    ) -> Result<Step, QueueError> {
        let mut step = Step {
            next: end,
            moved: 0,
        };
        let mut by_topic: BTreeMap<String, (Arc<TopicHandle>, Vec<NewMessage>)> = BTreeMap::new();
        let fetched = fetch(&self.broker, partition, from).await?;
        let mut seen = 0;
        'records: for batch in fetched.batches() {
            for record in batch
                .map_err(BrokerError::from)?
                .records(millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX)
            {
                let record = record.map_err(BrokerError::from)?;
                if record.offset < from {
                    continue;
                }
                if record.offset >= end || seen == STEP_RECORDS || step.moved == max {
                    step.next = record.offset;
                    break 'records;
                }
                seen += 1;
                step.next = record.offset.next();
                let target = self.target(&record, redrive);
                step.moved += u64::from(target.is_some());
                let message = match &target {
                    Some(_) => message_anew(&record),
                    None => letter_of(&record),
                };
                let target = target.unwrap_or_else(|| Arc::clone(partition.topic()));
                by_topic
                    .entry(target.name().to_string())
                    .or_insert_with(|| (target, Vec::new()))
                    .1
                    .push(message);
            }
        }
        let mut commit = Commit {
            trims: vec![Trim {
                partition: partition.log.id(),
                log_start: step.next,
            }],
            ..Commit::default()
        };
        let mut bytes = 0;
        for (topic, messages) in by_topic.values() {
            let composed = self.broker.compose(topic, messages).await?;
            bytes += composed.size_bytes();
            commit.appends.extend(composed.appends);
        }
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

struct Step {
    /// Where the next step begins.
    next: Offset,
    moved: u64,
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
