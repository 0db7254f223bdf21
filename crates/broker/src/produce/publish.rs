//! Publishing records one by one: choosing partitions, and making batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use millstream_limits::RECORD_BYTES_MAX;
use millstream_record::partitioner::partition_of_key;
use millstream_record::{Batch, BatchBuilder, Codec, Header, NewRecord, Offset, TimestampMs};
use millstream_store::{Admission, Append, Appended, Commit, PartitionId, Require, Ticket};
use smallvec::SmallVec;

use super::accept::Accepted;
use super::idempotency::{BatchPlace, Remember};
use super::intake::Gone;
use super::key_index::{self, Expectation};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::metrics::Producing;
use crate::topics::{PartitionHandle, TopicHandle};

/// What a record takes in a batch beside its key, value and headers, most often.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// A record to be published.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    /// Where it goes. Without one the key decides, as it does for Kafka's producers; without a key, records that are
    /// published together go to one partition, and the next ones to another.
    pub partition: Option<u32>,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; none marks the key as deleted on a compacted topic.
    pub value: Option<Bytes>,
    /// Headers, in their order; a name may occur more than once.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// When it was made; now unless it says so.
    pub timestamp: Option<TimestampMs>,
    /// Where the key's last record has to be, before anything that is published with this one; otherwise nothing is
    /// published. For topics with `millstream.key.index`.
    pub expected: Option<Expectation>,
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The partition.
    pub partition: u32,
    /// Its offset.
    pub offset: Offset,
    /// The timestamp it has: its own, or the log append time where the topic wants that.
    pub timestamp: TimestampMs,
}

/// Records that have their places, and are not yet as durable as their topic promises.
#[derive(Debug)]
#[must_use = "records count as published only once they are durable"]
pub struct Publishing {
    published: Vec<Published>,
    durable: Ticket,
    producing: Producing,
    _admission: Admission,
}

/// Chooses partitions for records without a key, in turn.
#[derive(Debug, Default)]
pub(crate) struct Rotor(AtomicU32);

/// Batches that are ready for a commit, and where in them each record is.
#[derive(Debug)]
pub(crate) struct Composed {
    /// To be put into a commit, in this order and before any others.
    pub(crate) appends: SmallVec<[Append; 1]>,
    /// The batches that hold the records, what routes make of them aside.
    batches: SmallVec<[OwnBatch; 1]>,
    /// For each record, in the order in which they came.
    places: Vec<Place>,
    /// How many answers the store has for the appends.
    answers: usize,
}

#[derive(Debug, Clone, Copy)]
struct OwnBatch {
    partition: u32,
    /// Which of the appends.
    append: usize,
    /// Which of the answers of the store.
    answer: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// Which of the batches.
    batch: usize,
    /// The record's place in its batch.
    index: i64,
    /// The one it gets: its own, or that of the append.
    timestamp: TimestampMs,
}

/// A batch that is being made.
struct Draft {
    partition: u32,
    requires: Vec<Require>,
    builder: BatchBuilder,
}

impl NewMessage {
    /// The bytes it brings, framing aside.
    pub fn size_bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len));
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers.sum::<usize>()
    }
}

impl Publishing {
    /// Waits until the records are as durable as the topic promises: where each one went, in order. Dropping the wait does
    /// not undo the publish.
    pub async fn done(self) -> Result<Vec<Published>, BrokerError> {
        self.durable.await?;
        self.producing.acknowledged();
        Ok(self.published)
    }
}

impl Composed {
    /// Where the records went, told by the answer of the store for [`Composed::appends`].
    pub(crate) fn published(&self, appended: &[Appended]) -> Vec<Published> {
        let places = self.places.iter();
        places
            .map(|place| {
                let batch = self.batches[place.batch];
                let base = appended[batch.answer].base_offset;
                Published {
                    partition: batch.partition,
                    offset: Offset(base.get() + place.index),
                    timestamp: place.timestamp,
                }
            })
            .collect()
    }

    /// How many answers of the store are for [`Composed::appends`].
    pub(crate) fn answers(&self) -> usize {
        self.answers
    }

    /// Has the commit remember the publish.
    fn remember(&mut self, remember: &Remember) {
        let places = self.places.iter().map(|place| BatchPlace {
            batch: place.batch as u32,
            timestamp: place.timestamp,
        });
        let places: Vec<_> = places.collect();
        let partitions: Vec<_> = self.batches.iter().map(|batch| batch.partition).collect();
        for (batch, mark) in self
            .batches
            .iter()
            .zip(remember.marks(&partitions, &places))
        {
            self.appends[batch.append].marks.push(mark);
        }
    }

    /// The bytes of its batches.
    pub(crate) fn size_bytes(&self) -> usize {
        self.appends.iter().map(|append| append.batch.len()).sum()
    }
}

impl Broker {
    /// Publishes records to a topic, all or none. Returns when they are as durable as the topic promises: where each one
    /// went, in order.
    ///
    /// Records of one call that go to one partition are in it in the order of the call.
    pub async fn publish(
        &self,
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
    ) -> Result<Vec<Published>, BrokerError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.begin_publish(topic, messages).await?.done().await
    }

    /// Gives records, at least one, their places before everything that is published later. They are published once what
    /// comes back is done.
    pub async fn begin_publish(
        &self,
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
    ) -> Result<Publishing, BrokerError> {
        self.begin_publish_and(topic, messages, None).await
    }

    /// The same; the commit remembers the publish if it is asked to.
    pub(super) async fn begin_publish_and(
        &self,
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
        remember: Option<&Remember>,
    ) -> Result<Publishing, BrokerError> {
        let producing = self.inner.metrics.producing();
        let mut gone = Gone::default();
        let mut composed = self.compose(topic, messages).await?;
        loop {
            if let Some(remember) = remember {
                composed.remember(remember);
            }
            let admission = self.admit(composed.size_bytes()).await;
            let commit = Commit {
                appends: std::mem::take(&mut composed.appends),
                ..Commit::default()
            };
            let sequenced = {
                let _room = self.room_for(&commit.appends)?;
                self.inner.slot.commit(commit)
            };
            let sequenced = match sequenced {
                Err(error) if gone.note(&error, &topic.current().partitions) => {
                    composed = self.compose_without(topic, messages, &gone).await?;
                    continue;
                }
                sequenced => sequenced?,
            };
            return Ok(Publishing {
                published: composed.published(&sequenced.appends),
                durable: sequenced.durable,
                producing,
                _admission: admission,
            });
        }
    }

    /// Makes batches of records for a commit that does more than publish.
    ///
    /// The commit is refused for an unknown partition if a topic that a route leads to is deleted meanwhile: what is
    /// composed anew then leaves it out.
    pub(crate) async fn compose(
        &self,
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
    ) -> Result<Composed, BrokerError> {
        self.compose_without(topic, messages, &Gone::default())
            .await
    }

    /// The same, leaving out partitions of targets that are gone.
    pub(crate) async fn compose_without(
        &self,
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
        gone: &Gone,
    ) -> Result<Composed, BrokerError> {
        let now = self.now();
        let partitions = topic.partitions();
        let (drafts, mut places) = self.draft(topic, messages, now)?;
        let mut composed = Composed {
            appends: SmallVec::with_capacity(drafts.len()),
            batches: SmallVec::with_capacity(drafts.len()),
            places: Vec::new(),
            answers: 0,
        };
        let mut stamps: SmallVec<[Option<TimestampMs>; 4]> = SmallVec::new();
        for draft in drafts {
            let batch = draft
                .builder
                .build()
                .expect("a draft is begun with a record");
            let partition = &partitions[draft.partition as usize];
            let intake = self.intake(partition, gone.clone(), now)?;
            let mut made = if intake.takes_long(&batch.bytes) {
                self.unpack(move || intake.appends(batch.bytes)).await?
            } else {
                intake.appends(batch.bytes)?
            };
            made[0].requires = draft.requires;
            stamps.push(made[0].stamp);
            composed.batches.push(OwnBatch {
                partition: draft.partition,
                append: composed.appends.len(),
                answer: composed.answers,
            });
            let targets = made.iter().map(|append| append.targets.len());
            composed.answers += targets.sum::<usize>();
            composed.appends.extend(made);
        }
        for place in &mut places {
            place.timestamp = stamps[place.batch].unwrap_or(place.timestamp);
        }
        composed.places = places;
        Ok(composed)
    }

    /// Makes batches of records that were in a partition before and go to its end: nothing is asked of them that was asked
    /// when they came, and no route takes them again.
    pub(crate) fn put_back(
        &self,
        partition: &PartitionHandle,
        mut messages: Vec<NewMessage>,
    ) -> Result<Vec<Append>, BrokerError> {
        for message in &mut messages {
            message.partition = Some(partition.index());
        }
        let topic = partition.topic();
        let is_indexed = topic.current().settings.values().key_index;
        let (drafts, _) = self.draft(topic, &messages, self.now())?;
        drafts
            .into_iter()
            .map(|draft| {
                let batch = draft
                    .builder
                    .build()
                    .expect("a draft is begun with a record");
                let accepted = Accepted { batch, stamp: None };
                let mut append = append_of(accepted, partition.log.id());
                if is_indexed {
                    key_index::mark(&mut append, |_| true)?;
                }
                Ok(append)
            })
            .collect()
    }

    fn draft(
        &self,
        topic: &TopicHandle,
        messages: &[NewMessage],
        now: TimestampMs,
    ) -> Result<(Vec<Draft>, Vec<Place>), BrokerError> {
        let current = topic.current();
        let count = current.partitions.len() as u32;
        let batch_bytes_max = current.settings.values().max_message_bytes;
        let unkeyed = self.inner.rotor.next(count);
        // What the first batch holds if all records go into it, as they do most often.
        let sizes = messages
            .iter()
            .map(|message| message.size_bytes() + RECORD_OVERHEAD_BYTES);
        let mut capacity_bytes = sizes.sum::<usize>().min(batch_bytes_max);
        let mut drafts: Vec<Draft> = Vec::new();
        let mut open: BTreeMap<u32, usize> = BTreeMap::new();
        let mut places = Vec::with_capacity(messages.len());
        for message in messages {
            let bytes = message.size_bytes();
            if bytes > RECORD_BYTES_MAX {
                return Err(BrokerError::TooLarge {
                    bytes: bytes as u64,
                    max_bytes: RECORD_BYTES_MAX as u64,
                });
            }
            let partition = match (message.partition, &message.key) {
                (Some(partition), _) if partition >= count => {
                    return Err(BrokerError::UnknownPartition);
                }
                (Some(partition), _) => partition,
                (None, Some(key)) => partition_of_key(key, count as i32) as u32,
                (None, None) => unkeyed,
            };
            let headers: SmallVec<[Header<'_>; 8]> = message
                .headers
                .iter()
                .map(|(key, value)| Header {
                    key,
                    value: value.as_deref(),
                })
                .collect();
            let timestamp = message.timestamp.unwrap_or(now);
            let record = NewRecord {
                timestamp,
                key: message.key.as_deref(),
                value: message.value.as_deref(),
                headers: &headers,
            };
            let fitting = open
                .get(&partition)
                .copied()
                .filter(|&at| drafts[at].builder.size_bytes_with(&record) <= batch_bytes_max);
            let at = fitting.unwrap_or_else(|| {
                drafts.push(Draft {
                    partition,
                    requires: Vec::new(),
                    builder: BatchBuilder::with_capacity(
                        Codec::None,
                        std::mem::take(&mut capacity_bytes),
                    ),
                });
                open.insert(partition, drafts.len() - 1);
                drafts.len() - 1
            });
            places.push(Place {
                batch: at,
                index: drafts[at].builder.record_count().into(),
                timestamp,
            });
            drafts[at].builder.append(&record);
            if let Some(expected) = message.expected {
                if !current.settings.values().key_index {
                    return Err(BrokerError::NoKeyIndex);
                }
                let key = message.key.as_ref().ok_or(BrokerError::KeyNeeded)?;
                let id = current.partitions[partition as usize];
                let require = key_index::require(id, key, expected)?;
                drafts[at].requires.push(require);
            }
        }
        Ok((drafts, places))
    }
}

impl Rotor {
    /// The next partition of `count`.
    fn next(&self, count: u32) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) % count.max(1)
    }
}

/// The append of a batch to one partition.
pub(crate) fn append_of(accepted: Accepted, partition: PartitionId) -> Append {
    let Batch { header, bytes } = accepted.batch;
    Append {
        stamp: accepted.stamp,
        ..Append::new([partition], bytes, header)
    }
}
