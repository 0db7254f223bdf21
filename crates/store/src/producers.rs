//! What a partition remembers of its idempotent producers, and what that says of the next batch.
//!
//! The rules are those of Kafka's `ProducerAppendInfo`: the last five batches are remembered, one of them sent again is
//! a duplicate and gets its old offsets, anything else has to follow the last sequence. A new epoch starts at sequence 0.
//! A producer that is not known (new, or expired) may start anywhere.
//!
//! Of the partitions that share a batch, only the first knows its producer: what else the batch is appended to follows it.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use millstream_limits::PRODUCER_BATCHES_REMEMBERED;
use millstream_record::{BatchHeader, Offset, ProducerId, Sequence, TimestampMs};

use crate::error::CommitError;
use crate::state::keys::producer::{ProducedBatch, ProducerState};

/// One partition's producers.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_id: HashMap<ProducerId, ProducerState>,
    /// Changed since the last checkpoint.
    dirty: HashSet<ProducerId>,
}

/// What a batch is to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one.
    Fresh,
    /// One that was appended before.
    Duplicate(ProducedBatch),
}

impl Producers {
    /// Judges a batch that has a producer id.
    pub(crate) fn judge(
        &self,
        header: &BatchHeader,
        now: TimestampMs,
        expiry: Duration,
    ) -> Result<Verdict, CommitError> {
        let Some(known) = self
            .by_id
            .get(&header.producer_id)
            .filter(|known| !is_expired(known, now, expiry))
        else {
            return Ok(Verdict::Fresh);
        };
        if header.producer_epoch < known.epoch {
            return Err(CommitError::InvalidProducerEpoch {
                producer_id: header.producer_id,
                current: known.epoch,
                found: header.producer_epoch,
            });
        }
        let expected = if header.producer_epoch > known.epoch {
            Sequence::ZERO
        } else {
            if let Some(duplicate) = sent_before(known, header) {
                return Ok(Verdict::Duplicate(*duplicate));
            }
            known
                .batches
                .last()
                .map_or(Sequence::ZERO, |last| last.last_sequence.advance(1))
        };
        if header.base_sequence == expected {
            Ok(Verdict::Fresh)
        } else {
            Err(CommitError::OutOfOrderSequence {
                producer_id: header.producer_id,
                expected,
                found: header.base_sequence,
            })
        }
    }

    /// Whether a batch of a producer is among those that are remembered.
    pub(crate) fn has(&self, header: &BatchHeader) -> bool {
        let known = self.by_id.get(&header.producer_id);
        known.is_some_and(|known| {
            known.epoch == header.producer_epoch && sent_before(known, header).is_some()
        })
    }

    /// What is known of a producer, for [`Producers::restore`].
    pub(crate) fn snapshot(&self, id: ProducerId) -> Option<ProducerState> {
        self.by_id.get(&id).cloned()
    }

    /// Remembers a batch that was appended at `base_offset`.
    pub(crate) fn record(&mut self, header: &BatchHeader, base_offset: Offset, now: TimestampMs) {
        self.dirty.insert(header.producer_id);
        let known = self
            .by_id
            .entry(header.producer_id)
            .or_insert_with(|| ProducerState {
                epoch: header.producer_epoch,
                last_timestamp: now,
                txn_first_offset: None,
                batches: Vec::with_capacity(PRODUCER_BATCHES_REMEMBERED),
            });
        if known.epoch != header.producer_epoch {
            known.epoch = header.producer_epoch;
            known.batches.clear();
        }
        // A batch that does not follow comes from a producer that had expired: what it wrote before means nothing now.
        let follows = known
            .batches
            .last()
            .is_none_or(|last| last.last_sequence.advance(1) == header.base_sequence);
        if !follows {
            known.batches.clear();
        }
        if known.batches.len() == PRODUCER_BATCHES_REMEMBERED {
            known.batches.remove(0);
        }
        known.batches.push(ProducedBatch {
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset,
            last_offset: base_offset + i64::from(header.last_offset_delta),
            timestamp: header.max_timestamp,
        });
        known.last_timestamp = now;
    }

    /// Puts back what [`Producers::snapshot`] returned.
    pub(crate) fn restore(&mut self, id: ProducerId, before: Option<ProducerState>) {
        match before {
            Some(state) => self.by_id.insert(id, state),
            None => self.by_id.remove(&id),
        };
    }

    /// Takes in what a checkpoint held.
    pub(crate) fn load(&mut self, id: ProducerId, state: ProducerState) {
        self.by_id.insert(id, state);
    }

    /// All producers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        self.by_id.iter().map(|(id, state)| (*id, state))
    }

    /// Forgets who has been silent for `expiry`, as if each had been changed.
    pub(crate) fn expire(&mut self, now: TimestampMs, expiry: Duration) {
        let dirty = &mut self.dirty;
        self.by_id.retain(|id, state| {
            let keep = !is_expired(state, now, expiry);
            if !keep {
                dirty.insert(*id);
            }
            keep
        });
    }

    /// What has changed since this was last asked: each producer with its state, or `None` once it is forgotten.
    pub(crate) fn take_changes(&mut self) -> Vec<(ProducerId, Option<ProducerState>)> {
        self.dirty
            .drain()
            .map(|id| (id, self.by_id.get(&id).cloned()))
            .collect()
    }
}

/// The batch itself, if it is among those that are remembered of its producer.
fn sent_before<'a>(known: &'a ProducerState, header: &BatchHeader) -> Option<&'a ProducedBatch> {
    known.batches.iter().find(|batch| {
        batch.base_sequence == header.base_sequence && batch.last_sequence == header.last_sequence()
    })
}

fn is_expired(state: &ProducerState, now: TimestampMs, expiry: Duration) -> bool {
    let silent_ms = now.0.saturating_sub(state.last_timestamp.0);
    // A transaction that is not decided keeps its producer.
    state.txn_first_offset.is_none() && silent_ms > expiry.as_millis() as i64
}
