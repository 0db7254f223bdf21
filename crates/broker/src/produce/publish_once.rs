//! Publishing what may be sent again.
//!
//! A publish with an idempotency key runs in a task of its own, so that it comes to its end even if whoever asked for it
//! goes. Until then it is known here, and the same publish waits for it. After that the state table knows it, and what it
//! says is durable.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use millstream_catalog::TopicId;
use millstream_limits::{
    IDEMPOTENCY_ENTRIES_DROPPED_AT_ONCE, IDEMPOTENCY_TRIM_INTERVAL_MS, IDEMPOTENT_PUBLISHES_MAX,
};
use millstream_record::TimestampMs;
use millstream_store::state::StateError;
use millstream_store::{Durability, Slot};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::buckets::Buckets;
use super::idempotency::{Bucket, IdempotencyKey, Remember};
use super::publish::{NewMessage, Published};
use super::trim::drop_piece;
use crate::blocking::now_and_then;
use crate::broker::{Broker, Inner};
use crate::error::BrokerError;
use crate::keys;
use crate::topics::TopicHandle;

/// Publishes with an idempotency key that are under way, and the time by which they are remembered.
#[derive(Debug)]
pub(crate) struct Idempotency {
    /// What is remembered of memory topics holds for this life of the broker only.
    life: u64,
    buckets: Mutex<Buckets>,
    under_way: Mutex<HashMap<Name, UnderWay>>,
}

type Name = (TopicId, Bytes);

type Outcome = Result<PublishedOnce, BrokerError>;

#[derive(Debug)]
struct UnderWay {
    key: IdempotencyKey,
    stage: watch::Receiver<Stage>,
}

/// How far a publish is.
#[derive(Debug)]
enum Stage {
    /// It is looked up whether it has been published before.
    Looking,
    /// Its records have their places.
    Placed,
    Ended(Outcome),
}

/// A publish that may have been sent before: what it publishes has its place, and is not yet as durable as its topic promises.
#[derive(Debug)]
#[must_use = "records count as published only once they are durable"]
pub struct PublishingOnce {
    stage: watch::Receiver<Stage>,
    is_first: bool,
}

/// What came of a publish that may have been sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedOnce {
    /// Where its records are, in order.
    pub records: Arc<[Published]>,
    /// It had been published before, and was not again.
    pub replayed: bool,
}

impl Idempotency {
    /// Takes up what the state table remembers.
    pub(crate) fn open(slot: &Slot, life: u64, now: TimestampMs) -> Result<Self, StateError> {
        let mut there = Vec::new();
        // From the first entry of one bucket to that of the next: there are few.
        let mut from = 0;
        while let Some(bucket) = first_of(slot, from..u32::MAX)? {
            there.push(bucket);
            from = bucket.0 + 1;
        }
        Ok(Self {
            life: life.max(1),
            buckets: Mutex::new(Buckets::new(&there, Bucket::of(now))),
            under_way: Mutex::default(),
        })
    }
}

/// The first bucket of those that has an entry. Blocks.
fn first_of(slot: &Slot, buckets: Range<u32>) -> Result<Option<Bucket>, StateError> {
    let from = Bucket(buckets.start).prefix();
    let mut scan = slot.state().scan_from(&[keys::IDEMPOTENCY], &from)?;
    let entry = scan.next().transpose()?;
    let bucket = entry.and_then(|(key, _)| Bucket::of_entry(&key));
    Ok(bucket.filter(|bucket| buckets.contains(&bucket.0)))
}

impl Broker {
    /// Publishes records to a topic like [`Broker::publish`], unless the same has been done with that key within the last
    /// five minutes, or is being done: then it says where the records are. That is known as safely as the records
    /// themselves, by the same commit.
    ///
    /// The same key with another request is refused. `held` is what the caller accounts for the messages with; it is dropped
    /// when they are needed no more, which may be after the caller has gone.
    pub async fn publish_once(
        &self,
        topic: &Arc<TopicHandle>,
        messages: Vec<NewMessage>,
        key: IdempotencyKey,
        held: impl Send + 'static,
    ) -> Result<PublishedOnce, BrokerError> {
        let begun = self.begin_publish_once(topic, messages, key, held);
        begun.await?.done().await
    }

    /// The same, up to where everything that is published later comes behind it.
    pub async fn begin_publish_once(
        &self,
        topic: &Arc<TopicHandle>,
        messages: Vec<NewMessage>,
        key: IdempotencyKey,
        held: impl Send + 'static,
    ) -> Result<PublishingOnce, BrokerError> {
        let name = (topic.id(), key.key.clone());
        let mut held = Some(held);
        let mut publishing = {
            let mut under_way = self.inner.idempotency.under_way.lock();
            match under_way.get(&name) {
                Some(known) if known.key != key => return Err(BrokerError::IdempotencyKeyReused),
                Some(known) => PublishingOnce {
                    stage: known.stage.clone(),
                    is_first: false,
                },
                None if under_way.len() >= IDEMPOTENT_PUBLISHES_MAX => {
                    return Err(BrokerError::TooManyPublishes);
                }
                None => {
                    let (teller, stage) = watch::channel(Stage::Looking);
                    let known = UnderWay {
                        key: key.clone(),
                        stage: stage.clone(),
                    };
                    under_way.insert(name.clone(), known);
                    let ended = End {
                        broker: self.clone(),
                        name,
                    };
                    let held = held.take();
                    let publishing = run(ended, Arc::clone(topic), messages, key, teller);
                    tokio::spawn(async move {
                        publishing.await;
                        drop(held);
                    });
                    PublishingOnce {
                        stage,
                        is_first: true,
                    }
                }
            }
        };
        let has_place = |stage: &Stage| !matches!(stage, Stage::Looking);
        // One that broke off tells so when it is asked what came of it.
        let _ = publishing.stage.wait_for(has_place).await;
        Ok(publishing)
    }

    async fn publish_first(
        &self,
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
        key: IdempotencyKey,
        teller: &watch::Sender<Stage>,
    ) -> Outcome {
        let idempotency = &self.inner.idempotency;
        let now = self.now();
        let (bucket, far) = idempotency.buckets.lock().at(Bucket::of(now));
        let is_in_memory = topic.current().settings.values().durability == Durability::Memory;
        let remember = Remember {
            topic: topic.id(),
            key,
            bucket,
            now,
            life: if is_in_memory { idempotency.life } else { 0 },
        };
        let (slot, asked) = (self.inner.slot.clone(), remember.clone());
        let known = self
            .inner
            .blocking
            .run(move || asked.look_up(slot.state(), &far))
            .await?;
        let replayed = known.is_some();
        let records = match known {
            Some(records) => records,
            None if messages.is_empty() => Vec::new(),
            None => {
                let begun = self.begin_publish_and(topic, messages, Some(&remember));
                let publishing = begun.await?;
                teller.send_replace(Stage::Placed);
                publishing.done().await?
            }
        };
        Ok(PublishedOnce {
            records: records.into(),
            replayed,
        })
    }
}

impl PublishingOnce {
    /// Waits until they are durable, and says where they went.
    pub async fn done(mut self) -> Result<PublishedOnce, BrokerError> {
        let has_ended = |stage: &Stage| matches!(stage, Stage::Ended(_));
        let outcome = match self.stage.wait_for(has_ended).await.as_deref() {
            Ok(Stage::Ended(outcome)) => outcome.clone()?,
            _ => {
                let why = "a publish with an idempotency key broke off";
                return Err(BrokerError::Internal(why.into()));
            }
        };
        Ok(PublishedOnce {
            replayed: outcome.replayed || !self.is_first,
            ..outcome
        })
    }
}

/// Takes a publish off the list of those under way, whatever became of it.
struct End {
    broker: Broker,
    name: Name,
}

impl Drop for End {
    fn drop(&mut self) {
        let under_way = &self.broker.inner.idempotency.under_way;
        under_way.lock().remove(&self.name);
    }
}

async fn run(
    end: End,
    topic: Arc<TopicHandle>,
    messages: Vec<NewMessage>,
    key: IdempotencyKey,
    teller: watch::Sender<Stage>,
) {
    let publishing = end.broker.publish_first(&topic, &messages, key, &teller);
    let outcome = publishing.await;
    teller.send_replace(Stage::Ended(outcome));
    // Whoever comes from now on asks the state table.
    drop(end);
}

/// Drops what is older than the window now and then, for as long as the broker is there.
pub(crate) async fn forget_old_keys(broker: Weak<Inner>) {
    let mut interval = now_and_then(IDEMPOTENCY_TRIM_INTERVAL_MS);
    loop {
        interval.tick().await;
        let Some(inner) = broker.upgrade() else {
            return;
        };
        let now = Bucket::of(
            Broker {
                inner: Arc::clone(&inner),
            }
            .now(),
        );
        let blocking = inner.blocking.clone();
        let forgotten = blocking
            .run(move || inner.idempotency.forget_before(&inner.slot, now))
            .await;
        match forgotten {
            Err(BrokerError::Failed(_) | BrokerError::ShuttingDown) => return,
            Err(error) => {
                tracing::warn!(%error, "old idempotency keys were not dropped; trying again later");
            }
            Ok(()) => {}
        }
    }
}

impl Idempotency {
    /// Drops the buckets that nobody asks for at the time of `now`. Blocks.
    fn forget_before(&self, slot: &Slot, now: Bucket) -> Result<(), BrokerError> {
        let due = self.buckets.lock().due(now);
        drop_buckets(slot, due.old.clone())?;
        if let Some(far) = due.far.clone() {
            drop_buckets(slot, far)?;
        }
        self.buckets.lock().dropped(&due);
        Ok(())
    }
}

fn drop_buckets(slot: &Slot, mut buckets: Range<u32>) -> Result<(), BrokerError> {
    while let Some(bucket) = first_of(slot, buckets.clone())? {
        let mut piece = Vec::new();
        for entry in slot.state().scan(&bucket.prefix())? {
            piece.push(entry?.0);
            if piece.len() >= IDEMPOTENCY_ENTRIES_DROPPED_AT_ONCE {
                drop_piece(slot, std::mem::take(&mut piece))?;
            }
        }
        drop_piece(slot, piece)?;
        buckets.start = bucket.0 + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use millstream_env::Env;
    use millstream_limits::IDEMPOTENCY_WINDOW_MS;
    use millstream_store::{Commit, Drive, SlotSettings};

    use super::*;

    fn slot(directory: &tempfile::TempDir) -> Slot {
        let settings = SlotSettings {
            drive: Drive::Manual,
            ..SlotSettings::new(directory.path())
        };
        Slot::open(settings, Env::real()).unwrap()
    }

    fn fill(slot: &Slot, bucket: u32, entries: u16) {
        let entry = |n: u16| {
            let mut key = Bucket(bucket).prefix();
            key.extend_from_slice(&n.to_be_bytes());
            (key.freeze(), Bytes::from_static(b"value"))
        };
        let puts = (0..entries).map(entry).collect();
        drop(slot.commit(Commit {
            puts,
            ..Commit::default()
        }));
        while slot.step_journal() {}
    }

    fn held(slot: &Slot) -> Vec<u32> {
        let entries = slot.state().scan(&[keys::IDEMPOTENCY]).unwrap();
        let mut buckets: Vec<u32> = entries
            .map(|entry| Bucket::of_entry(&entry.unwrap().0).unwrap().0)
            .collect();
        buckets.dedup();
        buckets
    }

    fn time_of(bucket: u32) -> TimestampMs {
        TimestampMs(i64::from(bucket) * IDEMPOTENCY_WINDOW_MS)
    }

    #[test]
    fn buckets_go_when_nobody_asks_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let slot = slot(&directory);
        for (bucket, entries) in [(7, 2_500), (8, 1), (9, 3), (12, 1)] {
            fill(&slot, bucket, entries);
        }
        let known = Idempotency::open(&slot, 5, time_of(12)).unwrap();
        // A clock that was set back does not make buckets live longer than those that are used.
        known.forget_before(&slot, Bucket(10)).unwrap();
        assert_eq!(held(&slot), [12]);
        fill(&slot, 13, 5);
        known.forget_before(&slot, Bucket(13)).unwrap();
        assert_eq!(held(&slot), [12, 13]);
        known.forget_before(&slot, Bucket(14)).unwrap();
        assert_eq!(held(&slot), [13]);
        known.forget_before(&slot, Bucket(1_000)).unwrap();
        assert!(held(&slot).is_empty());
    }

    #[test]
    fn what_came_after_an_empty_start_goes_too() {
        let directory = tempfile::tempdir().unwrap();
        let slot = slot(&directory);
        let known = Idempotency::open(&slot, 5, time_of(20)).unwrap();
        known.forget_before(&slot, Bucket(20)).unwrap();
        fill(&slot, 20, 1);
        known.forget_before(&slot, Bucket(21)).unwrap();
        assert_eq!(held(&slot), [20]);
        known.forget_before(&slot, Bucket(22)).unwrap();
        assert!(held(&slot).is_empty());
    }

    #[test]
    fn what_a_clock_that_ran_ahead_left_goes() {
        let directory = tempfile::tempdir().unwrap();
        let slot = slot(&directory);
        for bucket in [9, 10, 998, 999, 1_000] {
            fill(&slot, bucket, 3);
        }
        let known = Idempotency::open(&slot, 5, time_of(10)).unwrap();
        known.forget_before(&slot, Bucket(11)).unwrap();
        assert_eq!(held(&slot), [10, 998, 999, 1_000]);
        fill(&slot, 12, 1);
        known.forget_before(&slot, Bucket(12)).unwrap();
        assert_eq!(held(&slot), [12]);
    }
}
