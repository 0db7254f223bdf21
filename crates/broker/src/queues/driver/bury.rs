//! The way to the dead letters.

use std::sync::Arc;

use bytes::Bytes;
use millstream_limits::QUEUE_BURIAL_BYTES_MAX;
use millstream_record::{Header, Offset, TimestampMs};
use millstream_store::Commit;

use super::cell::{Cell, JointCommit};
use super::read::{Found, read};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::headers;
use crate::produce::NewMessage;
use crate::queues::error::QueueError;
use crate::queues::machine::{DeadLetter, DeathReason};
use crate::topics::{PartitionHandle, TopicHandle};

impl Cell {
    /// Appends a job's records to the dead-letter topic and ends them here, in one commit, or in several if they are more
    /// than one holds. If that is refused it is tried again.
    pub(super) async fn bury(&self, broker: &Broker, topic: &Arc<TopicHandle>, letter: DeadLetter) {
        let Some(partition) = topic.partition(letter.part.partition) else {
            return;
        };
        let offsets: Vec<Offset> = letter.part.run.offsets().collect();
        let mut left = &offsets[..];
        while !left.is_empty() {
            match self.bury_some(broker, &partition, &letter, left).await {
                Ok(count) => left = &left[count..],
                Err(error) => {
                    tracing::warn!(queue = %self.name, %error, "dead letters cannot be written; they are held and tried again");
                    self.state.lock().again.letters.push(letter);
                    return;
                }
            }
        }
    }

    /// Buries the first of `offsets`, and says how many those are.
    async fn bury_some(
        &self,
        broker: &Broker,
        partition: &PartitionHandle,
        letter: &DeadLetter,
        offsets: &[Offset],
    ) -> Result<usize, QueueError> {
        // What was buried when it was tried before is not known any more, and nor is what was dropped meanwhile.
        if !self.state.lock().machine.is_dying_in(letter.job, offsets) {
            return Ok(offsets.len());
        }
        let definition = self.definition();
        let name = &definition.dead_letter_topic;
        broker.ensure_dead_letters(name).await?;
        let target = broker.topic(name).ok_or(BrokerError::UnknownTopic)?;
        let records = read(broker, partition, offsets, QUEUE_BURIAL_BYTES_MAX).await?;
        let count = whole_batches(&records.found, offsets.len());
        let now = broker.now();
        let found = records.found.into_iter().take(count);
        let messages = letters(&self.name, partition, letter, found, now);
        let mut composed = broker.compose(&target, &messages).await?;
        let _admission = broker.admit(composed.size_bytes()).await;
        let slot = &broker.inner.slot;
        let commit = Commit {
            appends: std::mem::take(&mut composed.appends),
            ..Commit::default()
        };
        let joint = JointCommit::prepare(slot, commit, self.durability, count);
        let joint = joint.map_err(BrokerError::from)?;
        let mut state = self.state.lock();
        if state.check_open().is_err() || !state.machine.is_dying_in(letter.job, offsets) {
            return Ok(offsets.len());
        }
        let before = offsets.get(count).copied().unwrap_or(Offset(i64::MAX));
        let performed = self.perform_jointly(&mut state, slot, joint, |machine, effects| {
            for range in &records.damaged {
                machine.damaged(partition.index(), range.start, range.end, now, effects);
            }
            machine.buried(letter.job, before, now, effects);
        });
        performed.map_err(BrokerError::from)?;
        Ok(count)
    }
}

/// How many of those that were found go into one commit: all, but for a part of a batch that cannot be decoded, of which
/// the bytes are kept once.
fn whole_batches(found: &[(Offset, Found)], wanted: usize) -> usize {
    if found.len() == wanted {
        return wanted;
    }
    let Some((_, Found::Undecodable(last))) = found.last() else {
        return found.len();
    };
    let of_another = |(_, found): &(Offset, Found)| match found {
        Found::Undecodable(bytes) => bytes.as_ptr() != last.as_ptr(),
        _ => true,
    };
    let whole = found.iter().rposition(of_another).map_or(0, |at| at + 1);
    if whole == 0 { found.len() } else { whole }
}

/// What is appended for the records of a job. Of a batch that cannot be decoded the bytes are kept, once.
fn letters(
    queue: &Arc<str>,
    partition: &PartitionHandle,
    letter: &DeadLetter,
    found: impl Iterator<Item = (Offset, Found)>,
    now: TimestampMs,
) -> Vec<NewMessage> {
    let mut messages = Vec::new();
    let mut last_damaged: Option<*const u8> = None;
    for (offset, found) in found {
        let mut message = match found {
            Found::Gone => continue,
            Found::Undecodable(batch) => {
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
