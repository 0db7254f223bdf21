//! Publishing what may be sent again.
//!
//! A publish with an idempotency key runs in a task of its own, so that it comes to its end even if whoever asked for it
//! goes. Until then it is known here, and the same publish waits for it. After that the state table knows it, and what it
//! says is durable.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use millstream_catalog::TopicId;
use millstream_limits::{IDEMPOTENCY_ENTRIES_DROPPED_AT_ONCE, IDEMPOTENCY_TRIM_INTERVAL_MS};
use millstream_store::state::StateError;
use millstream_store::{Durability, Slot};
use parking_lot::Mutex;
use tokio::sync::watch;

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
    /// The latest bucket that was used: a clock that is set back does not make keys be forgotten.
    latest: AtomicU32,
    /// The first bucket that may hold something.
    oldest: AtomicU32,
    under_way: Mutex<HashMap<Name, UnderWay>>,
}

type Name = (TopicId, Bytes);

type Outcome = Result<PublishedOnce, BrokerError>;

#[derive(Debug)]
struct UnderWay {
    key: IdempotencyKey,
    outcome: watch::Receiver<Option<Outcome>>,
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
    pub(crate) fn open(slot: &Slot, life: u64) -> Result<Self, StateError> {
        let mut buckets: Option<(Bucket, Bucket)> = None;
        let mut from = Bucket(0);
        // From the first entry of one bucket to that of the next: there are few.
        loop {
            let mut scan = slot
                .state()
                .scan_from(&[keys::IDEMPOTENCY], &from.prefix())?;
            let Some(entry) = scan.next().transpose()? else {
                break;
            };
            let Some(bucket) = Bucket::of_entry(&entry.0) else {
                break;
            };
            buckets = Some((buckets.map_or(bucket, |(oldest, _)| oldest), bucket));
            let Some(next) = bucket.0.checked_add(1) else {
                break;
            };
            from = Bucket(next);
        }
        let (oldest, latest) = buckets.unwrap_or((Bucket(0), Bucket(0)));
        Ok(Self {
            life: life.max(1),
            latest: latest.0.into(),
            oldest: oldest.0.into(),
            under_way: Mutex::default(),
        })
    }
}

impl Broker {
    /// Publishes records to a topic like [`Broker::publish`], unless the same has been done with that key within the last
    /// five minutes, or is being done: then it says where the records are. That is known as safely as the records
    /// themselves, by the same commit.
    ///
    /// The same key with another request is refused.
    pub async fn publish_once(
        &self,
        topic: &Arc<TopicHandle>,
        messages: Vec<NewMessage>,
        key: IdempotencyKey,
    ) -> Result<PublishedOnce, BrokerError> {
        let name = (topic.id(), key.key.clone());
        let (mut outcome, is_first) = {
            let mut under_way = self.inner.idempotency.under_way.lock();
            match under_way.get(&name) {
                Some(known) if known.key != key => return Err(BrokerError::IdempotencyKeyReused),
                Some(known) => (known.outcome.clone(), false),
                None => {
                    let (teller, outcome) = watch::channel(None);
                    let known = UnderWay {
                        key: key.clone(),
                        outcome: outcome.clone(),
                    };
                    under_way.insert(name.clone(), known);
                    let ended = End {
                        broker: self.clone(),
                        name,
                    };
                    tokio::spawn(run(ended, Arc::clone(topic), messages, key, teller));
                    (outcome, true)
                }
            }
        };
        let outcome = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        let outcome = outcome.unwrap_or_else(|| {
            let why = "a publish with an idempotency key broke off";
            Err(BrokerError::Internal(why.into()))
        })?;
        Ok(PublishedOnce {
            replayed: outcome.replayed || !is_first,
            ..outcome
        })
    }

    async fn publish_first(
        &self,
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
        key: IdempotencyKey,
    ) -> Outcome {
        let idempotency = &self.inner.idempotency;
        let now = self.now();
        let bucket = Bucket::of(now);
        let latest = idempotency.latest.fetch_max(bucket.0, Ordering::Relaxed);
        let is_in_memory = topic.current().settings.values().durability == Durability::Memory;
        let remember = Remember {
            topic: topic.id(),
            key,
            bucket: bucket.max(Bucket(latest)),
            now,
            life: if is_in_memory { idempotency.life } else { 0 },
        };
        let (slot, asked) = (self.inner.slot.clone(), remember.clone());
        let known = self
            .inner
            .blocking
            .run(move || asked.look_up(slot.state()))
            .await?;
        let replayed = known.is_some();
        let records = match known {
            Some(records) => records,
            None => self.publish_and(topic, messages, Some(&remember)).await?,
        };
        Ok(PublishedOnce {
            records: records.into(),
            replayed,
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
    teller: watch::Sender<Option<Outcome>>,
) {
    let outcome = end.broker.publish_first(&topic, &messages, key).await;
    teller.send_replace(Some(outcome));
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
        let latest = self.latest.fetch_max(now.0, Ordering::Relaxed).max(now.0);
        let oldest = self.oldest.load(Ordering::Relaxed);
        let keep_from = latest.saturating_sub(1);
        if oldest == 0 {
            // Nothing was there when the broker started.
            self.oldest.store(keep_from, Ordering::Relaxed);
            return Ok(());
        }
        for bucket in oldest..keep_from {
            let mut piece = Vec::new();
            for entry in slot.state().scan(&Bucket(bucket).prefix())? {
                piece.push(entry?.0);
                if piece.len() >= IDEMPOTENCY_ENTRIES_DROPPED_AT_ONCE {
                    drop_piece(slot, std::mem::take(&mut piece))?;
                }
            }
            drop_piece(slot, piece)?;
            self.oldest.store(bucket + 1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millstream_env::Env;
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

    #[test]
    fn buckets_go_when_nobody_asks_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let slot = slot(&directory);
        for (bucket, entries) in [(7, 2_500), (8, 1), (9, 3), (12, 1)] {
            fill(&slot, bucket, entries);
        }
        let known = Idempotency::open(&slot, 5).unwrap();
        assert_eq!(known.oldest.load(Ordering::Relaxed), 7);
        assert_eq!(known.latest.load(Ordering::Relaxed), 12);
        // A clock that was set back does not make buckets live longer than those that are used.
        known.forget_before(&slot, Bucket(3)).unwrap();
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
        let known = Idempotency::open(&slot, 5).unwrap();
        known.forget_before(&slot, Bucket(20)).unwrap();
        fill(&slot, 20, 1);
        known.forget_before(&slot, Bucket(21)).unwrap();
        assert_eq!(held(&slot), [20]);
        known.forget_before(&slot, Bucket(22)).unwrap();
        assert!(held(&slot).is_empty());
    }
}
