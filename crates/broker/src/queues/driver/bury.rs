//! The way to the dead letters.

use std::sync::Arc;

use bytes::Bytes;
use millstream_record::{Header, Offset, TimestampMs};
use millstream_store::Commit;

use super::cell::Cell;
use super::read::{Found, read};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::headers;
use crate::produce::NewMessage;
use crate::queues::error::QueueError;
use crate::queues::machine::{DeadLetter, DeathReason};
use crate::topics::{PartitionHandle, TopicHandle};

impl Cell {
    /// Appends a job's records to the dead-letter topic and ends them here, in one commit. Whether it could be done; if
    /// not, it is to be tried again.
    pub(super) async fn bury(
        &self,
        broker: &Broker,
        topic: &Arc<TopicHandle>,
        letter: DeadLetter,
    ) -> bool {
        let Some(partition) = topic.partition(letter.part.partition) else {
            return true;
        };
        let Err(error) = self.try_to_bury(broker, &partition, &letter).await else {
            return true;
        };
        tracing::warn!(queue = %self.name, %error, "dead letters cannot be written; they are held and tried again");
        self.state.lock().letters.push(letter);
        false
    }

    async fn try_to_bury(
        &self,
        broker: &Broker,
        partition: &PartitionHandle,
        letter: &DeadLetter,
    ) -> Result<(), QueueError> {
        let definition = self.definition();
        broker
            .ensure_dead_letters(&definition.dead_letter_topic)
            .await?;
        let target = broker
            .topic(&definition.dead_letter_topic)
            .ok_or(BrokerError::UnknownTopic)?;
        let offsets: Vec<Offset> = letter.part.run.offsets().collect();
        let records = read(broker, partition, &offsets).await?;
        let now = broker.now();
        let messages = letters(&self.name, partition, letter, records.found, now);
        let mut composed = broker.compose(&target, &messages).await?;
        let _admission = broker.admit(composed.size_bytes()).await;
        let mut state = self.state.lock();
        // A job that is not known any more: its records were dropped meanwhile.
        if state.check_open().is_err() || !state.machine.has_job(letter.job) {
            return Ok(());
        }
        let commit = Commit {
            appends: std::mem::take(&mut composed.appends),
            ..Commit::default()
        };
        let performed = self.perform_beside(
            &mut state,
            &broker.inner.slot,
            commit,
            self.durability,
            |machine, effects| {
                machine.buried(letter.job, Offset(i64::MAX), now, effects);
            },
        );
        performed.map_err(BrokerError::from)?;
        Ok(())
    }
}

/// What is appended for the records of a job. Of a batch that cannot be decoded the bytes are kept, once.
fn letters(
    queue: &Arc<str>,
    partition: &PartitionHandle,
    letter: &DeadLetter,
    found: Vec<(Offset, Found)>,
    now: TimestampMs,
) -> Vec<NewMessage> {
    let mut messages = Vec::with_capacity(found.len());
    let mut last_damaged: Option<*const u8> = None;
    for (offset, found) in found {
        let mut message = match found {
            Found::Gone => continue,
            Found::Damaged(batch) => {
                if last_damaged.replace(batch.as_ptr()) == Some(batch.as_ptr()) {
                    continue;
                }
                NewMessage {
                    value: Some(batch),
                    ..NewMessage::default()
                }
            }
            Found::Record(record) => NewMessage {
                partition: None,
                headers: headers_without_epitaph(record.headers.iter()),
                key: record.key,
                value: record.value,
                timestamp: Some(record.timestamp),
                expected: None,
            },
        };
        message
            .headers
            .extend(epitaph(queue, partition, letter, offset, now));
        messages.push(message);
    }
    messages
}

/// The record's own headers, but for those of an earlier death.
pub(super) fn headers_without_epitaph<'a>(
    own: impl Iterator<Item = Header<'a>>,
) -> Vec<(Bytes, Option<Bytes>)> {
    own.filter(|header| {
        !header
            .key
            .starts_with(headers::DEAD_LETTER_PREFIX.as_bytes())
    })
    .map(|header| {
        let value = header.value.map(Bytes::copy_from_slice);
        (Bytes::copy_from_slice(header.key), value)
    })
    .collect()
}

fn epitaph(
    queue: &Arc<str>,
    partition: &PartitionHandle,
    letter: &DeadLetter,
    offset: Offset,
    now: TimestampMs,
) -> Vec<(Bytes, Option<Bytes>)> {
    let mut said = vec![
        (headers::DEAD_LETTER_QUEUE, queue.to_string()),
        (
            headers::DEAD_LETTER_TOPIC,
            partition.topic().name().to_string(),
        ),
        (
            headers::DEAD_LETTER_PARTITION,
            partition.index().to_string(),
        ),
        (headers::DEAD_LETTER_OFFSET, offset.to_string()),
        (
            headers::DEAD_LETTER_REASON,
            reason(letter.reason).to_owned(),
        ),
        (headers::DEAD_LETTER_ATTEMPTS, letter.attempts.to_string()),
        (headers::DEAD_LETTER_DEAD_AT, now.to_string()),
    ];
    let times = [
        (
            headers::DEAD_LETTER_FIRST_DELIVERED_AT,
            letter.first_delivered,
        ),
        (
            headers::DEAD_LETTER_LAST_DELIVERED_AT,
            letter.last_delivered,
        ),
    ];
    let times = times
        .into_iter()
        .filter_map(|(name, time)| Some((name, time?.to_string())));
    said.extend(times);
    said.into_iter()
        .map(|(name, value)| (Bytes::from_static(name.as_bytes()), Some(value.into())))
        .collect()
}

fn reason(reason: DeathReason) -> &'static str {
    match reason {
        DeathReason::Attempts => "attempts",
        DeathReason::Rejected => "rejected",
        DeathReason::Expired => "expired",
        DeathReason::Overflow => "overflow",
        DeathReason::Undecodable => "undecodable",
    }
}
